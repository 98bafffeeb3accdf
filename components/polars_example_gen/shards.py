"""Shards: one user partition to TFRecords of examples and to a Parquet file of histories."""

from __future__ import annotations

import io
import pathlib
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pyarrow as pa
import tensorflow as tf
from isal import igzip
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.polars_example_gen import features
from components.polars_example_gen.split import IS_TRAIN
from schemas import features as f

TRAIN = "train"
EVAL = "eval"
SAMPLES = {TRAIN: "train_sample", EVAL: "eval_sample"}
"""Split -> the split that holds a random sample of its rows, for what needs no pass over all of them."""
_ENCODE_ROWS = 1 << 14
_GZIP_LEVEL = 2
"""ISA-L's; a fifth of the time of zlib's level 1, which TensorFlow writes with, for fewer bytes (docs/scaling.md)."""


def split_features(
    ratings: pl.DataFrame, catalog: pl.DataFrame, constants: features.FeatureConstants
) -> dict[str, dict[str, np.ndarray]]:
    """Compute the features of every rating of a partition of users.

    Train rows leave their own rating out; eval rows use all train ratings and no other.

    Args:
      ratings: Every rating of the partition's users, sorted by user, with `is_train`.
      catalog: Every movie with its features, sorted by movie.
      constants: Feature constants.

    Returns:
      Split name -> feature name -> `[rows]` or `[rows, n]` array.
    """
    train = ratings[IS_TRAIN].to_numpy()
    user = (ratings[f.USER_ID] != ratings[f.USER_ID].shift(1)).fill_null(True).cum_sum().to_numpy().astype(np.int64) - 1
    movie = np.searchsorted(catalog[f.MOVIE_ID].to_numpy(), ratings[f.MOVIE_ID].to_numpy())
    stars = ratings[f.RATING].to_numpy()
    columns = {name: _matrix(catalog[name]) for name in f.MOVIE_FEATURES}
    genres = columns[f.MOVIE_GENRES]
    users = int(user[-1]) + 1 if len(user) else 0
    offsets = np.searchsorted(user[train], np.arange(users + 1))
    average, count = features.user_features(offsets, genres[movie[train]], stars[train], constants)

    splits = {}
    for name, rows in ((TRAIN, train), (EVAL, ~train)):
        u, m, r = user[rows], movie[rows], stars[rows]
        values = {key: ratings[key].to_numpy()[rows] for key in (*f.IDS, f.RATING)}
        values |= {f.USER_GENRE_RATING: average[u], f.USER_GENRE_COUNT: count[u]}
        values |= {key: column[m] for key, column in columns.items()}
        if name == TRAIN:
            values[f.USER_GENRE_RATING], values[f.USER_GENRE_COUNT] = features.leave_one_out_user_features(
                average[u], count[u], genres[m], r, constants
            )
            values[f.MOVIE_NUM_RATINGS], values[f.MOVIE_AVERAGE_RATING] = features.leave_one_out_movie_features(
                values[f.MOVIE_NUM_RATINGS], values[f.MOVIE_AVERAGE_RATING], r, constants
            )
        splits[name] = values
    return splits


def _matrix(column: pl.Series) -> np.ndarray:
    return column.list.to_array(len(f.GENRES)).to_numpy() if column.dtype == pl.List else column.to_numpy()


def encode(values: dict[str, np.ndarray], order: np.ndarray) -> Iterator[list[bytes]]:
    """Serialise rows to tf.Examples, in the given order, some ten thousand at a time."""
    encoder = RecordBatchToExamplesEncoder()
    for begin in range(0, len(order), _ENCODE_ROWS):
        rows = order[begin : begin + _ENCODE_ROWS]
        yield encoder.encode(_record_batch({name: value[rows] for name, value in values.items()}))


def _record_batch(values: dict[str, np.ndarray]) -> pa.RecordBatch:
    """Wrap NumPy columns as Arrow lists; Polars' own conversion needs a newer pyarrow than TFX 1.16 allows."""
    arrays = []
    for name, value in values.items():
        dtype = np.int64 if name in f.IDS else np.float32
        length = value.shape[1] if value.ndim == 2 else 1
        offsets = np.arange(0, len(value) * length + 1, length)
        arrays.append(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(value.astype(dtype).ravel())))
    return pa.RecordBatch.from_arrays(arrays, list(values))


def shuffled(rows: int, seed: int, partition: int) -> np.ndarray:
    """Return a random order of a shard's rows; every shard of every seed has its own."""
    return np.random.default_rng([seed, partition]).permutation(rows)


def write_examples(batches: Iterable[list[bytes]], path: str, tmp_dir: str) -> None:
    """Write a gzip TFRecord file that appears at once, so that a repeated bundle replaces it.

    A thread frames and compresses one batch of records while the next is encoded.
    """

    def write(partial: str) -> None:
        with (
            tempfile.NamedTemporaryFile() as plain,
            tf.io.gfile.GFile(partial, "wb") as file,
            igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as compressed,
            ThreadPoolExecutor(1) as thread,
        ):
            pending = None
            for batch in batches:
                if pending:
                    pending.result()
                pending = thread.submit(_write_batch, batch, plain.name, compressed)
            if pending:
                pending.result()

    _write_then_rename(write, path, tmp_dir)


def copy_examples(source: str, path: str, tmp_dir: str) -> None:
    """Copy a file of examples; the copy appears at once."""
    _write_then_rename(lambda partial: tf.io.gfile.copy(source, partial), path, tmp_dir)


def _write_batch(records: list[bytes], plain: str, compressed: igzip.IGzipFile) -> None:
    with tf.io.TFRecordWriter(plain) as writer:
        for record in records:
            writer.write(record)
    compressed.write(pathlib.Path(plain).read_bytes())


def write_parquet(frame: pl.DataFrame, path: str, tmp_dir: str) -> None:
    """Write a Parquet file that appears at once."""

    def write(partial: str) -> None:
        buffer = io.BytesIO()  # Polars asks the file how much it wrote; a GFile does not say.
        frame.write_parquet(buffer)
        with tf.io.gfile.GFile(partial, "wb") as file:
            file.write(buffer.getvalue())

    _write_then_rename(write, path, tmp_dir)


def _write_then_rename(write, path: str, tmp_dir: str) -> None:
    parent, name = path.rsplit("/", 1)
    partial = f"{tmp_dir}/{name}-{uuid.uuid4().hex}"
    for directory in (tmp_dir, parent):
        tf.io.gfile.makedirs(directory)
    write(partial)
    tf.io.gfile.rename(partial, path, overwrite=True)
