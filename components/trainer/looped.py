"""Training several steps in one loop on the device, from rows that lie there, or come a window at a time.

Of resident rows, which are read of the shards once, a step gathers its own by their numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.trainer.configured import PACKAGE
from components.trainer.input import Order, number_shard, parser, read_shard, streamed
from components.trainer.row_inputs import RowInputs, Tensors
from components.trainer.two_tower import TwoTower

_READ_SHARDS = 16
"""Shards that are read at once."""
_READ_ROWS = 4096
_ROW = "row"


@dataclasses.dataclass(frozen=True)
class ResidentRows:
    """The rows of shards as columns, in the order of the shards."""

    columns: Tensors
    """What `RowInputs.find` returns, `[rows, n]` each."""
    starts: np.ndarray
    """`[shards + 1]` int64: shard `s` has the rows `starts[s]:starts[s + 1]`."""

    @classmethod
    def read(cls, paths: Sequence[str], inputs: RowInputs) -> ResidentRows:
        """Read shards.

        Args:
          paths: Shard files.
          inputs: What is looked up for a row.
        """
        parse = parser(inputs)
        numbered = tf.data.Dataset.from_tensor_slices(list(paths)).enumerate()

        def blocks(shard: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
            found = read_shard(path).rebatch(_READ_ROWS).map(lambda records: inputs.find(parse(records)))
            return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(shard).repeat(), found)

        read = numbered.interleave(
            blocks, cycle_length=_READ_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
        )
        # A shard's blocks stay in their order, whatever other shards' come between them.
        found = sorted(read.as_numpy_iterator(), key=lambda block: block[0])
        sizes = np.bincount(
            [shard for shard, _ in found], [len(next(iter(block.values()))) for _, block in found], len(paths)
        )
        columns = {}
        for name in list(found[0][1]):
            columns[name] = tf.constant(np.concatenate([block.pop(name) for _, block in found]))
        return cls(columns, np.append(0, np.cumsum(sizes)).astype(np.int64))

    def batches(self, order: Order, steps: int) -> tf.data.Dataset:
        """Return the numbers of the rows of so many steps at a time, in the order in which they would be streamed.

        Args:
          order: The order.
          steps: How many.

        Returns:
          Dataset of (`[steps, batch]` int64 row numbers, `[steps, 2]` int64 seeds).
        """
        shards = tf.data.Dataset.from_tensor_slices((self.starts[:-1], self.starts[1:]))
        numbers = order.batches(shards, len(self.starts) - 1, number_shard, lambda rows: {_ROW: rows})
        return _joined(numbers.map(lambda rows, seeds: (rows[_ROW], seeds)), steps)


def windows(paths: Sequence[str], inputs: RowInputs, order: Order, steps: int) -> tf.data.Dataset:
    """Stream the rows themselves of so many steps at a time, for more of them than the device has memory for.

    Args:
      paths: Shard files.
      inputs: What is looked up for a row.
      order: The order.
      steps: How many.

    Returns:
      Dataset of (what `RowInputs.find` returns, `[steps, batch, n]` each; `[steps, 2]` int64 seeds).
    """
    return _joined(streamed(paths, inputs, order, lambda raw, seeds: (inputs.find(raw), seeds)), steps)


def _joined(batches: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False  # Its thread is waited for at the end of `fit`, for up to ten seconds.
    return batches.batch(steps, drop_remainder=True).prefetch(2).with_options(options)


@keras.saving.register_keras_serializable(PACKAGE)
class LoopedTwoTower(TwoTower):
    """A `TwoTower` that trains several steps in one loop on the device."""

    rows: ResidentRows | None = None
    """What is trained on; None: rows come themselves, not by their numbers."""
    row_inputs: RowInputs | None = None
    """What the model reads of a row."""

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Train for some steps.

        Args:
          data: `[steps, batch]` numbers of rows, or what `windows` gives; `[steps, 2]` seeds.
        """
        given, seeds = data
        rows, row_inputs = self.rows, self.row_inputs
        if row_inputs is None:
            raise RuntimeError("nothing makes inputs of the rows: set `row_inputs` before training")
        step = super().train_step

        def one(number: tf.Tensor) -> tuple[tf.Tensor]:
            if rows is None:
                found = {name: values[number] for name, values in given.items()}
            else:
                found = {name: tf.gather(values, given[number]) for name, values in rows.columns.items()}
            step(row_inputs(found, seeds[number]))
            return (number + 1,)

        tf.while_loop(lambda number: number < tf.shape(seeds)[0], one, (tf.constant(0),))
        return self.get_metrics_result()
