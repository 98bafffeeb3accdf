"""The artifacts of PolarsExampleGen as arrays: what evaluation and publication read."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import polars as pl
import tensorflow as tf
from pydantic import TypeAdapter

from components.polars_example_gen.features import FeatureConstants, latest_s, user_tower_inputs
from components.polars_example_gen.split import IS_TRAIN
from schemas import features as f
from schemas.ingest import CATALOG_FILE, CONSTANTS_FILE


@dataclasses.dataclass(frozen=True)
class Dataset:
    """All ratings, sorted by user and time, as positions in the catalogue."""

    catalog: pl.DataFrame
    """Every movie with its features, sorted by `movie_id`."""
    ratings: pl.DataFrame
    """`user_id`, `movie_id`, `rating`, `timestamp`, `is_train`, sorted by user and time."""
    constants: FeatureConstants
    """Feature constants of the train ratings."""
    user: np.ndarray
    """`[ratings]` int32 position of the user."""
    movie: np.ndarray
    """`[ratings]` int32 position in the catalogue."""
    stars: np.ndarray
    """`[ratings]` float32."""
    train: np.ndarray
    """`[ratings]` bool."""

    @property
    def num_users(self) -> int:
        """Number of users."""
        return int(self.user[-1]) + 1 if len(self.user) else 0

    def user_tower_inputs(self, users: slice, constants: FeatureConstants | None = None) -> dict[str, np.ndarray]:
        """Compute what the user tower takes for a range of users, from their train ratings at the time of the latest.

        Args:
          users: Positions of the users.
          constants: Feature constants; the data set's own by default.

        Returns:
          `schemas.features.USER_TOWER_INPUTS`, one row a user.
        """
        constants = constants or self.constants
        start, stop, _ = users.indices(self.num_users)
        rows = slice(*np.searchsorted(self.user, [start, stop]))
        train = self.train[rows]
        user, movie = self.user[rows][train], self.movie[rows][train]
        genres = self.catalog[f.MOVIE_GENRES].list.to_array(len(f.GENRES)).to_numpy()
        offsets = np.searchsorted(user, np.arange(start, stop + 1))
        ids = self.catalog[f.MOVIE_ID].to_numpy()[movie]
        asked_s = latest_s(offsets, self.ratings[f.TIMESTAMP].to_numpy()[rows][train], constants)
        return user_tower_inputs(offsets, ids, genres[movie], self.stars[rows][train], asked_s, constants)


def load(catalog_uri: str, histories_uri: str, max_users: int | None = None) -> Dataset:
    """Load the movie catalogue and the user histories.

    Args:
      catalog_uri: URI of the MovieCatalog artifact.
      histories_uri: URI of the UserHistories artifact.
      max_users: Load a sample of at most as many users with eval ratings; all users by default.
    """
    catalog = read_catalog(catalog_uri)
    with tf.io.gfile.GFile(f"{catalog_uri}/{CONSTANTS_FILE}") as file:
        constants = TypeAdapter(FeatureConstants).validate_json(file.read())
    shards = [_sample(read_parquet(path), max_users) for path in history_shards(histories_uri)]
    ratings = _sample(pl.concat(shards), max_users).sort(f.USER_ID, f.TIMESTAMP, f.MOVIE_ID)
    starts = (ratings[f.USER_ID] != ratings[f.USER_ID].shift(1)).fill_null(True)
    return Dataset(
        catalog=catalog,
        ratings=ratings,
        constants=constants,
        user=starts.cum_sum().to_numpy().astype(np.int32) - 1,
        movie=np.searchsorted(catalog[f.MOVIE_ID].to_numpy(), ratings[f.MOVIE_ID].to_numpy()).astype(np.int32),
        stars=ratings[f.RATING].to_numpy(),
        train=ratings[IS_TRAIN].to_numpy(),
    )


def _sample(ratings: pl.DataFrame, max_users: int | None) -> pl.DataFrame:
    if max_users is None:
        return ratings
    users = ratings.filter(~pl.col(IS_TRAIN)).select(f.USER_ID).unique()
    chosen = users.sort(pl.col(f.USER_ID).hash(), f.USER_ID).head(max_users)
    return ratings.join(chosen, on=f.USER_ID, how="semi")


def history_shards(histories_uri: str) -> list[str]:
    """Return the files of a UserHistories artifact, each with users of its own."""
    return sorted(tf.io.gfile.glob(f"{histories_uri}/*.parquet"))


def read_catalog(catalog_uri: str) -> pl.DataFrame:
    """Read the movies of a MovieCatalog artifact."""
    return read_parquet(f"{catalog_uri}/{CATALOG_FILE}")


def read_parquet(path: str) -> pl.DataFrame:
    """Read a Parquet file, local or behind a URI."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return pl.read_parquet(io.BytesIO(file.read()))
