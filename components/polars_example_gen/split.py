"""The split into train and eval: each user's last ratings by time are held out."""

from __future__ import annotations

import polars as pl

from components.polars_example_gen.config import ExampleGenConfig
from schemas import features as f
from schemas.ingest import IS_TRAIN


def split_by_time(ratings: pl.DataFrame, config: ExampleGenConfig) -> pl.DataFrame:
    """Sort ratings by user, time and movie, and mark the train rows.

    A user of n ratings keeps the first ceil(n * (1 - eval_fraction)) for training.

    Args:
      ratings: Every rating of the users in it: `user_id`, `movie_id`, `rating`, `timestamp`.
      config: Of which `eval_fraction`, `min_ratings` and `eval_after_s` count here.

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
