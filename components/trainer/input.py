"""Training input: shards of tf.Examples to batches of rows, streamed or by their numbers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

import polars as pl
import tensorflow as tf

from components.embedding import movie_inputs
from components.trainer.multi_worker import Worker
from components.trainer.row_inputs import MOVIE_COLUMNS, RowInputs, Tensors, Transform
from schemas import features as f

_INTERLEAVED_SHARDS = 8
_BUFFER_BYTES = 1 << 16
"""Of each of them; all together stay in a processor's cache."""
_PREFETCHED_BATCHES = 2
_MOST_THREADS = 16
"""Batches that are parsed or transformed at once; each is held in memory. The order of rows does not depend on it."""
_BLOCK_RECORDS = 256
"""Records that are taken of a shard at a time; to move single ones costs more than to parse them."""


def parse_spec(categories: int) -> dict[str, tf.io.FixedLenFeature]:
    """Return what training parses of an example where there are so many categories."""
    floats = f.example_lengths(categories)
    return {name: tf.io.FixedLenFeature([1], tf.int64) for name in f.IDS} | {
        name: tf.io.FixedLenFeature([length], tf.float32) for name, length in floats.items()
    }


def shard_paths(file_pattern: Sequence[str], worker: Worker = Worker()) -> list[str]:  # noqa: B008  Frozen.
    """Return a worker's share of the shards.

    Args:
      file_pattern: Shard files or patterns.
      worker: The worker.

    Raises:
      ValueError: No shard matches, or there are fewer shards than workers.
    """
    paths = sorted(path for pattern in file_pattern for path in tf.io.gfile.glob(pattern))
    if not paths:
        raise ValueError(f"no examples at {list(file_pattern)}")
    if len(paths) < worker.count:
        raise ValueError(
            f"{worker.count} workers for {len(paths)} shards; make more shards (--rows-per-shard) or use fewer workers"
        )
    return paths[worker.index :: worker.count]


@dataclasses.dataclass(frozen=True)
class Order:
    """In which order rows come, and how many at a time."""

    batch_size: int
    """Rows a batch."""
    shuffle_rows: int = 0
    """Rows that are shuffled at a time; 0 keeps the order and the last, smaller batch, and comes to an end. With
    shuffling all batches are full, and there is no end."""
    seed: int = 0
    """Of the order of shards and rows, and of what is drawn for them."""

    def batches(
        self,
        shards: tf.data.Dataset,
        number: int,
        read: Callable[..., tf.data.Dataset],
        parse: Callable[[tf.Tensor], Tensors],
    ) -> tf.data.Dataset:
        """Return batches of (rows, `[2]` int64 seeds of what is drawn for them).

        What is read of a row makes no difference to the order.

        Args:
          shards: The shards.
          number: How many there are.
          read: A shard to blocks of what stands for its rows.
          parse: A batch of that to the rows' features.
        """
        if self.shuffle_rows:
            shards = shards.shuffle(number, seed=self.seed)
        threads = _threads()
        blocks = shards.interleave(
            read,
            cycle_length=_INTERLEAVED_SHARDS,
            num_parallel_calls=min(threads, _INTERLEAVED_SHARDS),  # TensorFlow refuses more than there are shards.
            deterministic=True,
        )
        # Parsed before they are shuffled, because numbers are quicker to move than records; and a batch at a time,
        # because a call of the parser costs as much as a hundred records or two.
        rows = blocks.rebatch(self.batch_size).map(parse, num_parallel_calls=threads, deterministic=True)
        if self.shuffle_rows:
            window = max(self.shuffle_rows // self.batch_size, 1) * self.batch_size
            # Repeated behind the shuffling, so that no window holds rows of two passes.
            rows = _shuffled(rows, window, self.seed).repeat()
        # Seeds as data: in a map that runs in parallel, random operations would draw in no fixed order.
        seeds = tf.data.Dataset.random(self.seed + 1).batch(2)
        return tf.data.Dataset.zip(rows.rebatch(self.batch_size, drop_remainder=self.shuffle_rows > 0), seeds)


def batches(paths: Sequence[str], inputs: RowInputs, order: Order) -> tf.data.Dataset:
    """Stream batches from gzip TFRecord shards.

    Args:
      paths: Shard files.
      inputs: What the model reads of a row.
      order: In which order, and how many rows at a time.

    Returns:
      Dataset of (inputs of the model, label `[batch, 1]`).
    """
    found = streamed(paths, inputs, order, lambda raw, seeds: inputs(inputs.find(raw), seeds))
    options = tf.data.Options()
    options.autotune.enabled = False  # To measure every element takes a tenth of the input's time.
    return found.prefetch(_PREFETCHED_BATCHES).with_options(options)


def streamed(
    paths: Sequence[str], inputs: RowInputs, order: Order, make: Callable[[Tensors, tf.Tensor], tuple]
) -> tf.data.Dataset:
    """Stream what is made of batches of raw rows, `[batch, n]` each, and of their seeds; see `batches`."""
    shards = tf.data.Dataset.from_tensor_slices(list(paths))
    rows = order.batches(shards, len(paths), read_shard, parser(inputs))
    return rows.map(make, num_parallel_calls=_threads(), deterministic=True)


def read_shard(path: tf.Tensor) -> tf.data.Dataset:
    """Read blocks of a shard's records."""
    return tf.data.TFRecordDataset(path, "GZIP", _BUFFER_BYTES).batch(_BLOCK_RECORDS)


def number_shard(start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
    """Count blocks of a shard's rows, as `read_shard` reads them."""
    return tf.data.Dataset.range(start, stop).batch(_BLOCK_RECORDS)


def parser(inputs: RowInputs) -> Callable[[tf.Tensor], Tensors]:
    """Return what makes features of records."""
    spec = parse_spec(inputs.histories.domain.num_categories)
    return lambda records: tf.io.parse_example(records, spec)


def _shuffled(blocks: tf.data.Dataset, window: int, seed: int) -> tf.data.Dataset:
    """Shuffle rows a window of them at a time.

    tf.data's `shuffle` takes every row by itself, which takes longer than to read, parse and transform it.
    """

    def shuffle(features: Tensors, seeds: tf.Tensor) -> Tensors:
        number = tf.shape(next(iter(features.values())))[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(number), seeds)
        return {name: tf.gather(values, order) for name, values in features.items()}

    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(blocks.rebatch(window), seeds).map(shuffle).prefetch(1)


def _threads() -> int:
    return min(os.cpu_count() or 1, _MOST_THREADS)


def movie_columns(catalog: pl.DataFrame, inputs: Transform) -> Tensors:
    """Return what the movie tower and the loss read of every movie of a catalogue: `[movies, n]` each.

    Args:
      catalog: The movies.
      inputs: Raw features -> the towers' inputs.
    """
    features = inputs({name: tf.constant(value) for name, value in movie_inputs(catalog).items()})
    return {name: features[name] for name in MOVIE_COLUMNS}
