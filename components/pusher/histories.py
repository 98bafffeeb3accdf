"""All ratings for the index, joined from shards of users in a file: they need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from components.dataset import Dataset, join_user_keys
from schemas.histories import RATINGS_DTYPE, USERS_DTYPE, Histories


def join(shards: Iterable[Dataset], path: str) -> tuple[Histories, pl.Series | None]:
    """Join the ratings of all users, by user and time, whatever the shards they come in.

    Args:
      shards: All ratings; read twice.
      path: Local file for the ratings, which the histories read from.

    Returns:
      The histories, and the users' ids as the data has them, `[users]` text; None where those are numbers.
    """
    found = [(data.user_ids, np.bincount(data.user), data.user_keys) for data in shards]
    ids, counts, keys = zip(*found, strict=True)
    order = np.argsort(joined := np.concatenate(ids))
    users = np.empty(len(order), USERS_DTYPE)
    users["user_id"], users["end"] = joined[order], np.cumsum(np.concatenate(counts)[order])
    ratings = np.lib.format.open_memmap(path, "w+", RATINGS_DTYPE, (sum(map(np.sum, counts)),))
    for data, count in zip(shards, counts, strict=True):
        behind = users["end"][np.searchsorted(users["user_id"], data.user_ids)]
        # From where each rating is in the shard to where it is among all.
        rows = np.arange(len(data.user)) + np.repeat(behind - np.cumsum(count), count)
        scale = data.constants.domain.scale
        own = Histories.of(data.user_ids[data.user], data.movie, data.stars, data.timestamp, scale)
        ratings[rows] = own.ratings[:]
    return Histories(users, ratings, scale), join_user_keys(keys, order)
