"""The model of both towers, and its loss."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from components.trainer.co_ratings import CoRatings
from components.trainer.config import TrainerConfig
from components.trainer.configured import PACKAGE, Configured
from components.trainer.losses import Candidates, Negatives, sampled_softmax
from components.trainer.towers import OWN, ROW_SHARE, MovieTower, UserTower
from schemas import features as f
from schemas import signatures as s
from schemas.domain import Domain

_Tensors = dict[str, keras.KerasTensor]


@keras.saving.register_keras_serializable(PACKAGE)
class TwoTower(Configured):
    """Both towers. The cosine of the embeddings ranks movies, the cosine of the rating vectors is the rating.

    Loss: mean squared error of the rating vectors' cosine against the scaled rating, plus `retrieval_weight` times the
    sampled softmax over the learned embeddings. That looks at what users liked: of the other rows a share
    `unliked_share` is in it, drawn anew at every step; the embeddings of those that are not in it are not computed.
    """

    def __init__(self, config: TrainerConfig, vocabulary_size: int, domain: Domain, **kwargs: Any) -> None:
        """Create both towers.

        Args:
          config: The towers' and the loss' settings; `retrieval_weight` 0 gives the plain mean-squared-error model.
          vocabulary_size: Number of movies with an id embedding of their own.
          domain: What the data set is about.
          **kwargs: Passed to `keras.Model`.
        """
        super().__init__(config, vocabulary_size, domain, **kwargs)
        self.user_tower = UserTower(config, vocabulary_size, domain, name="user_tower")
        self.movie_tower = MovieTower(config, vocabulary_size, domain, name="movie_tower")
        self.seed = keras.random.SeedGenerator()
        self.negatives: Negatives | None = None
        """What the softmax compares with, needed for its loss; no part of the model that is saved."""
        self.static_shapes = False
        """Whether the softmax computes with as many rows at every step, some of them for nothing: XLA needs that."""

    def learn_movies(
        self,
        genres: np.ndarray,
        averages: np.ndarray,
        likes: np.ndarray,
        co_ratings: CoRatings | None,
        residuals: np.ndarray | None,
    ) -> None:
        """Take over what is known of the movies and not trained.

        Args:
          genres: `[vocabulary + 1, genres]` indicators of the movies in the order of the vocabulary.
          averages: `[vocabulary + 1]` their average ratings, in stars.
          likes: `[vocabulary + 1]` how many users liked them.
          co_ratings: Their factors; None where nothing is ranked for.
          residuals: `[vocabulary + 1, n]` factors of what averages and biases leave of the ratings; None likewise.
        """
        self.user_tower.genres.assign(genres)
        for tower in (self.user_tower, self.movie_tower):
            tower.averages.assign(averages)
            tower.genre_shares.assign(likes @ genres / max(likes.sum(), 1))
        if co_ratings is None:
            return
        logarithms = np.log1p(likes)
        self.movie_tower.popularity.assign(logarithms / max(float(logarithms.max()), 1.0))
        longest = max(float(np.linalg.norm(co_ratings.liked, axis=1).max()), 1e-6)
        for tower, factors in ((self.user_tower, co_ratings.liking), (self.movie_tower, co_ratings.liked)):
            tower.factors.assign(factors)
            tower.longest.assign(longest)
            tower.residuals.assign(residuals)

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
            return {s.SCALED_RATING: _cosine(*vectors) * f.RATING_REACH}
        outputs = self.user_tower(inputs, training=training) | self.movie_tower(inputs, training=training)
        return outputs | self.compared(outputs)

    def compared(self, vectors: _Tensors) -> _Tensors:
        """Compare both towers' vectors: `cosine` and `scaled_rating`, `[batch, 1]`."""
        return {
            s.COSINE: _cosine(vectors[s.USER_EMBEDDING], vectors[s.MOVIE_EMBEDDING]),
            s.SCALED_RATING: _cosine(vectors[s.USER_RATING_VECTOR], vectors[s.MOVIE_RATING_VECTOR]) * f.RATING_REACH,
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
        chosen, weight = self._softmax_rows(y[:, 0] >= f.to_label(self.domain.scale.liked_stars))
        rows = {name: tf.gather(values, chosen) for name, values in x.items()}
        drawn = negatives.draw(self.seed)
        # One pass through the tower for both.
        movies = {name: tf.concat([values, rows[name]], axis=0) for name, values in drawn.items()}
        own, moved = rows.get(OWN), None
        if own is not None:  # Nothing is to be taken out of what is drawn: it is no movie of the row's.
            moved = tf.pad(rows[ROW_SHARE] * own, [[negatives.number, 0], [0, 0]])
        embedding = self.movie_tower.learned(movies, training, moved)

        def candidates(part: slice, count: tf.Tensor) -> Candidates:
            return Candidates(embedding[part], movies[f.MOVIE_ID][part, 0], negatives.log_q(count))

        # A row's own rating is not in its movie's count, in that of the catalogue it is.
        positives = candidates(slice(negatives.number, None), tf.exp(rows[f.MOVIE_LOG_COUNT][:, 0]))
        others = candidates(slice(None, negatives.number), tf.math.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0]))
        user = self.user_tower.learned(rows, training, own)
        return sampled_softmax(user, positives, others, self.config.temperature, weight)

    def _softmax_rows(self, liked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Choose the rows of a batch that the softmax looks at.

        Args:
          liked: `[batch]` bool.

        Returns:
          Numbers of rows, `[rows]` int32, and what each counts, 0 or 1, `[rows]` float32; None: 1 each.
        """
        share, most = self.config.unliked_share, self.config.softmax_rows
        chosen = liked
        if share:
            chosen = liked | (keras.random.uniform(tf.shape(liked), seed=self.seed) < share)
        if not self.static_shapes:
            return tf.where(chosen)[:most, 0], None
        # Equal values stay in their order.
        weight, rows = tf.math.top_k(tf.cast(chosen, tf.float32), min(most, liked.shape[0]))
        return rows, weight

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """Update the compiled metrics, which look at the predicted rating alone."""
        return super().compute_metrics(x, y, y_pred[s.SCALED_RATING], sample_weight)


def _cosine(user: keras.KerasTensor, movie: keras.KerasTensor) -> keras.KerasTensor:
    return ops.sum(user * movie, axis=1, keepdims=True)
