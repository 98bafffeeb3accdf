"""Errors of predicted ratings, and intervals of any metric over users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from schemas.domain import Scale
from schemas.evaluation import RatingError

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


def root_mean_square(squared: np.ndarray, ratings: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the RMSE of users' sums of squared errors and numbers of ratings, for `interval`."""
    return np.sqrt(squared.sum(axis) / ratings.sum(axis))
