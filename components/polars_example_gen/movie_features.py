"""Features of movies and the constants of all features, as pure functions over Polars frames and NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from schemas import features as f
from schemas.domain import Domain
from schemas.user_features import FeatureConstants, smoothed_mean
from schemas.vectors import column_array


def genre_matrix(genres: pl.Series, domain: Domain) -> np.ndarray:
    """Return the category indicators of movies.

    Args:
      genres: List(String) series of `n` movies.
      domain: Names the categories.

    Returns:
      `[n, categories]` float32 of 0 and 1; without any category, the first is 1.
    """
    flags = genres.to_frame("g").select(
        pl.col("g").list.contains(pl.lit(name)).cast(pl.Float32).alias(name) for name in domain.categories
    )
    matrix = flags.to_numpy().reshape(len(genres), domain.num_categories).copy()
    matrix[(matrix == 0).all(axis=1), 0] = 1
    return matrix


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


def feature_constants(statistics: pl.DataFrame, catalog: pl.DataFrame, domain: Domain) -> FeatureConstants:
    """Compute the global mean, the mean per genre and the latest time from movie statistics.

    Args:
      statistics: Result of `movie_statistics` over all train ratings.
      catalog: Movies with `movie_id` and `movie_genres`.
      domain: What the data set is about.

    Raises:
      ValueError: There is no train rating.
    """
    if not statistics.height or not statistics["count"].sum():
        raise ValueError("no rating is left for training: every user has too few ratings, or the cut-off is too early")
    joined = catalog.select(f.MOVIE_ID, f.MOVIE_GENRES).join(statistics, on=f.MOVIE_ID, how="inner")
    genres = column_array(joined[f.MOVIE_GENRES]).astype(np.float64)
    count, total = joined["count"].to_numpy(), joined["total"].to_numpy()
    mean = total.sum() / count.sum()
    genre_count, genre_total = genres.T @ count, genres.T @ total
    means = np.where(genre_count > 0, genre_total / np.maximum(genre_count, 1), mean)
    latest_s = int(statistics["latest_s"].to_numpy().max())
    return FeatureConstants(float(mean), tuple(float(x) for x in means), latest_s, domain=domain)


def movie_features(catalog: pl.DataFrame, statistics: pl.DataFrame, constants: FeatureConstants) -> pl.DataFrame:
    """Add `movie_num_ratings` and the smoothed `movie_average_rating` of all train ratings to the catalogue."""
    count, total = pl.col("count").fill_null(0), pl.col("total").fill_null(0.0)
    average = smoothed_mean(total, count, constants.global_mean, constants.pseudo_ratings)
    return (
        catalog.join(statistics, on=f.MOVIE_ID, how="left", maintain_order="left")
        .with_columns(
            count.cast(pl.Float32).alias(f.MOVIE_NUM_RATINGS),
            average.cast(pl.Float32).alias(f.MOVIE_AVERAGE_RATING),
        )
        .drop("count", "total", "latest_s")
    )


def leave_one_out_movie_features(
    values: Mapping[str, np.ndarray], rating: np.ndarray, constants: FeatureConstants
) -> dict[str, np.ndarray]:
    """Take each row's own rating out of those features of its movie that depend on ratings.

    Args:
      values: `[n]` each row's `movie_num_ratings`, the row's own inside, and their smoothed `movie_average_rating` in
        stars.
      rating: `[n]` the row's own rating, in stars.
      constants: Feature constants.

    Returns:
      `[n]` both without the row's rating.
    """
    count, average = values[f.MOVIE_NUM_RATINGS], values[f.MOVIE_AVERAGE_RATING]
    k = constants.pseudo_ratings
    return {
        f.MOVIE_NUM_RATINGS: count - 1,
        f.MOVIE_AVERAGE_RATING: (average * (count + k) - rating) / (count - 1 + k),
    }
