"""Adam, a variable in one operation."""

from __future__ import annotations

import keras
import tensorflow as tf

from components.trainer.configured import PACKAGE


@keras.saving.register_keras_serializable(PACKAGE)
class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam by TensorFlow's own kernel, which goes over a variable once; Keras' operations do a dozen times.

    The numbers are the same, but where a gradient names a row several times, as that of the movies' ids does: Keras
    adds the squares of each, so that the second moment of a movie that many rows look at is too small, and its steps
    are too long.
    """

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update a variable, and the moments of its gradient.

        Args:
          gradient: Of the variable, dense or by rows, which may come several times.
          variable: What is trained.
          learning_rate: Of this step.
        """
        place = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )
