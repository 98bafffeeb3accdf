"""The split into train and eval: each user's last ratings by time are held out."""

from __future__ import annotations

from typing import Annotated

import polars as pl
from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas import features as f
from schemas.configuration import FROZEN

IS_TRAIN = "is_train"


@dataclass(frozen=True, config=FROZEN)
class SplitConfig:
    """How ratings are split."""

    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of each user's ratings that is held out for evaluation, the last by time."""
    min_ratings: Annotated[int, Field(ge=1)] = 5
    """Users with fewer ratings than this are train only."""
    eval_after_s: int | None = None
    """Cut-off as Unix time in seconds: ratings at or after it are held out, instead of the share per user."""


def split_by_time(ratings: pl.DataFrame, config: SplitConfig) -> pl.DataFrame:
    """Sort ratings by user, time and movie, and mark the train rows.

    A user of n ratings keeps the first ceil(n * (1 - eval_fraction)) for training.

    Args:
      ratings: Every rating of the users in it: `user_id`, `movie_id`, `rating`, `timestamp`.
      config: Split configuration.

    Returns:
      The ratings, sorted, with a boolean column `is_train`.
    """
    ordered = ratings.sort(f.USER_ID, f.TIMESTAMP, f.MOVIE_ID)
    count = pl.len().over(f.USER_ID)
    if config.eval_after_s is not None:
        train = pl.col(f.TIMESTAMP) < config.eval_after_s
    else:
        rank = pl.int_range(pl.len()).over(f.USER_ID)
        # Rounded because 0.9 * 10 is 9.000000000000002 in binary for some fractions.
        train = rank < (count * (1 - config.eval_fraction)).round(9).ceil()
    return ordered.with_columns((train | (count < config.min_ratings)).alias(IS_TRAIN))
