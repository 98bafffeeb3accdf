"""Dropout that draws a byte for each number instead of a float: drawing took a third of a training step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from components.trainer.configured import PACKAGE

_BYTES_PER_NUMBER = 4


@keras.saving.register_keras_serializable(PACKAGE)
class ByteDropout(keras.layers.Layer):
    """Sets a share of its inputs to zero while training, and scales the others up, as `keras.layers.Dropout` does."""

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """Create the layer.

        Args:
          rate: Share of the inputs, in [0, 1); rounded to 256ths.
          **kwargs: Passed to `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()
        self._dropped = round(rate * 256)
        self.built = True

    def call(self, inputs: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Drop some of `[batch, n]` inputs, if training."""
        if not training or not self._dropped:
            return inputs
        width = inputs.shape[1]
        numbers = tf.random.stateless_uniform(
            [tf.shape(inputs)[0], -(-width // _BYTES_PER_NUMBER)],
            tf.cast(self.seed_generator.next(), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.int32,
        )
        drawn = tf.reshape(tf.bitcast(numbers, tf.uint8), [-1, numbers.shape[1] * _BYTES_PER_NUMBER])[:, :width]
        kept = drawn >= tf.constant(self._dropped, tf.uint8)
        return tf.where(kept, inputs * (256 / (256 - self._dropped)), 0.0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the inputs' shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}
