"""The two towers and the model of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from components.trainer import tastes
from components.trainer.co_ratings import CoRatings
from components.trainer.config import TrainerConfig
from components.trainer.losses import Candidates, Negatives, sampled_softmax
from schemas import features as f
from schemas import signatures as s
from schemas.configuration import from_json, to_json

PACKAGE = "matinee"
RATING = "rating_perceptron"
"""Name of a tower's rating perceptron, in the paths of its weights and of no others'."""
_CONFIG = "trainer_config"
_FIRST_RATINGS = 0.3
"""Variance of the rating perceptrons' last layer at first."""
_STARS_LENGTH = math.sqrt(f.RATING_HALF_RANGE)
"""The product of what both perceptrons answer is in stars."""
_AVERAGES_SCALE = 4.0
"""Movies' averages are a quarter of the labels' unit apart, and perceptrons want numbers of about one."""
_BIAS_LENGTH = 0.7
"""Splits the product of a user's bias and one between the two sides, so that neither vector gets too long."""
_PARTS = 4
"""What movies are ranked by: learned embedding, co-ratings, genres, popularity; a movie's are at most of length 1."""

HISTORY_SHARES = "history_shares"
"""Input of the user tower while training, `[batch, n]`: how far each movie's factors are to be moved along `OWN`."""
ROW_SHARE = "row_share"
"""The same of the row's movie, `[batch, 1]`."""
OWN = "own"
"""`[batch, co_rating_dim]`: what the user's own likes add to the factors; see `co_ratings.CoRatings`."""

_Tensors = dict[str, keras.KerasTensor]


class _Configured(keras.Model):
    """What is made of a configuration and the size of the vocabulary, and round-trips through both."""

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.vocabulary_size = config, vocabulary_size

    def build(self, input_shape: Any = None) -> None:
        """Build nothing: all layers have been built with the model."""
        del input_shape
        self.built = True

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

    One reads the side's statistics and gives the rating vector. The other one reads an embedding of movie ids and the
    factors of co-ratings as well and gives the learned embedding. They share nothing: what ids teach about rankings
    spoils the ratings (docs/quality.md). Without a `retrieval_weight` there is the first one alone, and its vector is
    the embedding too.

    What movies are ranked by joins four parts to one unit vector, so that serving remains a single inner product: the
    learned embedding, the factors of co-ratings, the genres that a user likes or dislikes throughout, and popularity.

    Input: a dict of the side's features after Transform, each `[batch, n]`.
    Output: a dict of the embedding, `[batch, joined_dim]`, and the rating vector, `[batch, embedding_dim]`, float32,
    L2-normalised.
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
        # Small at first: the rating starts from the movie's average and the user's bias.
        self.rating_stack = self._stack(RATING, self._rating_width, keras.initializers.VarianceScaling(_FIRST_RATINGS))
        # What is not trained, `TwoTower.learn_movies` fills.
        self.averages = self.add_weight((vocabulary_size + 1,), "zeros", trainable=False)
        if self.retrieval:
            self.embedding_stack = self._stack("embedding", self._embedding_width, "glorot_uniform")
            if config.id_dim:
                self.ids = keras.layers.Embedding(vocabulary_size + 1, config.id_dim, name="ids")
                self.ids.build()
            self.factors = self.add_weight((vocabulary_size + 1, config.co_rating_dim), "zeros", trainable=False)
            self.longest = self.add_weight((), "ones", trainable=False)

    @property
    def _rating_width(self) -> int:
        """Numbers that the rating perceptron reads."""
        raise NotImplementedError

    @property
    def _embedding_width(self) -> int:
        """Numbers that the other one reads."""
        raise NotImplementedError

    def _stack(self, name: str, width: int, last: keras.initializers.Initializer | str) -> keras.Sequential:
        config = self.config
        penalty = keras.regularizers.L2(config.l2) if config.l2 else None
        layers = []
        for units in config.hidden_units:
            layers.append(keras.layers.Dense(units, "relu", kernel_regularizer=penalty))
            if config.dropout:
                layers.append(keras.layers.Dropout(config.dropout))
        layers.append(keras.layers.Dense(config.embedding_dim, None, True, last, kernel_regularizer=penalty))
        stack = keras.Sequential(layers, name=name)
        stack.build((None, width))  # At once: a saved model's weights are read before it is called.
        return stack

    def call(self, inputs: _Tensors, training: bool | None = None) -> _Tensors:
        """Give both vectors of a batch."""
        rating_vector = self.rating_vector(inputs, training)
        embedding = self.embedding(inputs, training) if self.retrieval else rating_vector
        return {self.EMBEDDING: embedding, self.RATING_VECTOR: rating_vector}

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim + 4]`."""
        raise NotImplementedError

    def learned(
        self, inputs: _Tensors, training: bool | None = None, own: keras.KerasTensor | None = None
    ) -> keras.KerasTensor:
        """Give the learned embedding alone, which the softmax is over, `[batch, embedding_dim]`.

        Args:
          inputs: The side's features.
          training: Whether dropout is on.
          own: What the factors owe to the row's user, to take out of them; see `_of_movies`.
        """
        parts = [self._statistics(inputs), *self._of_movies(inputs, training, own)]
        return ops.normalize(self.embedding_stack(ops.concatenate(parts, axis=1), training=training), axis=1)

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give what movies are ranked by, `[batch, joined_dim]`."""
        raise NotImplementedError

    def _statistics(self, inputs: _Tensors, without: str = "") -> keras.KerasTensor:
        return ops.concatenate([inputs[name] for name in self.FEATURES if name != without], axis=1)

    def _of_movies(
        self, inputs: _Tensors, training: bool | None, own: keras.KerasTensor | None
    ) -> list[keras.KerasTensor]:
        """Return what movie ids and factors of co-ratings say, `[batch, n]` each."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(PACKAGE)
class UserTower(Tower):
    """The tower of the user: their ratings per genre, the time, and the movies that they rated last.

    The latest movies enter as means of their ids' embeddings and of their factors: of those that were liked, once more
    with more weight on the latest, of those that were disliked, and of all by their scaled ratings.
    """

    FEATURES = f.USER_INPUTS
    EMBEDDING, RATING_VECTOR = s.USER_EMBEDDING, s.USER_RATING_VECTOR

    def __init__(self, config: TrainerConfig, vocabulary_size: int, **kwargs: Any) -> None:
        """Create the layers; see `Tower`."""
        super().__init__(config, vocabulary_size, **kwargs)
        self.genres = self.add_weight((vocabulary_size + 1, f.NUM_GENRES), "zeros", trainable=False)
        self.genre_shares = self.add_weight((f.NUM_GENRES,), "zeros", trainable=False)

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim + 4]`.

        Its product with a movie's is the movie's average, to which the movie's perceptron adds, the user's bias, and
        what both perceptrons make of this user and this movie: the more, the more ratings are known of the user.
        """
        tokens, stars = _places(inputs[f.USER_HISTORY_TOKENS]), inputs[f.USER_HISTORY_RATINGS]
        averages, genres = ops.take(self.averages, tokens, axis=0), ops.take(self.genres, tokens, axis=0)
        bias = tastes.bias(stars, averages, genres)  # The average of a movie that the vocabulary lacks is the mean.
        parts = [self._statistics(inputs, f.USER_TIME), bias.of_user, bias.log_number, bias.spread, bias.of_genres]
        found = self.rating_stack(ops.concatenate(parts, axis=1), training=training) * tastes.confidence(stars)
        found = found / _STARS_LENGTH
        scaled = bias.of_user / (f.RATING_HALF_RANGE * _BIAS_LENGTH)
        return _unit(ops.concatenate([ops.ones_like(scaled), scaled, found], axis=1), (0, 1))

    @property
    def _rating_width(self) -> int:
        return _width(self.FEATURES) - f.TIME_POINTS + 3 + f.NUM_GENRES

    @property
    def _embedding_width(self) -> int:
        return _width(self.FEATURES) + tastes.NUMBERS + tastes.POOLS * (self.config.co_rating_dim + self.config.id_dim)

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give what movies are ranked by, `[batch, joined_dim]`."""
        config, tokens, stars = self.config, _places(inputs[f.USER_HISTORY_TOKENS]), inputs[f.USER_HISTORY_RATINGS]
        stars = ops.where(tokens > 0, stars, 0.0)
        taste = tastes.weighted_sum(ops.take(self.factors, tokens, axis=0), stars)
        genres = tastes.genre_affinity(ops.take(self.genres, tokens, axis=0), stars, self.genre_shares)
        parts = [
            self.learned(inputs, training) / config.temperature,
            taste * (config.co_rating_weight * self.longest),
            genres * (config.genre_weight * math.sqrt(f.NUM_GENRES)),
            tastes.acquaintance(stars) * config.popularity_weight,
        ]
        # What fills the movies up to the same length must not count.
        return ops.normalize(ops.pad(ops.concatenate(parts, axis=1), ((0, 0), (0, 1))), axis=1)

    def _of_movies(
        self, inputs: _Tensors, training: bool | None, own: keras.KerasTensor | None
    ) -> list[keras.KerasTensor]:
        length = f.HISTORY_LENGTH + 1
        tokens, stars = _places(inputs[f.USER_HISTORY_TOKENS][:, :length]), inputs[f.USER_HISTORY_RATINGS][:, :length]
        weights, numbers = tastes.pools(stars)
        # One product of matrices for all means: an einsum each takes more than twice as long.
        factors = ops.matmul(weights, ops.take(self.factors, tokens, axis=0))
        if own is not None:
            shares = inputs[HISTORY_SHARES]
            factors = factors - ops.matmul(weights, shares[:, :, None]) * own[:, None]
        found = [ops.log1p(numbers), _flat(factors) * math.sqrt(self.config.co_rating_dim)]
        if self.config.id_dim:
            found.append(_flat(ops.matmul(weights, self.ids(tokens))))
        return found


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
        if self.retrieval:
            self.popularity = self.add_weight((vocabulary_size + 1,), "zeros", trainable=False)

    @property
    def _rating_width(self) -> int:
        return _width(self.FEATURES)

    @property
    def _embedding_width(self) -> int:
        return _width(self.FEATURES) + self.config.co_rating_dim + self.config.id_dim

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim + 4]`; see `UserTower.rating_vector`."""
        average = inputs[f.MOVIE_SCALED_AVERAGE]
        if not training:  # The rows' own ratings are in the table. It knows more than the catalogue after a refit.
            token = _places(inputs[f.MOVIE_TOKEN])
            average = ops.where(token > 0, f.to_label(ops.take(self.averages, token, axis=0)), average)
        read = [self._statistics(inputs, f.MOVIE_AVERAGE_RATING), average * _AVERAGES_SCALE]
        found = self.rating_stack(ops.concatenate(read, axis=1), training=training) / _STARS_LENGTH
        quality = average + found[:, :1]
        parts = [quality, ops.full_like(quality, _BIAS_LENGTH), found]
        return _unit(ops.concatenate(parts, axis=1), (1, 0))

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give what movies are ranked by, `[batch, joined_dim]`."""
        places = _places(inputs[f.MOVIE_TOKEN][:, 0])
        parts = [
            self.learned(inputs, training),
            ops.take(self.factors, places, axis=0) / self.longest,
            inputs[f.MOVIE_GENRES] / math.sqrt(f.NUM_GENRES),
            ops.take(self.popularity, places, axis=0)[:, None],
        ]
        joined = ops.concatenate(parts, axis=1)
        length = ops.sum(ops.square(joined), axis=1, keepdims=True)
        filled = ops.concatenate([joined, ops.sqrt(ops.maximum(_PARTS - length, 0.0))], axis=1)
        return ops.normalize(filled, axis=1)

    def _of_movies(
        self, inputs: _Tensors, training: bool | None, own: keras.KerasTensor | None
    ) -> list[keras.KerasTensor]:
        index = _places(inputs[f.MOVIE_TOKEN][:, 0])
        factors = ops.take(self.factors, index, axis=0)
        if own is not None:
            factors = factors - own
        found = [factors * math.sqrt(self.config.co_rating_dim)]
        if self.config.id_dim:
            if training and self.config.id_dropout:
                kept = keras.random.uniform(ops.shape(index), seed=self.seed) >= self.config.id_dropout
                index = index * ops.cast(kept, index.dtype)
            found.append(self.ids(index))
        return found


@keras.saving.register_keras_serializable(PACKAGE)
class TwoTower(_Configured):
    """Both towers. The cosine of the embeddings ranks movies, the cosine of the rating vectors is the rating.

    Loss: mean squared error of the rating vectors' cosine against the scaled rating, plus `retrieval_weight` times the
    sampled softmax over the learned embeddings. That looks at what users liked: of the other rows a share
    `unliked_share` is in it, drawn anew at every step; the embeddings of those that are not in it are not computed.
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

    def learn_movies(
        self, genres: np.ndarray, averages: np.ndarray, likes: np.ndarray, co_ratings: CoRatings | None
    ) -> None:
        """Take over what is known of the movies and not trained.

        Args:
          genres: `[vocabulary + 1, genres]` indicators of the movies in the order of the vocabulary.
          averages: `[vocabulary + 1]` their average ratings, in stars.
          likes: `[vocabulary + 1]` how many users liked them.
          co_ratings: Their factors; None where nothing is ranked for.
        """
        self.user_tower.genres.assign(genres)
        for tower in (self.user_tower, self.movie_tower):
            tower.averages.assign(averages)
        self.user_tower.genre_shares.assign(likes @ genres / max(likes.sum(), 1))
        if co_ratings is None:
            return
        logarithms = np.log1p(likes)
        self.movie_tower.popularity.assign(logarithms / max(float(logarithms.max()), 1.0))
        longest = max(float(np.linalg.norm(co_ratings.liked, axis=1).max()), 1e-6)
        for tower, factors in ((self.user_tower, co_ratings.liking), (self.movie_tower, co_ratings.liked)):
            tower.factors.assign(factors)
            tower.longest.assign(longest)

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
        return outputs | {
            s.COSINE: _cosine(outputs[s.USER_EMBEDDING], outputs[s.MOVIE_EMBEDDING]),
            s.SCALED_RATING: _cosine(outputs[s.USER_RATING_VECTOR], outputs[s.MOVIE_RATING_VECTOR]) * f.RATING_REACH,
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
        liked = y[:, 0] >= f.to_label(f.LIKED_RATING)
        probability = tf.where(liked, 1.0, self.config.unliked_share)
        chosen = tf.where(tf.random.uniform(tf.shape(probability)) < probability)[: self.config.softmax_rows, 0]
        rows = {name: tf.gather(values, chosen) for name, values in x.items()}
        drawn = negatives.draw()
        # One pass through the tower for both.
        movies = {name: tf.concat([rows[name], values], axis=0) for name, values in drawn.items()}
        number = tf.size(chosen)
        own, moved = rows.get(OWN), None
        if own is not None:  # Nothing is to be taken out of what is drawn: it is no movie of the row's.
            moved = tf.pad(rows[ROW_SHARE] * own, [[0, tf.shape(drawn[f.MOVIE_ID])[0]], [0, 0]])
        embedding = self.movie_tower.learned(movies, training, moved)

        def candidates(part: slice, count: tf.Tensor) -> Candidates:
            return Candidates(embedding[part], movies[f.MOVIE_ID][part, 0], negatives.log_q(count))

        # A row's own rating is not in its movie's count, in that of the catalogue it is.
        positives = candidates(slice(None, number), tf.exp(rows[f.MOVIE_LOG_COUNT][:, 0]))
        others = candidates(slice(number, None), tf.math.expm1(drawn[f.MOVIE_LOG_COUNT][:, 0]))
        user = self.user_tower.learned(rows, training, own)
        return sampled_softmax(user, positives, others, self.config.temperature)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, tf.Tensor]:
        """Update the compiled metrics, which look at the predicted rating alone."""
        return super().compute_metrics(x, y, y_pred[s.SCALED_RATING], sample_weight)


def _unit(values: keras.KerasTensor, end: tuple[int, int]) -> keras.KerasTensor:
    """Fill vectors up to the length of 1, in places of which the other side's are zero; longer ones are shortened.

    Args:
      values: `[batch, n]`, of a length of up to the root of `RATING_REACH`.
      end: (0, 1) for one side, (1, 0) for the other: what is behind the values is the filling, or zero.
    """
    rest = ops.maximum(f.RATING_REACH - ops.sum(ops.square(values), axis=1, keepdims=True), 0.0)
    filling = [ops.sqrt(rest) * side for side in end]
    return ops.normalize(ops.concatenate([values, *filling], axis=1), axis=1)


def _places(tokens: keras.KerasTensor) -> keras.KerasTensor:
    """Return tokens as what can be gathered by: of several replicas' inputs Keras first makes up floats."""
    return ops.cast(tokens, "int32")


def _width(names: Sequence[str]) -> int:
    return sum(feature.length for feature in f.FEATURES if feature.name in names)


def _flat(pooled: keras.KerasTensor) -> keras.KerasTensor:
    return ops.reshape(pooled, (-1, pooled.shape[1] * pooled.shape[2]))


def _cosine(user: keras.KerasTensor, movie: keras.KerasTensor) -> keras.KerasTensor:
    return ops.sum(user * movie, axis=1, keepdims=True)
