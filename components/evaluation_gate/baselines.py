"""Baselines on the same rows: global mean, user and movie biases, popularity at all times and of late."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from components import rating_biases
from schemas.evaluation import BIASES, GLOBAL_MEAN, POPULARITY, RECENT_POPULARITY

_DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A fitted baseline: what predicts ratings, or what ranks movies."""

    name: str
    """In an evaluation."""
    title: str
    """For people."""
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Positions of users and of movies, `[n]` each -> `[n]` ratings."""
    scores: Callable[[np.ndarray], np.ndarray] | None = None
    """Positions of users `[n]` -> `[n, movies]`."""


def fit(
    user: np.ndarray,
    movie: np.ndarray,
    ratings: np.ndarray,
    timestamp: np.ndarray,
    num_users: int,
    num_movies: int,
    timed: bool = True,
) -> list[Baseline]:
    """Fit every baseline.

    Args:
      user: `[n]` position of the user.
      movie: `[n]` position of the movie.
      ratings: `[n]` train ratings.
      timestamp: `[n]` when they were given, Unix seconds.
      num_users: Number of users.
      num_movies: Number of movies.
      timed: Whether the times are any.
    """
    mean, of_user, of_movie = rating_biases.fit(user, movie, ratings, num_users, num_movies)
    popularity = np.bincount(movie, minlength=num_movies)
    days_ago = (timestamp.max() - timestamp) / _DAY_S

    def recent(days: int) -> np.ndarray:
        # What nobody has rated lately comes by its popularity at all times.
        return np.bincount(movie[days_ago < days], minlength=num_movies) + popularity / (popularity.max() + 1)

    rankings = {POPULARITY: popularity} | {name: recent(days) for days, name in RECENT_POPULARITY.items() if timed}
    return [
        Baseline(GLOBAL_MEAN, "global mean", predict=lambda users, movies: np.full(len(users), mean)),
        Baseline(
            BIASES,
            "user and movie biases",
            predict=lambda users, movies: mean + of_user[users] + of_movie[movies],
        ),
        *(Baseline(name, name, scores=functools.partial(_the_same, scores)) for name, scores in rankings.items()),
    ]


def _the_same(scores: np.ndarray, users: np.ndarray) -> np.ndarray:
    return np.tile(scores.astype(np.float32), (len(users), 1))
