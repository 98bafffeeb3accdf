"""A transform graph and examples, made once."""

import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from components.trainer.row_inputs import RowInputs
from components.trainer.train_data import load_data
from schemas import features as f
from schemas.data_spec import movielens
from schemas.ingest import CATALOG_FILE, CONSTANTS_FILE, IS_TRAIN
from tests.exported import analyse

ROWS = 600
USERS, MOVIES = 60, 80
LATEST_S = 1_500_000_000


def raw_rows(seed=0):
    rng = np.random.default_rng(seed)
    taste = rng.uniform(0.5, 5, (ROWS, 20)).astype(np.float32)
    genres = (rng.random((ROWS, 20)) < 0.15).astype(np.float32)
    liking = (taste * genres).sum(1) / np.maximum(genres.sum(1), 1)
    rows = {
        f.USER_ID: rng.integers(0, USERS, (ROWS, 1)),
        f.MOVIE_ID: rng.integers(0, MOVIES, (ROWS, 1)),
        f.TIMESTAMP: rng.integers(LATEST_S - 10 * 365 * 86400, LATEST_S, (ROWS, 1)),
        f.RATING: np.clip(np.round(np.where(liking, liking, 3) * 2) / 2, 0.5, 5)[:, None].astype(np.float32),
        f.USER_GENRE_RATING: taste,
        f.USER_GENRE_COUNT: rng.integers(0, 40, (ROWS, 20)).astype(np.float32),
        f.MOVIE_GENRES: genres,
        f.MOVIE_NUM_RATINGS: rng.integers(0, 300, (ROWS, 1)).astype(np.float32),
        f.MOVIE_AVERAGE_RATING: rng.uniform(2, 4.5, (ROWS, 1)).astype(np.float32),
        f.MOVIE_YEAR: rng.integers(1920, 2020, (ROWS, 1)).astype(np.float32),
    }
    # Whatever the features' table has beside these.
    for name in f.example_lengths(movielens().num_categories).keys() - rows.keys():
        low, high = f.BOUNDS[name]
        values = rng.uniform(
            low, low + 300 if high is None else high, (ROWS, f.example_lengths(movielens().num_categories)[name])
        )
        rows[name] = values.astype(np.float32)
    return rows


def example(row):
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        if value.dtype.kind == "i"
        else tf.train.Feature(float_list=tf.train.FloatList(value=value))
        for name, value in row.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="session")
def serialize():
    """Row of features -> serialized tf.Example."""
    return example


@pytest.fixture(scope="session")
def raw():
    return raw_rows()


@pytest.fixture(scope="session")
def transform(raw, tmp_path_factory):
    rows = [{name: value[i] for name, value in raw.items()} for i in range(ROWS)]
    return analyse(rows, tmp_path_factory.mktemp("transform"))


@pytest.fixture(scope="session")
def shards(raw, tmp_path_factory):
    """Three gzip shards of 200 rows each."""
    directory = tmp_path_factory.mktemp("shards")
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    for shard in range(3):
        path = directory / f"data_tfrecord-{shard:05d}-of-00003.gz"
        with tf.io.TFRecordWriter(str(path), options) as writer:
            for i in range(shard * 200, shard * 200 + 200):
                writer.write(example({name: value[i] for name, value in raw.items()}))
    return str(directory / "*.gz")


@pytest.fixture(scope="session")
def tables(raw, tmp_path_factory):
    """Directories of a movie catalogue and of the histories of the same ratings."""
    catalog, directory = tmp_path_factory.mktemp("catalog"), tmp_path_factory.mktemp("histories")
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {f.MOVIE_ID: np.arange(MOVIES)}
        | {
            name: rng.uniform(1, 4, MOVIES).astype(np.float32)
            for name, n in f.lengths(f.MOVIE_FEATURES, movielens().num_categories).items()
            if n == 1
        }
    )
    genres = (rng.random((MOVIES, 20)) < 0.2).astype(np.float32)
    frame = frame.with_columns(pl.Series(f.MOVIE_GENRES, genres).cast(pl.List(pl.Float32)))
    frame.write_parquet(catalog / CATALOG_FILE)
    rows = pl.DataFrame({name: raw[name][:, 0] for name in (f.USER_ID, f.MOVIE_ID, f.RATING, f.TIMESTAMP)})
    rows = rows.with_columns((pl.int_range(ROWS) % 10 > 0).alias(IS_TRAIN))
    for half in (0, 1):
        rows.filter(pl.col(f.USER_ID) % 2 == half).write_parquet(directory / f"histories-{half}.parquet")
    (catalog / CONSTANTS_FILE).write_text(
        json.dumps({"global_mean": 3.5, "genre_means": [3.5] * 20, "latest_s": LATEST_S, "pseudo_ratings": 5.0})
    )
    return str(catalog), str(directory)


@pytest.fixture(scope="session")
def train_data(shards, transform, tables):
    """Everything that training reads; train and eval are the same rows."""
    return load_data([shards], [shards], transform, *tables, ROWS, ROWS)


@pytest.fixture(scope="session")
def row_inputs(train_data):
    """The transform and the histories, as `batches` takes them."""
    return RowInputs(train_data.transform, train_data.histories)
