"""Training on the workers of TF_CONFIG with MultiWorkerMirroredStrategy."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from components.trainer.configured import PACKAGE
from components.trainer.two_tower import TwoTower

_JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process among those that train together."""

    index: int = 0
    """0 is the chief, which alone exports and reports."""
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that exports."""
        return self.index == 0


def this_worker(strategy: tf.distribute.Strategy) -> Worker:
    """Return this process's place under a strategy; the only one without a cluster."""
    return _place(strategy.cluster_resolver) if strategy.cluster_resolver else Worker()


def is_chief() -> bool:
    """Tell whether TF_CONFIG, if it is set, makes this process the one that exports."""
    return _place(tf.distribute.cluster_resolver.TFConfigClusterResolver()).is_chief


def _place(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> Worker:
    cluster = resolver.cluster_spec().as_dict()
    tasks = [(job, task) for job in _JOBS for task in range(len(cluster.get(job, ())))]
    return Worker(tasks.index((resolver.task_type, resolver.task_id)), len(tasks)) if tasks else Worker()


@keras.saving.register_keras_serializable(PACKAGE)
class MultiWorkerTwoTower(TwoTower):
    """A `TwoTower` that Keras can fit on several workers.

    Keras 3's `fit` (3.12) fails there twice: it averages the first batch over the workers to learn its shapes, which
    tf.distribute does not do with a dict; and it averages the steps' scalar results over an axis that a scalar lacks.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            # The worker's own part of the batch tells the shapes as well.
            strategy = self.distribute_strategy
            data_batch = tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], next(batches))
        super()._maybe_symbolic_build(None, data_batch)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Train on one batch; the results are vectors of one number."""
        return _as_vectors(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluate one batch; the results are vectors of one number."""
        return _as_vectors(super().test_step(data))


def _as_vectors(results: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: ops.reshape(value, [1]) for name, value in results.items()}
