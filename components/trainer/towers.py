"""The two towers and the model of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from components.trainer.losses import in_batch_softmax
from schemas import features as f
from schemas.signatures import COSINE, MOVIE_EMBEDDING, USER_EMBEDDING

PACKAGE = "matinee"


class Tower(keras.Model):
    """A multilayer perceptron over the features of one side, ending on the unit sphere.

    Input: a dict of the side's features after Transform, each `[batch, n]` float32.
    Output: `[batch, embedding_dim]` float32, L2-normalised.
    """

    FEATURES: tuple[str, ...] = ()

    def __init__(
        self,
        hidden_units: Sequence[int] = (256, 128),
        embedding_dim: int = 32,
        dropout: float = 0.0,
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Create the layers.

        Args:
          hidden_units: Width of each hidden layer.
          embedding_dim: Length of the embedding.
          dropout: Share of the hidden activations that training drops, in [0, 1).
          l2: Factor of the squared kernel weights in the loss.
          **kwargs: Passed to `keras.Model`.

        Raises:
          ValueError: A width is below 1, or dropout is not in [0, 1).
        """
        super().__init__(**kwargs)
        if min((*hidden_units, embedding_dim)) < 1:
            raise ValueError(f"widths must be 1 or more, got {tuple(hidden_units)} and {embedding_dim}")
        self.hidden_units, self.embedding_dim = tuple(hidden_units), embedding_dim
        self.dropout_rate, self.l2 = dropout, l2
        self.concatenate = keras.layers.Concatenate(name="features")
        self.stack = []
        for i, units in enumerate(self.hidden_units):
            self.stack.append(keras.layers.Dense(units, "relu", kernel_regularizer=self._l2(), name=f"hidden_{i}"))
            if dropout:
                self.stack.append(keras.layers.Dropout(dropout, name=f"dropout_{i}"))
        self.stack.append(keras.layers.Dense(embedding_dim, kernel_regularizer=self._l2(), name="embedding"))
        self.normalize = keras.layers.UnitNormalization(name="unit")

    def _l2(self) -> keras.Regularizer | None:
        return keras.regularizers.L2(self.l2) if self.l2 else None

    def call(self, inputs: dict[str, keras.KerasTensor], training: bool | None = None) -> keras.KerasTensor:
        """Embed a batch."""
        x = self.concatenate([inputs[name] for name in self.FEATURES])
        for layer in self.stack:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return self.normalize(x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout_rate,
            "l2": self.l2,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class UserTower(Tower):
    """The tower of the user: his ratings and their number per genre, and what Transform derives from them."""

    FEATURES = f.USER_INPUTS


@keras.saving.register_keras_serializable(PACKAGE)
class MovieTower(Tower):
    """The tower of the movie: genres, number of ratings, average rating, year."""

    FEATURES = f.MOVIE_INPUTS


@keras.saving.register_keras_serializable(PACKAGE)
class TwoTower(keras.Model):
    """Both towers; their dot product, the cosine, is the affinity in [-1, 1].

    Loss: mean squared error of the cosine against the scaled rating, plus `retrieval_weight` times the in-batch
    softmax, in which a row counts by `((label + 1) / 2) ** liking_power`.
    """

    def __init__(
        self,
        user_tower: UserTower,
        movie_tower: MovieTower,
        retrieval_weight: float = 0.0,
        temperature: float = 0.05,
        liking_power: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Create the model.

        Args:
          user_tower: Tower of the user.
          movie_tower: Tower of the movie, of the same `embedding_dim`.
          retrieval_weight: Factor of the in-batch softmax, >= 0; 0 gives the plain mean-squared-error model.
          temperature: Divides the cosines in the softmax, > 0.
          liking_power: How sharply the softmax prefers rows that the user liked, >= 0; 0 counts all alike.
          **kwargs: Passed to `keras.Model`.

        Raises:
          ValueError: The towers' lengths differ, or a number is out of its range.
        """
        super().__init__(**kwargs)
        if user_tower.embedding_dim != movie_tower.embedding_dim:
            raise ValueError(f"embedding_dim differs: {user_tower.embedding_dim} and {movie_tower.embedding_dim}")
        if retrieval_weight < 0 or temperature <= 0 or liking_power < 0:
            raise ValueError(
                f"expected retrieval_weight >= 0, temperature > 0 and liking_power >= 0, got {retrieval_weight}, "
                f"{temperature} and {liking_power}"
            )
        self.user_tower, self.movie_tower = user_tower, movie_tower
        self.retrieval_weight, self.temperature, self.liking_power = retrieval_weight, temperature, liking_power
        self.dot = keras.layers.Dot(axes=1, name=COSINE)

    def call(self, inputs: dict[str, keras.KerasTensor], training: bool | None = None) -> dict:
        """Embed both sides and compare them.

        Args:
          inputs: Features of both towers after Transform, each `[batch, n]` float32.
          training: Whether dropout is on.

        Returns:
          `cosine` `[batch, 1]`, `user_embedding` and `movie_embedding` `[batch, dim]`, float32.
        """
        user = self.user_tower(inputs, training=training)
        movie = self.movie_tower(inputs, training=training)
        return {COSINE: self.dot([user, movie]), USER_EMBEDDING: user, MOVIE_EMBEDDING: movie}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Compute the mixed loss of a batch; see the class."""
        del sample_weight, training
        loss = ops.mean(ops.square(y_pred[COSINE] - y))
        if self.retrieval_weight:
            liking = ops.power((ops.reshape(y, [-1]) + 1) / 2, self.liking_power)
            loss += self.retrieval_weight * in_batch_softmax(
                y_pred[USER_EMBEDDING],
                y_pred[MOVIE_EMBEDDING],
                ops.reshape(x[f.MOVIE_ID], [-1]),
                ops.reshape(x[f.MOVIE_LOG_COUNT], [-1]),
                liking,
                self.temperature,
            )
        for penalty in self.losses:
            loss += penalty
        # Keras sums the replicas' losses; the mean over the global batch is what a single replica computes.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update the compiled metrics, which look at the cosine alone."""
        return super().compute_metrics(x, y, y_pred[COSINE], sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "user_tower": keras.saving.serialize_keras_object(self.user_tower),
            "movie_tower": keras.saving.serialize_keras_object(self.movie_tower),
            "retrieval_weight": self.retrieval_weight,
            "temperature": self.temperature,
            "liking_power": self.liking_power,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> TwoTower:
        """Build the model from `get_config`."""
        config = dict(config)
        for key in ("user_tower", "movie_tower"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects)
        return cls(**config)
