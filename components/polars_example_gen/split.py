"""The split into train and eval: each user's last ratings by time are held out, without times some at random."""

from __future__ import annotations

import numpy as np
import polars as pl

from components.polars_example_gen.config import ExampleGenConfig
from schemas import features as f
from schemas.ingest import IS_TRAIN

_ORDER = "_order"


def split_by_time(ratings: pl.DataFrame, config: ExampleGenConfig, hold_one: bool = False) -> pl.DataFrame:
    """Sort ratings by user, time and movie, and mark the train rows.

    A user of n ratings keeps the first ceil(n * (1 - eval_fraction)) for training. Where ratings have no time, first is
    what a seeded random order of them says, which depends on nothing but the seed and the ids.

    Args:
      ratings: Every rating of the users in it: `user_id`, `movie_id`, `rating`, `timestamp`.
      config: Of which `data_spec`, `eval_fraction`, `min_ratings`, `eval_after_s` and `shuffle_seed` count here.
      hold_one: Whether of users with too few ratings for that, but more than one, the last is held out.

    Returns:
      The ratings, sorted, with a boolean column `is_train`.
    """
    ordered = ratings.sort(f.USER_ID, f.TIMESTAMP, f.MOVIE_ID)
    count = pl.len().over(f.USER_ID)
    if config.eval_after_s is not None:
        train = pl.col(f.TIMESTAMP) < config.eval_after_s
    else:
        rank = pl.int_range(pl.len()).over(f.USER_ID)
        if not config.data_spec.timed:
            ordered = ordered.with_columns(pl.Series(_ORDER, _random(ordered, config.shuffle_seed)))
            rank = pl.col(_ORDER).rank("ordinal").over(f.USER_ID) - 1
        # Rounded because 0.9 * 10 is 9.000000000000002 in binary for some fractions.
        train = rank < (count * (1 - config.eval_fraction)).round(9).ceil()
        if hold_one:
            return _marked(ordered, (train & (rank < count - 1)) | (count < 2))
    return _marked(ordered, train | (count < config.min_ratings))


def _marked(ratings: pl.DataFrame, train: pl.Expr) -> pl.DataFrame:
    return ratings.with_columns(train.alias(IS_TRAIN)).drop(_ORDER, strict=False)


def _random(ratings: pl.DataFrame, seed: int) -> np.ndarray:
    """Return a random number of each rating's user and movie, `[ratings]` uint64 (SplitMix64, Steele et al. 2014)."""
    user, movie = (ratings[name].to_numpy().astype(np.uint64) for name in (f.USER_ID, f.MOVIE_ID))
    mixed = np.full(len(user), seed % 2**64, np.uint64)
    for part in (user, movie):
        mixed = (mixed ^ part) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return mixed
