"""How well a model ranks, every few steps: what early stopping looks at, and what weighs the embedding's parts.

The softmax's loss on eval rows is no substitute: it is lowest long before the ranking is best (docs/quality.md).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from components import ranking_metrics
from components.dataset import Dataset
from components.ranking_metrics import Ranking, RankingTask
from components.trainer import blend
from components.trainer.config import TrainerConfig
from components.trainer.input import movie_columns
from components.trainer.row_inputs import Transform
from components.trainer.towers import UserTower
from schemas import keys
from schemas import signatures as s
from schemas.numpy_tower import OPS
from schemas.user_vectors import weighted

_SEARCH_ROUNDS = 4
"""Of the later rounds every so many look for weights."""
MAX_USERS = 2000
"""Users that are ranked for; more tell little more and take longer."""
_KNOWN_OF_NEW = (1, 3, 5, 10)
"""How many ratings are known of somebody new: each of these of as many users."""


class RankingMetrics(keras.callbacks.Callback):
    """Adds recall@10 and NDCG@10 over all unseen movies of the catalogue to a round's logs, and weighs the parts.

    The weights of the embedding's parts are looked for after the first rounds, and then now and again: by what eval
    users liked in eval, and that of somebody new by what the same users liked after the first ratings that they gave.
    """

    def __init__(self, data: Dataset, inputs: Transform, config: TrainerConfig, weighs: bool = True) -> None:
        """Prepare the inputs.

        Args:
          data: The users that are ranked for, with their train and eval ratings.
          inputs: Raw features -> the towers' inputs.
          config: With the weights to begin with.
          weighs: Whether weights are looked for at all; a training that goes on keeps those that it has.
        """
        super().__init__()
        self._data, self._inputs, self._config, self._weighs = data, inputs, config, weighs
        self._known = _Users.of(data, inputs)
        self._movies = movie_columns(data.catalog, inputs)

    @property
    def has_users(self) -> bool:
        """Whether anyone liked a movie in eval."""
        return bool(len(self._known.task.users))

    @functools.cached_property
    def _new(self) -> _Users:
        """The same users when they were new; a training that goes on does not ask for them."""
        return _Users.of(when_new(self._data), self._inputs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Rank for every user; the callbacks behind this one read what is added to the logs."""
        if logs is None:
            return
        tower, rounds, movies = self.model.user_tower, epoch + 1, self._movie_vectors()
        ranking = self._known.ranking(tower, movies)
        if self._weighs and (rounds < _SEARCH_ROUNDS or rounds % _SEARCH_ROUNDS == 0):
            gain, of_new = self._config.least_blend_gain, self._new.ranking(tower, movies)
            configured = np.array(self._config.blend, np.float32)
            found = blend.search(lambda weights: ranking(weights).ndcg, configured, gain)
            found = blend.search(lambda weights: of_new(weights).ndcg, found, gain, blend.OF_NEW)
            tower.blend.assign(found)
        summary = ranking(np.asarray(tower.blend)).summary()
        logs |= {keys.VAL_NDCG: summary.ndcg, keys.VAL_RECALL: summary.recall}

    def weigh_kept(self, logs: dict[str, float] | None = None) -> None:
        """Look for weights once more, with the model that is kept: see `blend.OF_KEPT`.

        Not at every look: what a list gains by what everybody knows, is not learned, and training would wait for more.
        """
        del logs
        if not self._weighs:
            return
        tower = self.model.user_tower
        ranking = self._known.ranking(tower, self._movie_vectors())
        configured = np.array([*self._config.blend[:-1], tower.blend[-1]], np.float32)
        gain = self._config.least_blend_gain
        found = blend.search(lambda weights: ranking(weights).ndcg, configured, gain, blend.OF_KEPT)
        if found is not configured:
            tower.blend.assign(found)

    def _movie_vectors(self) -> np.ndarray:
        """Return the catalogue's embeddings without what fills them up, `[movies, joined_dim - 1]`."""
        return np.asarray(self.model.movie_tower(self._movies)[s.MOVIE_EMBEDDING])[:, :-1]


@dataclasses.dataclass(frozen=True)
class _Users:
    """Users that are ranked for, as what is known of them."""

    task: RankingTask
    inputs: dict[str, tf.Tensor]
    """What the user tower reads, `[users, n]` each, of all users of the data set."""

    @classmethod
    def of(cls, data: Dataset, inputs: Transform) -> _Users:
        """Rank for the users of a data set by its train ratings."""
        task = ranking_metrics.ranking_task(
            *(data.user, data.movie, data.stars, data.train, data.catalog.height, data.num_users),
            seed=0,
            liked=data.constants.domain.scale.liked_stars,
        )
        raw = data.user_tower_inputs(slice(None))
        return cls(task, inputs({name: tf.constant(value) for name, value in raw.items()}))

    def ranking(self, tower: UserTower, movies: np.ndarray) -> Callable[[np.ndarray], Ranking]:
        """Return what ranks by weights of the embedding's parts; `movies`: `[movies, joined_dim - 1]`."""
        parts = [np.asarray(part) for part in tower.parts(self.inputs)]

        def by(weights: np.ndarray) -> Ranking:
            users = weighted(OPS, parts, weights)
            return ranking_metrics.rank(self.task, lambda rows: users[self.task.users[rows]] @ movies.T)

        return by


def when_new(data: Dataset) -> Dataset:
    """Show the users of a data set as they were after the first ratings that they gave: these are its train ratings."""
    first = np.searchsorted(data.user, data.user)
    known = np.array(_KNOWN_OF_NEW)[data.user % len(_KNOWN_OF_NEW)]
    return dataclasses.replace(data, train=np.arange(len(data.user)) - first < known)
