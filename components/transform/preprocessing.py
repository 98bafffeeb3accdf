"""The preprocessing function: standardised features and the scaled label."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f

PREPROCESSING_FN = f"{__name__}.preprocessing_fn"
_POINTS_IN_TIME = np.linspace(-f.TIME_REACH, f.TIME_REACH, f.TIME_POINTS, dtype=np.float32)


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Standardise the features and derive those that the towers would otherwise have to learn.

    Args:
      inputs: The features of an example, each `[batch, n]`.
      custom_config: Unused; carries the hash of this code into the cache key.

    Returns:
      The towers' inputs, `schemas.features.FEATURES`, each scaled as its row there says. `movie_id` as it is,
      `movie_log_count` = log(1 + movie_num_ratings), and `movie_scaled_average` and `label`, movie_average_rating and
      the rating scaled to [-1, 1].
    """
    del custom_config
    values = inputs | _derived(inputs)
    columns = {name: tf.math.log1p(tf.cast(values[name], tf.float64)) for name in f.LOG_Z_SCORED}
    columns |= {name: values[name] for name in (*f.Z_SCORED, f.TIMESTAMP)}
    scores = _z_scores(columns)
    return {
        f.USER_TIME: _weights_of_points(scores.pop(f.TIMESTAMP)),
        f.MOVIE_GENRES: tf.identity(inputs[f.MOVIE_GENRES]),
        **scores,
        f.MOVIE_ID: tf.identity(inputs[f.MOVIE_ID]),
        f.MOVIE_LOG_COUNT: tf.math.log1p(inputs[f.MOVIE_NUM_RATINGS]),
        f.MOVIE_SCALED_AVERAGE: f.to_label(inputs[f.MOVIE_AVERAGE_RATING]),
        f.LABEL: f.to_label(inputs[f.RATING]),
    }


def _z_scores(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Standardise in float64 and round to 2**-16; a feature that is the same in every row is 0.

    Beam adds up in no fixed order, so that the constants differ in their last bits from run to run; the rounding keeps
    that out of the weights, and the same data and seed give the same model. `tft.scale_to_z_score` does the same but
    for the rounding, in twice as many operations a value; training applies them to every row of every epoch.

    All columns are analysed as one: Transform takes longer for every further analyzer.
    """
    precise = {name: tf.cast(values, tf.float64) for name, values in columns.items()}
    joined = tf.concat(list(precise.values()), axis=1)
    means, variances = tft.mean(joined, reduce_instance_dims=False), tft.var(joined, reduce_instance_dims=False)
    found, begin = {}, 0
    for name, values in precise.items():
        part = slice(begin, begin := begin + values.shape[1])
        deviation = tf.sqrt(variances[part])
        steps = tf.where(deviation > 0, f.SCORE_STEPS / deviation, f.SCORE_STEPS)
        found[name] = tf.cast(tf.round((values - means[part]) * steps), tf.float32) / f.SCORE_STEPS
    return found


def _weights_of_points(time: tf.Tensor) -> tf.Tensor:
    """Split each time between the two points around it; before the first and after the last one it is that one's."""
    first, step = _POINTS_IN_TIME[0], _POINTS_IN_TIME[1] - _POINTS_IN_TIME[0]
    inside = tf.clip_by_value(time, first, _POINTS_IN_TIME[-1])
    return tf.maximum(1 - tf.abs(inside - _POINTS_IN_TIME) / step, 0)


def _derived(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Compute the features that are in no example: those of `schemas.features.FEATURES` without bounds.

    In float64: whoever computes them otherwise, in another order or without TensorFlow, gets the same rounded scores.
    """
    rating, count = (tf.cast(inputs[name], tf.float64) for name in (f.USER_GENRE_RATING, f.USER_GENRE_COUNT))
    total = tf.reduce_sum(count, axis=1, keepdims=True)
    average = tf.math.divide_no_nan(tf.reduce_sum(rating * count, axis=1, keepdims=True), total)
    # A user without ratings gets the mean of the smoothed means, which are then the genres' own.
    average = tf.where(total > 0, average, tf.reduce_mean(rating, axis=1, keepdims=True))
    return {
        f.USER_GENRE_SHARE: tf.math.divide_no_nan(count, total),
        f.USER_GENRE_PREFERENCE: rating - average,
        f.USER_ACTIVITY: total,
        f.USER_AVERAGE_RATING: average,
    }
