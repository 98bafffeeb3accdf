"""What a model is trained on: the shards of examples, and the tables that are looked up in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components import dataset
from components.dataset import Dataset
from components.trainer import histories
from components.trainer.histories import HistoryTable
from components.trainer.input import Transform
from components.trainer.ranking import MAX_USERS
from components.trainer.tower_inputs import TowerInputs
from schemas import features as f

CATALOG_URI = "movie_catalog_uri"
"""Key of the MovieCatalog artifact's URI in a component's custom_config."""
HISTORIES_URI = "user_histories_uri"
"""Key of the UserHistories artifact's URI in it."""
TRAIN_ROWS = "train_rows"
"""Key of the number of train rows in it."""
EVAL_ROWS = "eval_rows"
"""Key of the number of eval rows in it."""


@dataclasses.dataclass(frozen=True)
class TrainData:
    """What a model is trained on."""

    train_files: Sequence[str]
    """Shards of examples, or patterns of them."""
    eval_files: Sequence[str]
    """Shards to evaluate every epoch."""
    transform: Transform
    """Raw features -> transformed features."""
    vocabulary: np.ndarray
    """`[movies]` int64: the movie ids in the order of Transform's vocabulary."""
    histories: HistoryTable
    """The users' latest train ratings."""
    all_histories: HistoryTable
    """The users' latest ratings, of train and eval."""
    inputs: TowerInputs
    """Raw features -> the towers' inputs, for what is not in the examples."""
    ranking: Dataset
    """The catalogue, and a sample of users with eval ratings, whose ranking early stopping looks at."""
    train_rows: int | None = None
    """Rows in all train shards; several workers need to know."""
    eval_rows: int | None = None
    """Rows in all eval shards."""


def load_data(
    train_files: Sequence[str],
    eval_files: Sequence[str],
    transform: tft.TFTransformOutput,
    catalog_uri: str,
    histories_uri: str,
    train_rows: int | None = None,
    eval_rows: int | None = None,
) -> TrainData:
    """Read the tables that training looks up in; the examples are streamed."""
    names = transform.vocabulary_by_name(f.MOVIE_IDS_VOCABULARY)
    vocabulary = np.array([int(name) for name in names], np.int64)
    return TrainData(
        train_files,
        eval_files,
        transform.transform_features_layer(),
        vocabulary,
        *histories.load(histories_uri, vocabulary),
        TowerInputs(transform),
        dataset.load(catalog_uri, histories_uri, MAX_USERS),
        train_rows,
        eval_rows,
    )


def data_of(fn_args: FnArgs) -> TrainData:
    """Return what a component was given to train on; see `components.trainer.executor.tables`."""
    custom = fn_args.custom_config
    return load_data(
        fn_args.train_files,
        fn_args.eval_files,
        tft.TFTransformOutput(fn_args.transform_graph_path),
        custom[CATALOG_URI],
        custom[HISTORIES_URI],
        custom[TRAIN_ROWS],
        custom[EVAL_ROWS],
    )
