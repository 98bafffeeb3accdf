"""Baselines on the same rows: global mean, user and movie biases, popularity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from schemas.evaluation import BIASES, GLOBAL_MEAN, POPULARITY

_SWEEPS = 20
_PSEUDO_RATINGS = 5


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A fitted baseline: what predicts ratings, or what ranks movies."""

    name: str
    """In an evaluation."""
    title: str
    """For people."""
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Positions of users and of movies, `[n]` each -> `[n]` stars."""
    scores: Callable[[np.ndarray], np.ndarray] | None = None
    """Positions of users `[n]` -> `[n, movies]`."""


def fit(user: np.ndarray, movie: np.ndarray, stars: np.ndarray, num_users: int, num_movies: int) -> list[Baseline]:
    """Fit every baseline.

    Args:
      user: `[n]` position of the user.
      movie: `[n]` position of the movie.
      stars: `[n]` train ratings.
      num_users: Number of users.
      num_movies: Number of movies.
    """
    mean, of_user, of_movie = biases(user, movie, stars, num_users, num_movies)
    popularity = np.bincount(movie, minlength=num_movies).astype(np.float32)
    return [
        Baseline(GLOBAL_MEAN, "global mean", predict=lambda users, movies: np.full(len(users), mean)),
        Baseline(
            BIASES,
            "user and movie biases",
            predict=lambda users, movies: mean + of_user[users] + of_movie[movies],
        ),
        Baseline(POPULARITY, "popularity", scores=lambda users: np.tile(popularity, (len(users), 1))),
    ]


def biases(
    user: np.ndarray, movie: np.ndarray, stars: np.ndarray, num_users: int, num_movies: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit stars = mean + user bias + movie bias by alternating damped means (Koren et al., Computer 2009).

    Args: as `fit`.

    Returns:
      The mean, the users' biases and the movies' biases, in stars.
    """
    mean = float(stars.mean(dtype=np.float64))
    of_user, of_movie = np.zeros(num_users), np.zeros(num_movies)
    user_count = np.bincount(user, minlength=num_users) + _PSEUDO_RATINGS
    movie_count = np.bincount(movie, minlength=num_movies) + _PSEUDO_RATINGS
    rest = stars - mean
    for _ in range(_SWEEPS):
        of_movie = np.bincount(movie, rest - of_user[user], num_movies) / movie_count
        of_user = np.bincount(user, rest - of_movie[movie], num_users) / user_count
    return mean, of_user, of_movie
