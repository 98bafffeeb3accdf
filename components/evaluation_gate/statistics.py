"""Errors of predicted ratings, and intervals of any metric over users."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from schemas.domain import Scale
from schemas.evaluation import RatingError
from schemas.features import USER_ID

_RESAMPLES, _FEWEST = 1000, 2
_DRAWN_AT_ONCE = 4 << 20
"""Values that the bootstrap draws at a time: by default it draws all, 1,000 times as many as there are."""


def rating_error(predicted: np.ndarray, ratings: np.ndarray, scale: Scale) -> RatingError:
    """Compute RMSE and MAE over all rows, predictions clipped to the scale; 0 for no rows."""
    if not len(ratings):
        return RatingError(rmse=0.0, mae=0.0, ratings=0)
    error = np.clip(predicted, scale.min, scale.max).astype(np.float64) - ratings
    return RatingError(rmse=float(np.sqrt(np.mean(error**2))), mae=float(np.abs(error).mean()), ratings=len(ratings))


def interval(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % bootstrap interval of a statistic.

    Args:
      statistic: Function of the samples and `axis`.
      *samples: `[..., n]` each, of the same users, which are drawn together; of a single one there is nothing to draw
        from, and both ends are the statistic.

    Returns:
      `[...]` each.
    """
    users = samples[0].shape[-1]
    if users < _FEWEST:
        return statistic(*samples, axis=-1), statistic(*samples, axis=-1)
    result = stats.bootstrap(
        np.broadcast_arrays(*samples),
        statistic,
        n_resamples=_RESAMPLES,
        batch=max(_DRAWN_AT_ONCE // samples[0].size, 1),
        paired=True,
        vectorized=True,
        axis=-1,
        method="percentile",
        random_state=0,
    )
    return result.confidence_interval.low, result.confidence_interval.high


SQUARED_ERROR, NUM_RATINGS, RECALL, NDCG = "squared_error", "num_ratings", "recall@10", "ndcg@10"
"""Columns of what is measured user by user; sums over a user's held-out ratings, and null where nothing is ranked."""
MOST_GROUPS = 20_000
"""Of users that intervals draw from: so many users are drawn one by one, more of them in groups."""


class Difference(NamedTuple):
    """One metric of two models on the same users."""

    metric: str
    ours: float
    theirs: float
    low: float
    high: float
    """Ends of the 95 % interval of ours less theirs, over users."""
    users: int


def paired(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[Difference]:
    """Compare two models user by user, on the users and held-out ratings that both were measured on.

    Raises:
      ValueError: There are none.
    """
    both = ours.join(theirs, on=[USER_ID, NUM_RATINGS], suffix="_other").sort(USER_ID)
    if not both.height:
        raise ValueError("the two evaluations have no user with as many held-out ratings in common")
    other = {name: f"{name}_other" for name in (SQUARED_ERROR, RECALL, NDCG)}
    squared, squared_other, number = (
        _grouped(both[name].to_numpy()) for name in (SQUARED_ERROR, other[SQUARED_ERROR], NUM_RATINGS)
    )
    rmse, rmse_other = (float(root_mean_square(values, number)) for values in (squared, squared_other))
    low, high = interval(_rmse_difference, squared, squared_other, number)
    found = [Difference("RMSE", rmse, rmse_other, float(low), float(high), both.height)]
    for name in (RECALL, NDCG):
        ranked = both.select(name, other[name]).drop_nulls().to_numpy().T
        if ranked.shape[1]:
            mean, mean_other = (float(values.mean()) for values in ranked)
            low, high = interval(np.mean, ranked[0] - ranked[1])
            found.append(Difference(name, mean, mean_other, float(low), float(high), ranked.shape[1]))
    return found


def _grouped(values: np.ndarray) -> np.ndarray:
    return np.bincount(np.arange(len(values)) % MOST_GROUPS, values)


def _rmse_difference(ours: np.ndarray, theirs: np.ndarray, ratings: np.ndarray, axis: int = -1) -> np.ndarray:
    return root_mean_square(ours, ratings, axis) - root_mean_square(theirs, ratings, axis)


def root_mean_square(squared: np.ndarray, ratings: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the RMSE of users' sums of squared errors and numbers of ratings, for `interval`."""
    return np.sqrt(squared.sum(axis) / ratings.sum(axis))
