"""Biases of users and movies: how generous a user is, how good a movie."""

from __future__ import annotations

import numpy as np

PSEUDO_RATINGS = 5
"""Ratings without a difference that every bias starts from."""
_SWEEPS = 20


def fit(
    user: np.ndarray, movie: np.ndarray, stars: np.ndarray, num_users: int, num_movies: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit stars = mean + user bias + movie bias by alternating damped means (Koren et al., Computer 2009).

    Args:
      user: `[n]` position of the user.
      movie: `[n]` position of the movie.
      stars: `[n]` ratings.
      num_users: Number of users.
      num_movies: Number of movies.

    Returns:
      The mean, the users' biases and the movies' biases, in stars.
    """
    mean = float(stars.mean(dtype=np.float64))
    of_user, of_movie = np.zeros(num_users), np.zeros(num_movies)
    user_count = np.bincount(user, minlength=num_users) + PSEUDO_RATINGS
    movie_count = np.bincount(movie, minlength=num_movies) + PSEUDO_RATINGS
    rest = stars - mean
    for _ in range(_SWEEPS):
        of_movie = np.bincount(movie, rest - of_user[user], num_movies) / movie_count
        of_user = np.bincount(user, rest - of_movie[movie], num_users) / user_count
    return mean, of_user, of_movie
