"""A published version without a run: towers as they are initialised, exported and published over a sample's ratings."""

import pathlib
import tempfile

import keras
import numpy as np
import polars as pl
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from components.embedding import Towers
from components.polars_example_gen import source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.graph import featurise_catalog
from components.polars_example_gen.header import SCHEMA
from components.polars_example_gen.movie_features import movie_statistics
from components.polars_example_gen.shards import Partition
from components.polars_example_gen.split import split_by_time
from components.pusher.config import PusherConfig
from components.pusher.publish import Publication, publish, weights_digest
from components.similarity import similarity_vectors
from components.trainer import export
from components.trainer.config import TrainerConfig
from components.trainer.tower_inputs import TowerInputs
from components.trainer.train_data import vocabulary
from components.trainer.two_tower import TwoTower
from components.transform.preprocessing import preprocessing_fn
from schemas import features as f
from schemas import manifest as m
from schemas import signatures as s
from schemas.data_spec import movielens
from schemas.histories import Histories
from schemas.ingest import IS_TRAIN, TRAIN
from schemas.user_features import no_ratings, user_tower_inputs
from schemas.vectors import column_array
from serving.index import IndexContents

_ANALYSED = 600


def analyse(rows: list[dict[str, np.ndarray]], directory: pathlib.Path) -> tft.TFTransformOutput:
    """Analyse rows of examples with the preprocessing function.

    Args:
      rows: One dict a row, `[n]` each; what the preprocessing function does not read is left out.
      directory: An empty directory for the result.
    """
    spec = {
        name: tf.io.FixedLenFeature([n], tf.float32)
        for name, n in f.example_lengths(movielens().num_categories).items()
    }
    spec |= {name: tf.io.FixedLenFeature([1], tf.int64) for name in (f.MOVIE_ID, f.TIMESTAMP)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    read = [{name: row[name] for name in spec} for row in rows]
    with tempfile.TemporaryDirectory() as temporary, tft_beam.Context(temp_dir=temporary):
        graph = (read, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        graph | tft_beam.WriteTransformFn(str(directory))
    return tft.TFTransformOutput(str(directory))


def publish_untrained(sample: pathlib.Path, serving_dir: pathlib.Path, work: pathlib.Path) -> None:
    """Publish untrained towers and the index of a sample's movies and ratings.

    Args:
      sample: A MovieLens data set.
      serving_dir: Where to publish.
      work: An empty directory.
    """
    movies, _, domain = read_movies(source.find_sources(str(sample), "")[source.MOVIES])
    table = pl.read_csv(sample / "ratings.csv", new_columns=list(SCHEMA)).cast(SCHEMA)
    split = split_by_time(table, ExampleGenConfig())
    catalog, constants = featurise_catalog(movies, movie_statistics(split.filter(IS_TRAIN)), domain)
    partition = Partition(split, catalog, constants)
    values = partition.features(TRAIN, partition.rows(TRAIN, 0, 0)[:_ANALYSED])
    rows = [{name: np.atleast_1d(column[i]) for name, column in values.items()} for i in range(_ANALYSED)]
    (work / "transform").mkdir()
    transform = analyse(rows, work / "transform")

    keras.utils.set_random_seed(7)
    movie_ids = vocabulary(catalog)
    inputs = TowerInputs(transform, movie_ids)
    model, root = TwoTower(TrainerConfig(hidden_units=(32,)), len(movie_ids), movielens()), work / "model"
    for folder in (s.PUBLISHED_DIR, s.EVALUATED_DIR):
        export.export_model(model, inputs, str(root / folder))
    export.export_user_tower(model, inputs, str(root / s.USER_TOWER_DIR))
    export.export_movie_tower(model, inputs, str(root / s.MOVIE_TOWER_DIR))
    towers = Towers(str(root))

    user_ids, movie = split[f.USER_ID].to_numpy(), np.searchsorted(catalog[f.MOVIE_ID], split[f.MOVIE_ID])
    stars, times = split[f.RATING].to_numpy(), split[f.TIMESTAMP].to_numpy()
    offsets = np.searchsorted(user_ids, np.unique(user_ids)[:3])
    some = slice(0, offsets[-1])
    histories = Histories.of(user_ids, movie, stars, times)
    publication = Publication(
        towers.user_tower_dir,
        IndexContents(
            vectors=towers.embed_movies(catalog),
            similarity=similarity_vectors(catalog, histories),
            movies=catalog,
            histories=histories,
            constants=constants,
            user_tower_file=towers.user_tower_file,
            tower_digest=weights_digest(towers.user_tower_dir),
            probe=towers.embed_users(no_ratings(constants)).embeddings[0].tolist(),
            models={m.MOVIE_TOWER: towers.movie_tower_dir, m.EVALUATED: towers.evaluated_dir},
        ),
        user_tower_inputs(
            offsets,
            split[f.MOVIE_ID].to_numpy()[some],
            column_array(catalog[f.MOVIE_GENRES])[movie[some]],
            stars[some],
            np.full(2, constants.latest_s),
            constants,
        ),
    )
    (work / "staging").mkdir()
    publish(str(serving_dir), publication, PusherConfig().keep_versions, str(work / "staging"))
