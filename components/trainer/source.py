"""Where the rows of a training come from: streamed from shards, or from the device's memory."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from keras import ops

from components.trainer.co_ratings import CoRatings
from components.trainer.config import TrainerConfig
from components.trainer.devices import Device
from components.trainer.input import Order, batches, shard_paths
from components.trainer.looped import LoopedTwoTower, ResidentRows, windows
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import MultiWorkerTwoTower, Worker
from components.trainer.row_inputs import RowInputs
from components.trainer.towers import LEANING, UserTower
from components.trainer.train_data import TrainData
from components.trainer.two_tower import TwoTower
from schemas import features as f

_FOUND_BYTES = 5 * 8
"""Of the whole numbers that a resident row has beside its features: ids, time, and where its history is."""
_EVAL_ROWS = 100_000
"""Eval ratings whose error is looked at while training, about; the gate looks at all."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What a model is fitted to."""

    batches: tf.data.Dataset
    """Without end; what a step takes, or what some steps take."""
    epoch_steps: int
    """Steps of a pass over all rows."""
    steps_per_call: int = 1
    """Steps that one element of `batches` is for."""
    rows: ResidentRows | None = None
    """What the elements number, if they are numbers of rows."""
    row_inputs: RowInputs | None = None

    def give(self, model: TwoTower) -> None:
        """Give a model what it trains on beside the batches."""
        if isinstance(model, LoopedTwoTower):
            model.rows, model.row_inputs = self.rows, self.row_inputs


def model_class(config: TrainerConfig, data: TrainData, worker: Worker, device: Device) -> type[TwoTower]:
    """Return which model fits to the source."""
    if worker.count > 1:
        return MultiWorkerTwoTower
    looped = config.strategy == "none" and (device.compiles or _rows_fit(data, device))
    return LoopedTwoTower if looped else TwoTower


def _rows_fit(data: TrainData, device: Device) -> bool:
    """Whether all rows, those of the refit too, fit into the device's memory."""
    row_bytes = 4 * sum(f.example_lengths(data.domain.num_categories).values()) + _FOUND_BYTES
    return (data.train_rows + data.eval_rows) * row_bytes <= device.resident_bytes


def training_source(
    config: TrainerConfig,
    data: TrainData,
    worker: Worker,
    device: Device,
    averages: MovieAverages,
    factors: CoRatings | None = None,
    with_eval: bool = False,
) -> Source:
    """Return a worker's rows.

    Args:
      config: Trainer configuration.
      data: What to train on.
      worker: The worker.
      device: What trains.
      averages: Of the ratings that are trained on.
      factors: Of co-ratings, of the ratings that are trained on.
      with_eval: Whether the eval ratings are trained on, too.

    Raises:
      ValueError: There are fewer shards than workers, or fewer rows than a batch has.
    """
    files, rows, table = data.train_files, data.train_rows, data.histories
    if with_eval:
        files, rows, table = [*files, *data.eval_files], rows + data.eval_rows, data.all_histories
    order = Order(data.batch_size(config), config.shuffle_rows, config.seed)
    steps = rows // order.batch_size
    if not steps:
        raise ValueError(f"batch_size is {order.batch_size}, more than the {rows} train ratings; choose a smaller one")
    thinning = data.thinning(config.thinned_share) if config.thinned_share else None
    inputs = RowInputs(data.transform, table, thinning, factors, averages)
    paths = shard_paths(files, worker)
    if issubclass(model_class(config, data, worker, device), LoopedTwoTower):
        of_round = min(steps, config.eval_steps)
        calls = -(-of_round // device.steps_per_call)
        steps_per_call = -(-of_round // calls)
        if not _rows_fit(data, device):
            return Source(windows(paths, inputs, order, steps_per_call), steps, steps_per_call, None, inputs)
        resident = ResidentRows.read(paths, inputs)
        return Source(resident.batches(order, steps_per_call), steps, steps_per_call, resident, inputs)
    found = batches(paths, inputs, order)
    return Source(_unsharded(found) if worker.count > 1 else found, steps)


def eval_batches(config: TrainerConfig, data: TrainData, worker: Worker, tower: UserTower) -> tf.data.Dataset:
    """Return batches of the eval ratings, or of some of them, from memory behind the first pass.

    Args:
      config: Trainer configuration.
      data: What to evaluate on.
      worker: The worker.
      tower: The user tower; of what is not trained, what takes longest is in the batches already.
    """
    order = Order(data.batch_size(config))
    found = batches(shard_paths(data.eval_files), RowInputs(data.transform, data.histories), order)
    number = -(-min(data.eval_rows, _EVAL_ROWS) // order.batch_size)
    found = found.take(number)
    if tower.retrieval and config.strategy == "none":
        tables = tuple(ops.copy(table) for table in tower.tables)  # A variable may be of another device than the input.
        found = found.map(lambda inputs, label: (inputs | {LEANING: tower.leaning(inputs, tables)}, label))
    if worker.count > 1:  # tf.distribute divides the batches, and there are more of them.
        return _unsharded(found.cache())
    return found.apply(tf.data.experimental.assert_cardinality(number)).cache()


def _unsharded(data: tf.data.Dataset) -> tf.data.Dataset:
    """Keep tf.distribute from sharding what is sharded by file, or not to be sharded, already."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return data.with_options(options)
