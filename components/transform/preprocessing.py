"""The preprocessing function: standardised features and the scaled label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f

PREPROCESSING_FN = f"{__name__}.preprocessing_fn"
_STEPS = 2.0**16
_POINTS_IN_TIME = np.linspace(-2, 2, f.TIME_POINTS, dtype=np.float32)
"""In standard deviations of the train ratings' time; evenly spread times have all of theirs within 1.73."""


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Standardise the features and derive those that the towers would otherwise have to learn.

    Args:
      inputs: The features of an example, each `[batch, n]`.
      custom_config: Unused; carries the hash of this code into the cache key.

    Returns:
      The towers' inputs, `schemas.features.FEATURES`, each scaled as its row there says. `movie_id` as it is,
      `movie_token`, its place in the vocabulary of train movies from 1 or 0 for any other, `movie_log_count` =
      log(1 + movie_num_ratings), and `movie_scaled_average` and `label`, movie_average_rating and the rating scaled to
      [-1, 1].
    """
    del custom_config
    movie_log_count = tf.math.log1p(inputs[f.MOVIE_NUM_RATINGS])
    values = inputs | _derived(inputs)
    outputs = {feature.name: _SCALINGS[feature.scaling](values[feature.name]) for feature in f.FEATURES}
    outputs[f.MOVIE_ID] = tf.identity(inputs[f.MOVIE_ID])
    outputs[f.MOVIE_TOKEN] = 1 + tft.compute_and_apply_vocabulary(
        inputs[f.MOVIE_ID], default_value=-1, vocab_filename=f.MOVIE_IDS_VOCABULARY
    )
    outputs[f.MOVIE_LOG_COUNT] = tf.identity(movie_log_count)
    outputs[f.MOVIE_SCALED_AVERAGE] = f.to_label(inputs[f.MOVIE_AVERAGE_RATING])
    outputs[f.LABEL] = f.to_label(inputs[f.RATING])
    return outputs


def _z_score(values: tf.Tensor) -> tf.Tensor:
    """Standardise in float64 and round to 2**-16; a feature that is the same in every row is 0.

    Beam adds up in no fixed order, so that the constants differ in their last bits from run to run; the rounding keeps
    that out of the weights, and the same data and seed give the same model. `tft.scale_to_z_score` does the same but
    for the rounding, in twice as many operations a value; training applies them to every row of every epoch.
    """
    precise = tf.cast(values, tf.float64)
    mean = tft.mean(precise, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(precise, reduce_instance_dims=False))
    steps = tf.where(deviation > 0, _STEPS / deviation, _STEPS)
    return tf.cast(tf.round((precise - mean) * steps), tf.float32) / _STEPS


def _weights_of_points(time: tf.Tensor) -> tf.Tensor:
    """Split each time between the two points around it; before the first and after the last one it is that one's."""
    first, step = _POINTS_IN_TIME[0], _POINTS_IN_TIME[1] - _POINTS_IN_TIME[0]
    inside = tf.clip_by_value(time, first, _POINTS_IN_TIME[-1])
    return tf.maximum(1 - tf.abs(inside - _POINTS_IN_TIME) / step, 0)


def _derived(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Compute the features that are in no example: those of `schemas.features.FEATURES` without bounds."""
    rating, count = inputs[f.USER_GENRE_RATING], inputs[f.USER_GENRE_COUNT]
    total = tf.reduce_sum(count, axis=1, keepdims=True)
    average = tf.math.divide_no_nan(tf.reduce_sum(rating * count, axis=1, keepdims=True), total)
    # A user without ratings gets the mean of the smoothed means, which are then the genres' own.
    average = tf.where(total > 0, average, tf.reduce_mean(rating, axis=1, keepdims=True))
    return {
        f.USER_GENRE_SHARE: tf.math.divide_no_nan(count, total),
        f.USER_GENRE_PREFERENCE: rating - average,
        f.USER_ACTIVITY: total,
        f.USER_AVERAGE_RATING: average,
        f.USER_TIME: _weights_of_points(_z_score(inputs[f.TIMESTAMP])),
    }


_SCALINGS: dict[f.Scaling, Callable[[tf.Tensor], tf.Tensor]] = {
    f.Scaling.Z_SCORE: _z_score,
    f.Scaling.LOG_Z_SCORE: lambda values: _z_score(tf.math.log1p(values)),
    f.Scaling.NONE: tf.identity,
}
