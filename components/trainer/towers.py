"""The two towers and the model of both."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from components.trainer.config import TrainerConfig
from components.trainer.losses import Candidates, Negatives, sampled_softmax
from schemas import features as f
from schemas import signatures as s
from schemas.configuration import from_json, to_json

PACKAGE = "matinee"
_CONFIG = "trainer_config"

_Tensors = dict[str, keras.KerasTensor]


class _Configured(keras.Model):
    """What is made of a configuration and the size of the vocabulary, and round-trips through both."""

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.vocabulary_size = config, vocabulary_size

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), _CONFIG: to_json(self.config), "vocabulary_size": self.vocabulary_size}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> _Configured:
        """Build the model from `get_config`."""
        del custom_objects
        given = dict(config)
        return cls(from_json(TrainerConfig, given.pop(_CONFIG)), **given)


class Tower(_Configured):
    """One side's two multilayer perceptrons, each ending on the unit sphere.

    One reads the side's statistics and gives the rating vector. The other one reads an embedding of movie ids as well
    and gives the embedding. They share nothing: what ids teach about rankings spoils the ratings (docs/quality.md).
    Without a `retrieval_weight` there is the first one alone, and its vector is the embedding too.

    Input: a dict of the side's features after Transform, each `[batch, n]`.
    Output: a dict of the embedding and the rating vector, `[batch, embedding_dim]` float32 each, L2-normalised.
    """

    FEATURES: tuple[str, ...] = ()
    EMBEDDING = ""
    RATING_VECTOR = ""

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        """Create the layers.

        Args:
          config: Of which the tower's widths and regularisation count here.
          vocabulary_size: Number of movies with an id embedding of their own, 0 or more; all others share one.
          **kwargs: Passed to `keras.Model`.
        """
        super().__init__(config, vocabulary_size, **kwargs)
        self.retrieval = bool(config.retrieval_weight)
        self.rating_stack = self._stack("rating")
        if self.retrieval:
            self.embedding_stack = self._stack("embedding")
            if config.id_dim:
                self.ids = keras.layers.Embedding(vocabulary_size + 1, config.id_dim, name="ids")

    def _stack(self, name: str) -> keras.Sequential:
        config = self.config
        penalty = keras.regularizers.L2(config.l2) if config.l2 else None
        layers = []
        for units in config.hidden_units:
            layers.append(keras.layers.Dense(units, "relu", kernel_regularizer=penalty))
            if config.dropout:
                layers.append(keras.layers.Dropout(config.dropout))
        layers.append(keras.layers.Dense(config.embedding_dim, kernel_regularizer=penalty))
        return keras.Sequential([*layers, keras.layers.UnitNormalization()], name=name)

    def call(self, inputs: _Tensors, training: bool | None = None) -> _Tensors:
        """Give both vectors of a batch."""
        rating_vector = self.rating_vector(inputs, training)
        embedding = self.embedding(inputs, training) if self.retrieval else rating_vector
        return {self.EMBEDDING: embedding, self.RATING_VECTOR: rating_vector}

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim]`."""
        return self.rating_stack(self._statistics(inputs), training=training)

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the embedding alone, `[batch, embedding_dim]`."""
        of_ids = self._of_ids(inputs, training) if self.config.id_dim else []
        return self.embedding_stack(ops.concatenate([self._statistics(inputs), *of_ids], axis=1), training=training)

    def _statistics(self, inputs: _Tensors) -> keras.KerasTensor:
        return ops.concatenate([inputs[name] for name in self.FEATURES], axis=1)

    def _of_ids(self, inputs: _Tensors, training: bool | None) -> list[keras.KerasTensor]:
        """Return what the movie ids say, `[batch, n]` each."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(PACKAGE)
class UserTower(Tower):
    """The tower of the user: their ratings per genre, the time, and the movies that they rated last.

    The movies enter as the mean of their ids' embeddings, and as the mean weighted by the scaled ratings: what the user
    watches, and what they like of it.
    """

    FEATURES = f.USER_INPUTS
    EMBEDDING, RATING_VECTOR = s.USER_EMBEDDING, s.USER_RATING_VECTOR

    def _of_ids(self, inputs: _Tensors, training: bool | None) -> list[keras.KerasTensor]:
        movies, stars = self.ids(inputs[f.USER_HISTORY_TOKENS]), inputs[f.USER_HISTORY_RATINGS]
        rated = ops.cast(stars > 0, "float32")
        number = ops.sum(rated, axis=1, keepdims=True)
        share = rated / ops.maximum(number, 1.0)
        # One product of matrices for both means: two einsums over the same movies take more than twice as long.
        means = ops.matmul(ops.stack([share, share * f.to_label(stars)], axis=1), movies)
        return [means[:, 0], means[:, 1], ops.log1p(number)]


@keras.saving.register_keras_serializable(PACKAGE)
class MovieTower(Tower):
    """The tower of the movie: genres, number of ratings, average rating, year, and its id.

    Training replaces a share `id_dropout` of the ids by that of the unknown movie, so that its embedding is learned
    and a movie without ratings is placed by its content.
    """

    FEATURES = f.MOVIE_INPUTS
    EMBEDDING, RATING_VECTOR = s.MOVIE_EMBEDDING, s.MOVIE_RATING_VECTOR

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        """Create the layers; see `Tower`."""
        super().__init__(config, vocabulary_size, **kwargs)
        self.seed = keras.random.SeedGenerator()

    def _of_ids(self, inputs: _Tensors, training: bool | None) -> list[keras.KerasTensor]:
        index = inputs[f.MOVIE_TOKEN][:, 0]
        if training and self.config.id_dropout:
            kept = keras.random.uniform(ops.shape(index), seed=self.seed) >= self.config.id_dropout
            index = index * ops.cast(kept, index.dtype)
        return [self.ids(index)]


@keras.saving.register_keras_serializable(PACKAGE)
class TwoTower(_Configured):
    """Both towers. The cosine of the embeddings ranks movies, the cosine of the rating vectors is the rating.

    Loss: mean squared error of the rating vectors' cosine against the scaled rating, plus `retrieval_weight` times the
    sampled softmax over the embeddings. That looks at what users chose and liked: a row is in it with the probability
    `((label + 1) / 2) ** liking_power`, drawn anew at every step, and the others' embeddings are not computed.
    """

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        """Create both towers.

        Args:
          config: The towers' and the loss' settings; `retrieval_weight` 0 gives the plain mean-squared-error model.
          vocabulary_size: Number of movies with an id embedding of their own.
          **kwargs: Passed to `keras.Model`.
        """
        super().__init__(config, vocabulary_size, **kwargs)
        self.user_tower = UserTower(config, vocabulary_size, name="user_tower")
        self.movie_tower = MovieTower(config, vocabulary_size, name="movie_tower")
        self.negatives: Negatives | None = None
        """What the softmax compares with, needed for its loss; no part of the model that is saved."""

    def call(self, inputs: _Tensors, training: bool | None = None) -> _Tensors:
        """Embed both sides and compare them.

        Args:
          inputs: Features of both towers after Transform, each `[batch, n]`.
          training: Whether dropout is on.

        Returns:
          `cosine` and `scaled_rating` `[batch, 1]`; embeddings and rating vectors `[batch, dim]`; float32. In training
          `scaled_rating` alone, if there is a softmax.
        """
        if training and self.config.retrieval_weight:  # The loss embeds those rows that it looks at.
            vectors = [tower.rating_vector(inputs, training) for tower in (self.user_tower, self.movie_tower)]
            return {s.SCALED_RATING: _cosine(*vectors)}
        outputs = self.user_tower(inputs, training=training) | self.movie_tower(inputs, training=training)
        return outputs | {
            s.COSINE: _cosine(outputs[s.USER_EMBEDDING], outputs[s.MOVIE_EMBEDDING]),
            s.SCALED_RATING: _cosine(outputs[s.USER_RATING_VECTOR], outputs[s.MOVIE_RATING_VECTOR]),
        }

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """Compute the mixed loss of a batch; see the class."""
        del sample_weight
        loss = ops.mean(ops.square(y_pred[s.SCALED_RATING] - y))
        if self.config.retrieval_weight:
            loss += self.config.retrieval_weight * self._retrieval_loss(x, y, training)
        for penalty in self.losses:
            loss += penalty
        # Keras sums the replicas' losses; the mean over the global batch is what a single replica computes.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def _retrieval_loss(self, x: _Tensors, y: tf.Tensor, training: bool) -> tf.Tensor:
        negatives = self.negatives
        if negatives is None:
            raise RuntimeError("the softmax needs `negatives`: set them before training")
        probability = ((y[:, 0] + 1) / 2) ** self.config.liking_power
        chosen = tf.where(tf.random.uniform(tf.shape(probability)) < probability)[: self.config.softmax_rows, 0]
        rows = {name: tf.gather(values, chosen) for name, values in x.items()}
        drawn = negatives.draw()
        # One pass through the tower for both.
        movies = {name: tf.concat([rows[name], values], axis=0) for name, values in drawn.items()}
        embedding = self.movie_tower.embedding(movies, training)

        def candidates(part: slice, count: tf.Tensor) -> Candidates:
            return Candidates(embedding[part], movies[f.MOVIE_ID][part, 0], negatives.log_q(count))

        # A row's own rating is not in its movie's count, in that of the catalogue it is.
        number = tf.size(chosen)
        own = candidates(slice(None, number), tf.exp(rows[f.MOVIE_LOG_COUNT][:, 0]))
        others = candidates(slice(number, None), tf.math.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0]))
        return sampled_softmax(self.user_tower.embedding(rows, training), own, others, self.config.temperature)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """Update the compiled metrics, which look at the predicted rating alone."""
        return super().compute_metrics(x, y, y_pred[s.SCALED_RATING], sample_weight)


def _cosine(user: keras.KerasTensor, movie: keras.KerasTensor) -> keras.KerasTensor:
    return ops.sum(user * movie, axis=1, keepdims=True)
