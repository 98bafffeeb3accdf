"""The preprocessing function: standardised features and the scaled label."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas import features as f

PREPROCESSING_FN = f"{__name__}.preprocessing_fn"


_STEPS = 2.0**16
_POINTS_IN_TIME = np.linspace(-2, 2, 33, dtype=np.float32)
"""In standard deviations of the train ratings' time; evenly spread times have all of theirs within 1.73."""


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Standardise the features and derive those that the towers would otherwise have to learn.

    Args:
      inputs: The features of an example, each `[batch, n]`.
      custom_config: Unused; carries the hash of this code into the cache key.

    Returns:
      The towers' inputs (`schemas.features.USER_INPUTS` and `MOVIE_INPUTS`): z-scores per element, counts as z-scores
      of log(1 + n), genres as they are, `user_time` as weights. `movie_id` as it is, `movie_index`, its place in the
      vocabulary of train movies from 1 or 0 for any other, `movie_log_count` = log(1 + movie_num_ratings), and `label`,
      the rating scaled to [-1, 1].
    """
    del custom_config
    movie_log_count = tf.math.log1p(inputs[f.MOVIE_NUM_RATINGS])
    standardised = _user_inputs(inputs[f.USER_GENRE_RATING], inputs[f.USER_GENRE_COUNT]) | {
        f.MOVIE_NUM_RATINGS: movie_log_count,
        f.MOVIE_AVERAGE_RATING: inputs[f.MOVIE_AVERAGE_RATING],
        f.MOVIE_YEAR: inputs[f.MOVIE_YEAR],
    }
    outputs = {name: _z_score(value) for name, value in standardised.items()}
    outputs[f.USER_TIME] = _weights_of_points(_z_score(inputs[f.TIMESTAMP]))
    outputs[f.MOVIE_GENRES] = tf.identity(inputs[f.MOVIE_GENRES])
    outputs[f.MOVIE_ID] = tf.identity(inputs[f.MOVIE_ID])
    outputs[f.MOVIE_INDEX] = 1 + tft.compute_and_apply_vocabulary(
        inputs[f.MOVIE_ID], default_value=-1, vocab_filename=f.MOVIE_IDS_VOCABULARY
    )
    outputs[f.MOVIE_LOG_COUNT] = tf.identity(movie_log_count)
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


def _user_inputs(rating: tf.Tensor, count: tf.Tensor) -> dict[str, tf.Tensor]:
    total = tf.reduce_sum(count, axis=1, keepdims=True)
    average = tf.math.divide_no_nan(tf.reduce_sum(rating * count, axis=1, keepdims=True), total)
    # A user without ratings gets the mean of the smoothed means, which are then the genres' own.
    average = tf.where(total > 0, average, tf.reduce_mean(rating, axis=1, keepdims=True))
    return {
        f.USER_GENRE_RATING: rating,
        f.USER_GENRE_COUNT: tf.math.log1p(count),
        f.USER_GENRE_SHARE: tf.math.divide_no_nan(count, total),
        f.USER_GENRE_PREFERENCE: rating - average,
        f.USER_ACTIVITY: tf.math.log1p(total),
        f.USER_AVERAGE_RATING: average,
    }
