"""How well a model ranks, after every epoch: what early stopping looks at.

The softmax's loss on eval rows is no substitute: it is lowest long before the ranking is best (docs/quality.md).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from components import ranking_metrics
from components.dataset import Dataset
from components.embedding import movie_inputs
from components.trainer.input import Transform
from schemas import keys
from schemas import signatures as s

MAX_USERS = 2000
"""Users that are ranked for; more tell little more and take longer."""


class RankingMetrics(keras.callbacks.Callback):
    """Adds recall@10 and NDCG@10 over all unseen movies of the catalogue to an epoch's logs."""

    def __init__(self, data: Dataset, inputs: Transform) -> None:
        """Prepare the inputs.

        Args:
          data: The users that are ranked for, with their train and eval ratings.
          inputs: Raw features -> the towers' inputs.
        """
        super().__init__()
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
        users = np.asarray(self.model.user_tower(self._users)[s.USER_EMBEDDING])
        movies = np.asarray(self.model.movie_tower(self._movies)[s.MOVIE_EMBEDDING])
        ranking = ranking_metrics.rank(self._task, lambda rows: users[self._task.users[rows]] @ movies.T)
        summary = ranking.summary()
        logs |= {keys.VAL_NDCG: summary.ndcg, keys.VAL_RECALL: summary.recall}
