"""Shards: one user partition to TFRecords of examples and to a Parquet file of histories."""

from __future__ import annotations

import functools
import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import polars as pl
import tensorflow as tf
from isal import igzip

from components.polars_example_gen import movie_features
from components.polars_example_gen.record_layout import RecordLayout
from components.threads import in_threads
from schemas import features as f
from schemas import user_features
from schemas.ids import places_of
from schemas.ingest import EVAL, IS_TRAIN, TRAIN
from schemas.vectors import column_array

_ENCODE_ROWS = 1 << 12
_THREADS = 2
"""That lay records out while a third one compresses them: as much work on both sides."""
_GZIP_LEVEL = 2
"""ISA-L's; a fifth of the time of zlib's level 1, which TensorFlow writes with, for fewer bytes (docs/scaling.md)."""


class Partition:
    """Every rating of some users, and the features of any of them.

    Train rows leave their own rating out; eval rows use all train ratings and no other.
    """

    def __init__(self, ratings: pl.DataFrame, catalog: pl.DataFrame, constants: user_features.FeatureConstants) -> None:
        """Compute what the rows share.

        Args:
          ratings: Sorted by user, with `is_train`.
          catalog: Every movie with its features, sorted by movie.
          constants: Feature constants.
        """
        train = ratings[IS_TRAIN].to_numpy()
        self._constants = constants
        self._rows = {TRAIN: np.flatnonzero(train), EVAL: np.flatnonzero(~train)}
        self._user = ratings[f.USER_ID].rle_id().cast(pl.Int64).to_numpy()
        self._movie = places_of(ratings[f.MOVIE_ID].to_numpy(), catalog[f.MOVIE_ID].to_numpy())
        self._of_ratings = {name: ratings[name].to_numpy() for name in (*f.IDS, f.RATING)}
        self._of_movies = {name: column_array(catalog[name]) for name in f.MOVIE_FEATURES}
        users = int(self._user[-1]) + 1 if len(train) else 0
        offsets = np.searchsorted(self._user[train], np.arange(users + 1))
        genres = self._of_movies[f.MOVIE_GENRES][self._movie[train]]
        self._of_users = user_features.user_features(offsets, genres, self._of_ratings[f.RATING][train], constants)

    @functools.cached_property
    def layout(self) -> RecordLayout:
        """How its examples are laid out."""
        lengths = f.example_lengths(self._constants.domain.num_categories)
        return RecordLayout(lengths, dict.fromkeys(f.IDS, 1))

    def rows(self, split: str, seed: int, partition: int) -> np.ndarray:
        """Return the ratings of a split in a random order; every partition of every seed has its own."""
        return np.random.default_rng([seed, partition]).permutation(self._rows[split])

    def features(self, split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of some of a split's ratings: `[rows]` or `[rows, n]` each."""
        user, movie = self._user[rows], self._movie[rows]
        values = {name: column[rows] for name, column in self._of_ratings.items()}
        values |= {name: column[movie] for name, column in self._of_movies.items()}
        values |= {name: column[user] for name, column in self._of_users.items()}
        if split == TRAIN:
            stars, constants = values[f.RATING], self._constants
            values |= user_features.leave_one_out_user_features(values, values[f.MOVIE_GENRES], stars, constants)
            values |= movie_features.leave_one_out_movie_features(values, stars, constants)
        return values


def encode(partition: Partition, split: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Lay ratings of a split out as records, in the given order, some thousand at a time, in threads."""
    layout = partition.layout

    def records(batch: np.ndarray) -> np.ndarray:
        return layout.records(partition.features(split, batch))

    batches = (rows[begin : begin + _ENCODE_ROWS] for begin in range(0, len(rows), _ENCODE_ROWS))
    yield from in_threads(records, batches, _THREADS, ahead=_THREADS)


def write_examples(batches: Iterable[np.ndarray], path: str, tmp_dir: str) -> None:
    """Write a gzip TFRecord file that appears at once, so that a repeated bundle replaces it."""

    def write(partial: str) -> None:
        with (
            tf.io.gfile.GFile(partial, "wb") as file,
            igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as compressed,
        ):
            for batch in batches:
                compressed.write(batch.view(np.uint8))

    _write_then_rename(write, path, tmp_dir)


def link_examples(source: str, path: str, tmp_dir: str) -> None:
    """Give a file of examples a second path; the file is copied where there are no links."""

    def write(partial: str) -> None:
        try:
            os.link(source, partial)
        except OSError:
            tf.io.gfile.copy(source, partial)

    _write_then_rename(write, path, tmp_dir)


def write_parquet(frame: pl.DataFrame, path: str, tmp_dir: str) -> None:
    """Write a Parquet file that appears at once."""

    def write(partial: str) -> None:
        buffer = io.BytesIO()  # Polars asks the file how much it wrote; a GFile does not say.
        frame.write_parquet(buffer)
        with tf.io.gfile.GFile(partial, "wb") as file:
            file.write(buffer.getvalue())

    _write_then_rename(write, path, tmp_dir)


def _write_then_rename(write: Callable[[str], None], path: str, tmp_dir: str) -> None:
    parent, name = path.rsplit("/", 1)
    partial = f"{tmp_dir}/{name}-{uuid.uuid4().hex}"
    for directory in (tmp_dir, parent):
        tf.io.gfile.makedirs(directory)
    write(partial)
    tf.io.gfile.rename(partial, path, overwrite=True)
