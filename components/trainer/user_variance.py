"""How much users differ throughout from the movies' averages: as on MovieLens, or as eval ratings clearly want it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from components.dataset import Dataset
from components.trainer.climbing import climb, is_clear
from components.trainer.input import movie_columns
from components.trainer.ranking import when_new
from components.trainer.row_inputs import Transform
from components.trainer.two_tower import TwoTower
from schemas import features as f
from schemas.tastes import USER_VARIANCE

_FACTORS = 2.0, 4.0, 8.0
"""What is tried, until it is no better. Less than the default changes next to nothing: it is cautious."""
_LEAST_GAIN, _STANDARD_ERRORS = 0.02, 2.0
"""Share of the squared error by which another variance must be better, and standard errors of the difference."""


def fit(model: TwoTower, data: Dataset, inputs: Transform) -> float:
    """Find the variance by which users' first ratings let expect the best how they rate in eval.

    Args:
      model: Which has learned its movies; its perceptrons do not count.
      data: The users that are ranked for, with their train and eval ratings.
      inputs: Raw features -> the towers' inputs.

    Returns:
      The variance, in squares of stars.
    """
    score = _score(model, data, inputs)
    at_first = score(USER_VARIANCE)
    if not len(at_first):
        return USER_VARIANCE
    best, highest = climb(score, USER_VARIANCE, at_first, (USER_VARIANCE * factor for factor in _FACTORS))
    is_better = is_clear(highest - at_first, -_LEAST_GAIN * at_first.mean(), _STANDARD_ERRORS)
    return best if is_better else USER_VARIANCE


def _score(model: TwoTower, data: Dataset, inputs: Transform) -> Callable[[float], np.ndarray]:
    """Return what computes 0 less each user's mean squared error by a variance: `[users]`, of those with ratings."""
    new, tower = when_new(data), model.user_tower
    asked = ~(data.train | new.train)
    user, stars = data.user[asked], data.stars[asked]
    features = inputs({name: tf.constant(values) for name, values in new.user_tower_inputs(slice(None)).items()})
    movies = movie_columns(data.catalog, inputs)
    directions = np.asarray(model.movie_tower.directions(movies))[data.movie[asked]]
    averages = np.asarray(tower.averages)[np.asarray(movies[f.MOVIE_TOKEN])[:, 0]][data.movie[asked]]
    *tables, _ = tower.tables
    number = np.bincount(user, minlength=data.num_users)

    def score(variance: float) -> np.ndarray:
        leaning = np.asarray(tower.leaning(features, (*tables, np.float32(variance))))[user]
        expected = averages + leaning[:, 0] + np.einsum("ij,ij->i", leaning[:, 1:], directions)
        squares = np.bincount(user, np.square(np.clip(expected, f.RATING_MIN, f.RATING_MAX) - stars), data.num_users)
        found: np.ndarray = -squares[number > 0] / number[number > 0]
        return found

    return score
