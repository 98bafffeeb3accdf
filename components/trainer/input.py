"""Training input: shards of tf.Examples to batches of transformed features, streamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import polars as pl
import tensorflow as tf

from components.embedding import movie_inputs
from components.trainer.co_ratings import CoRatings
from components.trainer.histories import HistoryTable
from components.trainer.movie_averages import MovieAverages
from components.trainer.multi_worker import Worker
from components.trainer.thinning import Thinning
from components.trainer.towers import HISTORY_SHARES, OWN, ROW_SHARE
from schemas import features as f

_MOVIE_COLUMNS = (*f.MOVIE_INPUTS, f.MOVIE_ID, f.MOVIE_TOKEN, f.MOVIE_LOG_COUNT, f.MOVIE_SCALED_AVERAGE)
_COLUMNS = (*f.USER_INPUTS, *_MOVIE_COLUMNS)
_INTERLEAVED_SHARDS = 8
_BUFFER_BYTES = 1 << 16
"""Of each of them; all together stay in a processor's cache."""
_PREFETCHED_BATCHES = 2
_MOST_THREADS = 16
"""Batches that are parsed or transformed at once; each is held in memory. The order of rows does not depend on it."""
_BLOCK_RECORDS = 256
"""Records that are taken of a shard at a time; to move single ones costs more than to parse them."""

Transform = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def parse_spec(categories: int) -> dict[str, tf.io.FixedLenFeature]:
    """Return what training parses of an example where there are so many categories."""
    floats = f.example_lengths(categories)
    return {name: tf.io.FixedLenFeature([1], tf.int64) for name in f.IDS} | {
        name: tf.io.FixedLenFeature([length], tf.float32) for name, length in floats.items()
    }


def batches(
    file_pattern: Sequence[str],
    transform: Transform,
    histories: HistoryTable,
    batch_size: int,
    shuffle_rows: int = 0,
    seed: int = 0,
    worker: Worker = Worker(),  # noqa: B008  Frozen.
    thinning: Thinning | None = None,
    co_ratings: CoRatings | None = None,
    averages: MovieAverages | None = None,
) -> tf.data.Dataset:
    """Stream batches from gzip TFRecord shards.

    Args:
      file_pattern: Shard files or patterns.
      transform: Raw features `[batch, n]` -> transformed features.
      histories: The users' latest ratings.
      batch_size: Rows per batch.
      shuffle_rows: Rows that are shuffled at a time; 0 keeps the order and the last, smaller batch. With shuffling the
        last batch is dropped, so that all steps count alike.
      seed: Seed of the order of shards and rows.
      worker: The worker whose share of the shards is wanted; of several workers' shares there is no end.
      thinning: Shows some rows' users with a part of their ratings, drawn anew in every pass.
      co_ratings: Factors of these very ratings, of which each row's user's own part is told.
      averages: Of the histories' ratings: where the predicted rating starts is then the average of the row's movie
        without the row's own rating.

    Returns:
      Dataset of (inputs of the model, label `[batch, 1]`).

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
    paths = paths[worker.index :: worker.count]
    shards = tf.data.Dataset.from_tensor_slices(paths)
    if shuffle_rows:
        shards = shards.shuffle(len(paths), seed=seed)
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    blocks = shards.interleave(
        lambda path: tf.data.TFRecordDataset(path, "GZIP", _BUFFER_BYTES).batch(_BLOCK_RECORDS),
        cycle_length=_INTERLEAVED_SHARDS,
        num_parallel_calls=min(threads, _INTERLEAVED_SHARDS),  # TensorFlow refuses more than there are shards.
        deterministic=True,
    )
    spec, liked = parse_spec(histories.domain.num_categories), histories.domain.scale.liked_stars
    # Parsed before they are shuffled, because numbers are quicker to move than records; and a batch at a time, because
    # a call of the parser costs as much as a hundred records or two.
    blocks = blocks.rebatch(batch_size).map(
        lambda records: tf.io.parse_example(records, spec), num_parallel_calls=threads, deterministic=True
    )
    if shuffle_rows:
        blocks = _shuffled(blocks, max(shuffle_rows // batch_size, 1) * batch_size, seed)
    if worker.count > 1:
        blocks = blocks.repeat()  # After the shuffling, so that no window holds rows of two passes.

    def inputs_and_label(raw: dict[str, tf.Tensor], *seeds: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        user_id, drawn, first, part = raw[f.USER_ID], None, None, None
        if thinning:
            drawn = thinning.draw(tf.shape(user_id)[0], *seeds)
            first = tf.where(drawn.first, tf.cast(drawn.kept, tf.int64), tf.int64.max >> 1)
            part = drawn.part
        history = histories.lookup(user_id, raw[f.MOVIE_ID], raw[f.TIMESTAMP], first, part)
        if co_ratings:
            history |= _own_part(co_ratings, histories, raw, history, liked)
        if thinning and drawn:
            tokens, stars = history[f.USER_HISTORY_TOKENS], history[f.USER_HISTORY_RATINGS]
            raw, history[f.USER_HISTORY_RATINGS] = thinning(raw, tokens, stars, drawn)
        features = transform({name: values for name, values in raw.items() if name != f.USER_ID})
        # The vocabulary's look-up loses the shape, and Keras asks for it.
        features[f.MOVIE_TOKEN] = tf.ensure_shape(features[f.MOVIE_TOKEN], features[f.MOVIE_ID].shape)
        if averages:
            row, _ = histories.users(user_id)
            average = averages.without(row, histories.tokens(raw[f.MOVIE_ID]), raw[f.RATING])
            features[f.MOVIE_SCALED_AVERAGE] = f.to_label(average)
        inputs = {name: features[name] for name in _COLUMNS}
        return inputs | history, features[f.LABEL]

    rows = blocks.rebatch(batch_size, drop_remainder=shuffle_rows > 0)
    if thinning:
        # Seeds as data: in a map that runs in parallel, random operations would draw in no fixed order.
        rows = tf.data.Dataset.zip(rows, tf.data.Dataset.random(seed + 1, rerandomize_each_iteration=True).batch(2))
    options = tf.data.Options()
    options.autotune.enabled = False  # To measure every element takes a tenth of the input's time.
    found = rows.map(inputs_and_label, num_parallel_calls=threads, deterministic=True).prefetch(_PREFETCHED_BATCHES)
    return found.with_options(options)


def _own_part(
    co_ratings: CoRatings,
    histories: HistoryTable,
    raw: dict[str, tf.Tensor],
    history: dict[str, tf.Tensor],
    liked_stars: float,
) -> dict[str, tf.Tensor]:
    """Return what the factors owe to the user of each row: `HISTORY_SHARES`, `ROW_SHARE` and `OWN` of the towers."""
    tables = co_ratings.tensors
    user, _ = histories.users(raw[f.USER_ID])
    weight = tf.gather(tables["user_weight"], user)[:, None]

    def of_likes(stars: tf.Tensor) -> tf.Tensor:
        return tf.where(stars >= liked_stars, weight, 0.0)

    shares = tf.gather(tables["liking_share"], history[f.USER_HISTORY_TOKENS])
    return {
        HISTORY_SHARES: shares * of_likes(history[f.USER_HISTORY_RATINGS]),
        ROW_SHARE: co_ratings.liked_share * of_likes(raw[f.RATING]),
        OWN: tf.gather(tables["own"], user),
    }


def _shuffled(blocks: tf.data.Dataset, window: int, seed: int) -> tf.data.Dataset:
    """Shuffle rows a window of them at a time.

    tf.data's `shuffle` takes every row by itself, which takes longer than to read, parse and transform it.
    """

    def shuffle(features: dict[str, tf.Tensor], seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(features[f.USER_ID])[0]), seeds)
        return {name: tf.gather(values, order) for name, values in features.items()}

    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(blocks.rebatch(window), seeds).map(shuffle).prefetch(1)


def movie_columns(catalog: pl.DataFrame, transform: Transform) -> dict[str, tf.Tensor]:
    """Return what training reads of every movie of a catalogue, after Transform: `[movies, n]` each."""
    features = transform({name: tf.constant(value) for name, value in movie_inputs(catalog).items()})
    return {name: features[name] for name in _MOVIE_COLUMNS}
