"""The artifacts of PolarsExampleGen as arrays: what training, evaluation and publication read."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
import tensorflow as tf
from pydantic import TypeAdapter
from scipy import sparse

from components.threads import in_threads
from schemas import features as f
from schemas.ids import places_of
from schemas.ingest import CATALOG_FILE, CONSTANTS_FILE, HISTORIES_PREFIX, IS_TRAIN, USER_KEY, USERS_PREFIX
from schemas.user_features import FeatureConstants, latest_s, user_tower_inputs
from schemas.vectors import column_array

_MOVIE = "movie"
_BLOCK_USERS = 1024
"""Of larger blocks the features take twice as long: their arrays come from the system every time."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """All ratings, sorted by user and time, as positions in the catalogue."""

    catalog: pl.DataFrame
    """Every movie with its features, sorted by `movie_id`."""
    constants: FeatureConstants
    """Feature constants of the train ratings."""
    user_ids: np.ndarray
    """`[users]` int64, ascending."""
    user: np.ndarray
    """`[ratings]` int32 position of the user."""
    movie: np.ndarray
    """`[ratings]` int32 position in the catalogue."""
    stars: np.ndarray
    """`[ratings]` float32, in stars."""
    timestamp: np.ndarray
    """`[ratings]` int64, Unix seconds."""
    train: np.ndarray
    """`[ratings]` bool."""
    user_keys: pl.Series | None = None
    """`[users]` text, the users' ids as the data has them; None where those are numbers."""

    @property
    def ratings(self) -> np.ndarray:
        """`[ratings]` on the data set's scale."""
        return self.constants.domain.scale.given(self.stars)

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    def matrix(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Return some of the ratings, on the data set's scale, as `[users, movies]` float32, each user's by time.

        Args:
          rows: `[ratings]` bool.
        """
        offsets = np.searchsorted(self.user[rows], np.arange(self.num_users + 1))
        shape = self.num_users, self.catalog.height
        return sparse.csr_matrix((self.ratings[rows].astype(np.float32), self.movie[rows], offsets), shape)

    @functools.cached_property
    def genres(self) -> np.ndarray:
        """`[movies, genres]` float32 indicators, in the order of the catalogue."""
        return column_array(self.catalog[f.MOVIE_GENRES])

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
        offsets = np.searchsorted(user, np.arange(start, stop + 1))
        ids = self.catalog[f.MOVIE_ID].to_numpy()[movie]
        asked_s = latest_s(offsets, self.timestamp[rows][train], constants)
        return user_tower_inputs(offsets, ids, self.genres[movie], self.stars[rows][train], asked_s, constants)

    def user_blocks(self, constants: FeatureConstants | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Compute `user_tower_inputs` of all users, a block at a time: they need some 240 bytes a rating meanwhile."""
        for begin in range(0, max(self.num_users, 1), _BLOCK_USERS):
            yield self.user_tower_inputs(slice(begin, begin + _BLOCK_USERS), constants)


@dataclasses.dataclass(frozen=True)
class Shards:
    """All ratings, a shard of users at a time: two of them have to fit into memory."""

    catalog: pl.DataFrame
    """Every movie with its features, sorted by `movie_id`."""
    constants: FeatureConstants
    """Feature constants of the train ratings."""
    histories_uri: str
    """URI of the UserHistories artifact."""

    @classmethod
    def of(cls, catalog_uri: str, histories_uri: str) -> Shards:
        """Read the catalogue; the URIs are those of the MovieCatalog and the UserHistories artifact."""
        return cls(read_catalog(catalog_uri), read_constants(catalog_uri), histories_uri)

    def __iter__(self) -> Iterator[Dataset]:
        """Read one shard after the other, the next one ahead."""
        yield from in_threads(self._read, history_shards(self.histories_uri), threads=1, ahead=0)

    def _read(self, path: str) -> Dataset:
        ratings = _with_positions(read_parquet(path), self.catalog)
        folder, name = path.rsplit("/", 1)
        keys = f"{folder}/{name.replace(HISTORIES_PREFIX, USERS_PREFIX)}"
        return _dataset(ratings, self.catalog, self.constants, [keys])


def load(catalog_uri: str, histories_uri: str, max_users: int | None = None) -> Dataset:
    """Load the movie catalogue and the user histories.

    Args:
      catalog_uri: URI of the MovieCatalog artifact.
      histories_uri: URI of the UserHistories artifact.
      max_users: Load a sample of at most as many users with eval ratings; all users by default.
    """
    catalog, constants = read_catalog(catalog_uri), read_constants(catalog_uri)
    shards = [
        _with_positions(_sample(read_parquet(path), max_users), catalog) for path in history_shards(histories_uri)
    ]
    ratings = _sample(pl.concat(shards), max_users).sort(f.USER_ID, maintain_order=True)
    return _dataset(ratings, catalog, constants, tf.io.gfile.glob(f"{histories_uri}/{USERS_PREFIX}-*.parquet"))


def _dataset(
    ratings: pl.DataFrame, catalog: pl.DataFrame, constants: FeatureConstants, user_files: Iterable[str]
) -> Dataset:
    """Make columns of ratings that are sorted by user and time, with positions in the catalogue."""
    user_ids = ratings[f.USER_ID].unique().sort().to_numpy()
    return Dataset(
        catalog=catalog,
        constants=constants,
        user_ids=user_ids,
        user_keys=_user_keys(user_files, user_ids) if constants.domain.text_user_ids else None,
        user=ratings[f.USER_ID].rle_id().cast(pl.Int32).to_numpy(),
        movie=ratings[_MOVIE].to_numpy(),
        stars=ratings[f.RATING].to_numpy(),
        timestamp=ratings[f.TIMESTAMP].to_numpy(),
        train=ratings[IS_TRAIN].to_numpy(),
    )


def _with_positions(ratings: pl.DataFrame, catalog: pl.DataFrame) -> pl.DataFrame:
    """Put positions in the catalogue in place of the movies' ids."""
    movie = places_of(ratings[f.MOVIE_ID].to_numpy(), catalog[f.MOVIE_ID].to_numpy())
    return ratings.drop(f.MOVIE_ID).with_columns(pl.Series(_MOVIE, movie))


def _sample(ratings: pl.DataFrame, max_users: int | None) -> pl.DataFrame:
    if max_users is None:
        return ratings
    users = ratings.filter(~pl.col(IS_TRAIN)).select(f.USER_ID).unique()
    chosen = users.sort(pl.col(f.USER_ID).hash(), f.USER_ID).head(max_users)
    return ratings.join(chosen, on=f.USER_ID, how="semi", maintain_order="left")


def _user_keys(paths: Iterable[str], user_ids: np.ndarray) -> pl.Series:
    """Read the users' keys, as the data has them, for users `[users]` int64."""
    keys = pl.concat(map(read_parquet, paths))
    return pl.DataFrame({f.USER_ID: user_ids}).join(keys, on=f.USER_ID, how="left", maintain_order="left")[USER_KEY]


def join_user_keys(parts: Iterable[pl.Series | None], order: np.ndarray) -> pl.Series | None:
    """Join the users' keys of shards, in a new order; None where users are numbers."""
    found = [part for part in parts if part is not None]
    return pl.concat(found)[order] if found else None


def history_shards(histories_uri: str) -> list[str]:
    """Return the files of a UserHistories artifact, each with users of its own, sorted by user, time and movie."""
    return sorted(tf.io.gfile.glob(f"{histories_uri}/{HISTORIES_PREFIX}-*.parquet"))


def read_catalog(catalog_uri: str) -> pl.DataFrame:
    """Read the movies of a MovieCatalog artifact."""
    return read_parquet(f"{catalog_uri}/{CATALOG_FILE}")


def read_constants(catalog_uri: str) -> FeatureConstants:
    """Read the feature constants of a MovieCatalog artifact, with what the data set is about."""
    with tf.io.gfile.GFile(f"{catalog_uri}/{CONSTANTS_FILE}") as file:
        return TypeAdapter(FeatureConstants).validate_json(file.read())


def read_parquet(path: str) -> pl.DataFrame:
    """Read a Parquet file, local or behind a URI."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return pl.read_parquet(io.BytesIO(file.read()))
