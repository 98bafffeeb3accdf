"""The formulas of the user's features, as pure functions over NumPy arrays: their only implementation.

The pipeline calls them with a partition of users, serving with one user. A training row's features leave its own rating
out; a feature that contains its label makes the model no better than the global mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas import features as f
from schemas.data_spec import movielens
from schemas.domain import Domain

Features = Mapping[str, np.ndarray]
"""What the user tower takes, `schemas.features.USER_TOWER_INPUTS`: name -> `[batch, n]`."""
PSEUDO_RATINGS = 5.0
"""k: how many ratings at the global mean every smoothed average starts from."""


@dataclasses.dataclass(frozen=True)
class FeatureConstants:
    """Constants of the features, taken from train ratings alone and published with the index."""

    global_mean: float
    """Mean of all train ratings, in stars."""
    genre_means: tuple[float, ...]
    """Mean of the train ratings of each category's movies, in stars, in the order of the domain's."""
    latest_s: int
    """Time of the latest train rating, Unix seconds: the present of a user without ratings."""
    pseudo_ratings: float = PSEUDO_RATINGS
    """Weight of the prior mean, in ratings."""
    domain: Domain = dataclasses.field(default_factory=movielens)
    """What the data set is about."""

    def __post_init__(self) -> None:
        if len(self.genre_means) != self.domain.num_categories:
            raise ValueError(f"genre_means has {len(self.genre_means)} values, expected {self.domain.num_categories}")


def smoothed_mean(total: Any, count: Any, prior: Any, pseudo_ratings: float) -> Any:
    """Return the mean of `count` ratings that add up to `total`, and of so many pseudo-ratings at the prior mean.

    Of NumPy arrays, of tensors, or of Polars expressions, of any shapes that go together.
    """
    return (total + pseudo_ratings * prior) / (count + pseudo_ratings)


def user_features(
    offsets: np.ndarray, genres: np.ndarray, ratings: np.ndarray, constants: FeatureConstants
) -> dict[str, np.ndarray]:
    """Compute the features of users from their ratings.

    Args:
      offsets: `[users + 1]` int; user `u` gave the ratings `offsets[u]:offsets[u + 1]`.
      genres: `[n, genres]` genre indicators of each rating's movie.
      ratings: `[n]` ratings in stars.
      constants: Feature constants.

    Returns:
      `schemas.features.USER_FEATURES`, float32: `user_genre_rating` `[users, genres]`, smoothed mean in stars, and
      `user_genre_count` `[users, genres]`. A user without ratings gets the genres' means and zeros.
    """
    users, number = len(offsets) - 1, genres.shape[1]
    row, genre = np.divmod(np.flatnonzero(genres > 0), number)
    cell = np.repeat(np.arange(users) * number, np.diff(offsets))[row] + genre
    total, count = (
        np.bincount(cell, weights, users * number).reshape(users, number) for weights in (ratings[row], None)
    )
    mean = smoothed_mean(total, count, np.asarray(constants.genre_means), constants.pseudo_ratings)
    return {
        f.USER_GENRE_RATING: mean.astype(np.float32),
        f.USER_GENRE_COUNT: count.astype(np.float32),
    }


def leave_one_out_user_features(
    values: Mapping[str, np.ndarray], genres: np.ndarray, rating: np.ndarray, constants: FeatureConstants
) -> dict[str, np.ndarray]:
    """Take each row's own rating out of its user's features, in the genres of the row's movie.

    Args:
      values: `[n, length]` `user_features` of each row's user.
      genres: `[n, genres]` genre indicators of the row's movie.
      rating: `[n]` the row's own rating, in stars.
      constants: Feature constants.

    Returns:
      The same features, float32.
    """
    average, count = values[f.USER_GENRE_RATING], values[f.USER_GENRE_COUNT]
    k = constants.pseudo_ratings
    rest = count - genres
    mean = (average * (count + k) - genres * rating[:, None]) / (rest + k)
    return {f.USER_GENRE_RATING: mean.astype(np.float32), f.USER_GENRE_COUNT: rest.astype(np.float32)}


def user_history(
    offsets: np.ndarray, movies: np.ndarray, ratings: np.ndarray, length: int = f.SERVED_HISTORY_LENGTH
) -> tuple[np.ndarray, np.ndarray]:
    """Take the latest ratings of users.

    Args:
      offsets: `[users + 1]` int; user `u` gave the ratings `offsets[u]:offsets[u + 1]`, by time.
      movies: `[n]` int, the movies rated.
      ratings: `[n]` ratings in stars.
      length: How many to take.

    Returns:
      `[users, length]` movies of the given dtype and `[users, length]` float32 ratings, the latest first; zeros where
      a user gave fewer.
    """
    places = offsets[1:, None] - 1 - np.arange(length)
    places = np.where(places >= offsets[:-1, None], places, len(movies))  # One past the end is the padding.
    return np.append(movies, movies.dtype.type(0))[places], np.append(ratings, 0).astype(np.float32)[places]


def user_tower_inputs(
    offsets: np.ndarray,
    movie_ids: np.ndarray,
    genres: np.ndarray,
    ratings: np.ndarray,
    asked_s: np.ndarray,
    constants: FeatureConstants,
) -> dict[str, np.ndarray]:
    """Compute what the exported user tower takes, from the users' ratings.

    Args:
      offsets: `[users + 1]` int; user `u` gave the ratings `offsets[u]:offsets[u + 1]`, by time.
      movie_ids: `[n]` int64.
      genres: `[n, genres]` genre indicators of each rating's movie.
      ratings: `[n]` ratings in stars.
      asked_s: `[users]` int64, the time at which each user is asked about, Unix seconds.
      constants: Feature constants.

    Returns:
      `schemas.features.USER_TOWER_INPUTS`, one row a user.
    """
    movies, stars = user_history(offsets, movie_ids, ratings)
    history = {f.USER_HISTORY_MOVIES: movies, f.USER_HISTORY_RATINGS: stars}
    return user_features(offsets, genres, ratings, constants) | history | {f.TIMESTAMP: asked_s[:, None]}


def latest_s(offsets: np.ndarray, times: np.ndarray, constants: FeatureConstants) -> np.ndarray:
    """Return the time of each user's latest rating.

    Args:
      offsets: `[users + 1]` int; user `u` gave the ratings `offsets[u]:offsets[u + 1]`, by time.
      times: `[n]` int64, Unix seconds.
      constants: Feature constants; theirs is the time of a user without ratings.

    Returns:
      `[users]` int64, Unix seconds.
    """
    padded = np.append(times, constants.latest_s)
    return padded[np.where(offsets[1:] > offsets[:-1], offsets[1:] - 1, len(times))]


def no_ratings(constants: FeatureConstants) -> dict[str, np.ndarray]:
    """Return what the user tower takes for one user without ratings."""
    genres, ratings = np.zeros((0, constants.domain.num_categories), np.float32), np.zeros(0, np.float32)
    asked_s = np.array([constants.latest_s])
    return user_tower_inputs(np.array([0, 0]), np.zeros(0, np.int64), genres, ratings, asked_s, constants)
