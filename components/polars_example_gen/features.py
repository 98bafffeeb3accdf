"""Features of users and movies, as pure functions over Polars frames and NumPy arrays.

`user_features` and `user_history` are the only implementations of the user's features: the pipeline calls them with a
partition of users, serving with one user. A training row's features leave its own rating out; a feature that contains
its label makes the model no better than the global mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import polars as pl

from schemas import features as f

PSEUDO_RATINGS = 5.0
"""k: how many ratings at the global mean every smoothed average starts from."""


@dataclasses.dataclass(frozen=True)
class FeatureConstants:
    """Constants of the features, taken from train ratings alone and published with the index."""

    global_mean: float
    """Mean of all train ratings, in stars."""
    genre_means: tuple[float, ...]
    """Mean of the train ratings of each genre's movies, in stars, in the order of `schemas.features.GENRES`."""
    latest_s: int
    """Time of the latest train rating, Unix seconds: the present of a user without ratings."""
    pseudo_ratings: float = PSEUDO_RATINGS
    """Weight of the prior mean, in ratings."""

    def __post_init__(self) -> None:
        if len(self.genre_means) != len(f.GENRES):
            raise ValueError(f"genre_means has {len(self.genre_means)} values, expected {len(f.GENRES)}")


def genre_matrix(genres: pl.Series) -> np.ndarray:
    """Return the genre indicators of movies.

    Args:
      genres: List(String) series of `n` movies.

    Returns:
      `[n, 20]` float32 of 0 and 1.
    """
    flags = genres.to_frame("g").select(
        pl.col("g").list.contains(pl.lit(name)).cast(pl.Float32).alias(name) for name in f.GENRES
    )
    return flags.to_numpy().reshape(len(genres), len(f.GENRES))


def movie_statistics(ratings: pl.DataFrame) -> pl.DataFrame:
    """Return per movie `count`, `total` (stars) and `latest_s` of the given train ratings, sorted by movie.

    Partial results of partitions add up: see `merge_statistics`.
    """
    return (
        ratings.group_by(f.MOVIE_ID)
        .agg(
            count=pl.len().cast(pl.Int64),
            total=pl.col(f.RATING).cast(pl.Float64).sum(),
            latest_s=pl.col(f.TIMESTAMP).max(),
        )
        .sort(f.MOVIE_ID)
    )


def merge_statistics(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Add up partial results of `movie_statistics`. Half stars sum exactly, so the order does not matter."""
    movies = pl.concat(parts).group_by(f.MOVIE_ID)
    return movies.agg(pl.col("count", "total").sum(), pl.col("latest_s").max()).sort(f.MOVIE_ID)


def feature_constants(statistics: pl.DataFrame, catalog: pl.DataFrame) -> FeatureConstants:
    """Compute the global mean, the mean per genre and the latest time from movie statistics.

    Args:
      statistics: Result of `movie_statistics` over all train ratings.
      catalog: Movies with `movie_id` and `movie_genres`.

    Raises:
      ValueError: There is no train rating.
    """
    if not statistics.height or not statistics["count"].sum():
        raise ValueError("no rating is left for training: every user has too few ratings, or the cut-off is too early")
    joined = catalog.select(f.MOVIE_ID, f.MOVIE_GENRES).join(statistics, on=f.MOVIE_ID, how="inner")
    genres = joined[f.MOVIE_GENRES].list.to_array(len(f.GENRES)).to_numpy().astype(np.float64)
    count, total = joined["count"].to_numpy(), joined["total"].to_numpy()
    mean = total.sum() / count.sum()
    genre_count, genre_total = genres.T @ count, genres.T @ total
    means = np.where(genre_count > 0, genre_total / np.maximum(genre_count, 1), mean)
    return FeatureConstants(float(mean), tuple(float(x) for x in means), statistics["latest_s"].max())


def movie_features(catalog: pl.DataFrame, statistics: pl.DataFrame, constants: FeatureConstants) -> pl.DataFrame:
    """Add `movie_num_ratings` and the smoothed `movie_average_rating` of all train ratings to the catalogue."""
    k = constants.pseudo_ratings
    count, total = pl.col("count").fill_null(0), pl.col("total").fill_null(0.0)
    return (
        catalog.join(statistics, on=f.MOVIE_ID, how="left", maintain_order="left")
        .with_columns(
            count.cast(pl.Float32).alias(f.MOVIE_NUM_RATINGS),
            ((total + k * constants.global_mean) / (count + k)).cast(pl.Float32).alias(f.MOVIE_AVERAGE_RATING),
        )
        .drop("count", "total", "latest_s")
    )


def leave_one_out_movie_features(
    count: np.ndarray, average: np.ndarray, rating: np.ndarray, constants: FeatureConstants
) -> tuple[np.ndarray, np.ndarray]:
    """Take each row's own rating out of its movie's features.

    Args:
      count: `[n]` ratings of the row's movie, the row's own inside.
      average: `[n]` their smoothed average, in stars.
      rating: `[n]` the row's own rating, in stars.
      constants: Feature constants.

    Returns:
      `[n]` count less one, and `[n]` the smoothed average without the row's rating.
    """
    k = constants.pseudo_ratings
    return count - 1, (average * (count + k) - rating) / (count - 1 + k)


def user_features(
    offsets: np.ndarray, genres: np.ndarray, ratings: np.ndarray, constants: FeatureConstants
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the features of users from their ratings.

    Args:
      offsets: `[users + 1]` int; user `u` gave the ratings `offsets[u]:offsets[u + 1]`.
      genres: `[n, 20]` genre indicators of each rating's movie.
      ratings: `[n]` ratings in stars.
      constants: Feature constants.

    Returns:
      `user_genre_rating` `[users, 20]` float32, smoothed mean in stars, and `user_genre_count` `[users, 20]` float32.
      A user without ratings gets the genres' means and zeros.
    """
    users = len(offsets) - 1
    row, genre = np.divmod(np.flatnonzero(genres > 0), len(f.GENRES))
    cell = np.repeat(np.arange(users) * len(f.GENRES), np.diff(offsets))[row] + genre
    total, count = (
        np.bincount(cell, weights, users * len(f.GENRES)).reshape(users, len(f.GENRES))
        for weights in (ratings[row], None)
    )
    k, prior = constants.pseudo_ratings, np.asarray(constants.genre_means)
    return ((total + k * prior) / (count + k)).astype(np.float32), count.astype(np.float32)


def user_history(
    offsets: np.ndarray, movies: np.ndarray, ratings: np.ndarray, length: int = f.HISTORY_LENGTH
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
      genres: `[n, 20]` genre indicators of each rating's movie.
      ratings: `[n]` ratings in stars.
      asked_s: `[users]` int64, the time at which each user is asked about, Unix seconds.
      constants: Feature constants.

    Returns:
      `schemas.features.USER_TOWER_INPUTS`, one row a user.
    """
    statistics, history = user_features(offsets, genres, ratings, constants), user_history(offsets, movie_ids, ratings)
    return dict(zip(f.USER_TOWER_INPUTS, (*statistics, *history, asked_s[:, None]), strict=True))


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
    genres, ratings = np.zeros((0, len(f.GENRES)), np.float32), np.zeros(0, np.float32)
    asked_s = np.array([constants.latest_s])
    return user_tower_inputs(np.array([0, 0]), np.zeros(0, np.int64), genres, ratings, asked_s, constants)


def leave_one_out_user_features(
    average: np.ndarray, count: np.ndarray, genres: np.ndarray, rating: np.ndarray, constants: FeatureConstants
) -> tuple[np.ndarray, np.ndarray]:
    """Take each row's own rating out of its user's features, in the genres of the row's movie.

    Args:
      average: `[n, 20]` `user_genre_rating` of the row's user.
      count: `[n, 20]` `user_genre_count` of the row's user.
      genres: `[n, 20]` genre indicators of the row's movie.
      rating: `[n]` the row's own rating, in stars.
      constants: Feature constants.

    Returns:
      `[n, 20]` float32 mean per genre in stars and `[n, 20]` float32 count.
    """
    k = constants.pseudo_ratings
    rest = count - genres
    mean = (average * (count + k) - genres * rating[:, None]) / (rest + k)
    return mean.astype(np.float32), rest.astype(np.float32)
