"""How well a model ranks, every few steps: what early stopping looks at, and what weighs the embedding's parts.

The softmax's loss on eval rows is no substitute: it is lowest long before the ranking is best (docs/quality.md).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from components import ranking_metrics
from components.dataset import Dataset
from components.embedding import movie_inputs
from components.ranking_metrics import Ranking
from components.trainer import blend
from components.trainer.config import TrainerConfig
from components.trainer.row_inputs import Transform
from schemas import keys
from schemas import signatures as s

_SEARCH_ROUNDS = 4
"""Of the later rounds every so many look for weights."""
MAX_USERS = 2000
"""Users that are ranked for; more tell little more and take longer."""


class RankingMetrics(keras.callbacks.Callback):
    """Adds recall@10 and NDCG@10 over all unseen movies of the catalogue to a round's logs, and weighs the parts.

    The weights of the embedding's parts are looked for after the first rounds, and then now and again.
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
        self._config, self._weighs = config, weighs
        self._task = ranking_metrics.ranking_task(
            *(data.user, data.movie, data.stars, data.train, data.catalog.height, data.num_users),
            seed=0,
            liked=data.constants.domain.scale.liked_stars,
        )
        self._users, self._movies = (
            inputs({name: tf.constant(value) for name, value in raw.items()})
            for raw in (data.user_tower_inputs(slice(None)), movie_inputs(data.catalog))
        )

    @property
    def has_users(self) -> bool:
        """Whether anyone liked a movie in eval."""
        return bool(len(self._task.users))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Rank for every user; the callbacks behind this one read what is added to the logs."""
        if logs is None:
            return
        tower, rounds = self.model.user_tower, epoch + 1
        learned, *others = (np.asarray(part) for part in tower.parts(self._users))
        movies = np.asarray(self.model.movie_tower(self._movies)[s.MOVIE_EMBEDDING])[:, :-1]

        def ranking(weights: np.ndarray) -> Ranking:
            weighted = [values * weight for values, weight in zip(others, weights, strict=True)]
            users = np.concatenate([learned, *weighted], axis=1)
            return ranking_metrics.rank(self._task, lambda rows: users[self._task.users[rows]] @ movies.T)

        if self._weighs and (rounds < _SEARCH_ROUNDS or rounds % _SEARCH_ROUNDS == 0):
            configured = np.array(self._config.blend, np.float32)
            found, _ = blend.search(lambda weights: ranking(weights).ndcg, configured, self._config.least_blend_gain)
            tower.blend.assign(found)
        summary = ranking(np.asarray(tower.blend)).summary()
        logs |= {keys.VAL_NDCG: summary.ndcg, keys.VAL_RECALL: summary.recall}
