"""What a model is trained on: the shards of examples, and the tables that are looked up in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import tensorflow_transform as tft

from components import dataset
from components.dataset import Dataset
from components.trainer import histories
from components.trainer.config import TrainerConfig
from components.trainer.histories import HistoryTable
from components.trainer.ranking import MAX_USERS
from components.trainer.row_inputs import Transform
from components.trainer.state import Base
from components.trainer.thinning import Thinning
from components.trainer.tower_inputs import TowerInputs
from schemas import features as f
from schemas.domain import Domain
from schemas.vectors import column_array


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
    """`[movies]` int64: the ids of the movies that have an embedding of their own."""
    histories: HistoryTable
    """The users' latest train ratings."""
    load_all: Callable[[], HistoryTable]
    """Loads the users' latest ratings, of train and eval."""
    inputs: TowerInputs
    """Raw features -> the towers' inputs, for what is not in the examples."""
    ranking: Dataset
    """The catalogue, and a sample of users with eval ratings, whose ranking early stopping looks at."""
    train_rows: int
    """Rows in all train shards."""
    eval_rows: int
    """Rows in all eval shards."""

    @property
    def domain(self) -> Domain:
        """What the data set is about."""
        return self.ranking.constants.domain

    def batch_size(self, config: TrainerConfig) -> int:
        """Return the rows a step; where training goes on, of all train ratings, as there are fewer examples."""
        return config.batch_size_of(len(self.histories.movies))

    def thinning(self, share: float) -> Thinning:
        """Return what shows a share of the rows' users with a part of their ratings."""
        return Thinning(share, self.genres, self.ranking.constants)

    @functools.cached_property
    def all_histories(self) -> HistoryTable:
        """The users' latest ratings, of train and eval; loaded when they are needed, for the refit."""
        return self.load_all()

    @functools.cached_property
    def genres(self) -> np.ndarray:
        """`[vocabulary + 1, genres]` float32 indicators, behind a row of zeros for one that the vocabulary lacks."""
        catalog = self.ranking.catalog
        genres = column_array(catalog[f.MOVIE_GENRES])[np.searchsorted(catalog[f.MOVIE_ID].to_numpy(), self.vocabulary)]
        return np.concatenate([np.zeros((1, genres.shape[1]), np.float32), genres])


def load_data(
    train_files: Sequence[str],
    eval_files: Sequence[str],
    transform: tft.TFTransformOutput,
    catalog_uri: str,
    histories_uri: str,
    train_rows: int,
    eval_rows: int,
    base: Base | None = None,
) -> TrainData:
    """Read the tables that training looks up in; the examples are streamed.

    Raises:
      ValueError: The model to go on from knows other categories.
    """
    ranking = dataset.load(catalog_uri, histories_uri, MAX_USERS)
    movie_ids = vocabulary(ranking.catalog)
    if base:
        domain = ranking.constants.domain
        if base.state.domain.categories != domain.categories or base.state.domain.scale != domain.scale:
            raise ValueError("the served model is of other categories or another scale; run without --warm-start")
        movie_ids = base.vocabulary(movie_ids)
    inputs = TowerInputs(transform, movie_ids)
    return TrainData(
        train_files,
        eval_files,
        inputs.transform,
        movie_ids,
        histories.load(histories_uri, movie_ids, ranking.constants.domain),
        lambda: histories.load(histories_uri, movie_ids, ranking.constants.domain, with_eval=True),
        inputs,
        ranking,
        train_rows,
        eval_rows,
    )


def vocabulary(catalog: pl.DataFrame) -> np.ndarray:
    """Return the ids of the movies with train ratings, those with most of them first, `[movies]` int64."""
    rated = catalog.filter(pl.col(f.MOVIE_NUM_RATINGS) > 0)
    return rated.sort(-pl.col(f.MOVIE_NUM_RATINGS), f.MOVIE_ID)[f.MOVIE_ID].to_numpy()
