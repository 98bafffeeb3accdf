"""The two towers: what they read, their perceptrons, and the vectors that they give."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from components.trainer import blend, residual_factors
from components.trainer.byte_dropout import ByteDropout
from components.trainer.config import TrainerConfig
from components.trainer.configured import PACKAGE, Configured
from schemas import features as f
from schemas import signatures as s
from schemas.domain import Domain
from schemas.tastes import NUMBERS, POOLS, USER_VARIANCE, Tastes
from schemas.user_vectors import (
    BIAS_LENGTH,
    LEANING_LENGTH,
    STARS_LENGTH,
    joined,
    ranking_parts,
    rating_inputs,
    rating_vector,
    unit,
)

RATING = "rating_perceptron"
"""Name of a tower's rating perceptron, in the paths of its weights and of no others'."""
_FIRST_RATINGS = 0.3
"""Variance of the rating perceptrons' last layer at first."""
_AVERAGES_SCALE = 4.0
"""Movies' averages are a quarter of the labels' unit apart, and perceptrons want numbers of about one."""
_PARTS = 4
"""What movies are ranked by: learned embedding, co-ratings, genres, popularity; a movie's are at most of length 1."""

HISTORY_SHARES = "history_shares"
"""Input of the user tower while training, `[batch, n]`: how far each movie's factors are to be moved along `OWN`."""
ROW_SHARE = "row_share"
"""The same of the row's movie, `[batch, 1]`."""
OWN = "own"
"""`[batch, co_rating_dim]`: what the user's own likes add to the factors; see `co_ratings.CoRatings`."""
LEANING = "leaning"
"""What `UserTower.leaning` returns, where it is there already."""

_Tensors = dict[str, keras.KerasTensor]
_Tables = tuple[keras.KerasTensor, ...]


class Tower(Configured):
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

    def __init__(self, config: TrainerConfig, vocabulary_size: int, domain: Domain, **kwargs: Any) -> None:
        """Create the layers.

        Args:
          config: Of which the tower's widths and regularisation count here.
          vocabulary_size: Number of movies with an id embedding of their own, 0 or more; all others share one.
          domain: What the data set is about.
          **kwargs: Passed to `keras.Model`.
        """
        super().__init__(config, vocabulary_size, domain, **kwargs)
        self.retrieval = bool(config.retrieval_weight)
        # Small at first: the rating starts from the movie's average and the user's bias.
        self.rating_stack = self._stack(RATING, self._rating_width, keras.initializers.VarianceScaling(_FIRST_RATINGS))
        # What is not trained, `TwoTower.learn_movies` fills.
        self.averages = self.add_weight((vocabulary_size + 1,), "zeros", trainable=False)
        self.genre_shares = self.add_weight((domain.num_categories,), "zeros", trainable=False)
        self.tastes = Tastes(ops, domain)
        if self.retrieval:
            self.embedding_stack = self._stack("embedding", self._embedding_width, "glorot_uniform")
            if config.id_dim:
                self.ids = keras.layers.Embedding(vocabulary_size + 1, config.id_dim, name="ids")
                self.ids.build()
            self.factors = self.add_weight((vocabulary_size + 1, config.co_rating_dim), "zeros", trainable=False)
            self.residuals = self.add_weight((vocabulary_size + 1, residual_factors.DIM), "zeros", trainable=False)
            self.longest = self.add_weight((), "ones", trainable=False)

    @property
    def _rating_width(self) -> int:
        """Numbers that the rating perceptron reads."""
        raise NotImplementedError

    @property
    def _embedding_width(self) -> int:
        """Numbers that the other one reads."""
        raise NotImplementedError

    @property
    def _width(self) -> int:
        return sum(f.lengths(self.FEATURES, self.domain.num_categories).values())

    def _stack(self, name: str, width: int, last: keras.initializers.Initializer | str) -> keras.Sequential:
        config = self.config
        penalty = keras.regularizers.L2(config.l2) if config.l2 else None
        layers = []
        for units in config.hidden_units:
            layers.append(keras.layers.Dense(units, "relu", kernel_regularizer=penalty))
            if name == RATING:  # Lists are better without it.
                layers.append(ByteDropout(config.dropout))
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

    def __init__(self, config: TrainerConfig, vocabulary_size: int, domain: Domain, **kwargs: Any) -> None:
        """Create the layers; see `Tower`."""
        super().__init__(config, vocabulary_size, domain, **kwargs)
        self.genres = self.add_weight((vocabulary_size + 1, self.domain.num_categories), "zeros", trainable=False)
        self.user_variance = self.add_weight((), keras.initializers.Constant(USER_VARIANCE), trainable=False)
        if self.retrieval:
            self.blend = self.add_weight((len(blend.PARTS),), "zeros", trainable=False)
            self.blend.assign(config.blend)

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim + 4]`; see `schemas.user_vectors.rating_vector`."""
        tokens, stars = _latest(inputs)
        averages, genres = ops.take(self.averages, tokens, axis=0), ops.take(self.genres, tokens, axis=0)
        # The average of a movie that the vocabulary lacks is the mean.
        bias = self.tastes.bias(stars, averages, genres, self.user_variance)
        read = rating_inputs(ops, self._statistics(inputs, f.USER_TIME), bias)
        answer, leaning = self.rating_stack(read, training=training), None
        if self.retrieval and not training:  # It is not trained, and would take as long as all that is.
            leaning = inputs[LEANING] if LEANING in inputs else self.leaning(inputs)
        return rating_vector(ops, answer, self.tastes.acquaintance(stars, training), bias.of_user, leaning)

    def leaning(self, inputs: _Tensors, tables: _Tables | None = None) -> keras.KerasTensor:
        """Say what the latest ratings let expect, `[batch, 1 + genres + factors]`; see `Tastes.leaning`.

        Args:
          inputs: The user's features.
          tables: Copies of `tables`, where the tower's own cannot be read.
        """
        averages, of_movies, shares, factors, residuals, variance = tables or self.tables
        tokens, stars = _latest(inputs)
        genres = self.tastes.genre_direction(ops.take(of_movies, tokens, axis=0), shares)
        of_history = (ops.take(table, tokens, axis=0) for table in (factors, residuals))
        directions = self.tastes.factor_direction(*of_history)
        return self.tastes.leaning(stars, ops.take(averages, tokens, axis=0), genres, directions, variance)

    @property
    def tables(self) -> _Tables:
        """What `leaning` follows from: averages, genres and their shares, both kinds of factors, how users differ."""
        return self.averages, self.genres, self.genre_shares, self.factors, self.residuals, self.user_variance

    @property
    def _rating_width(self) -> int:
        return self._width - f.TIME_POINTS + 3 + self.domain.num_categories

    @property
    def _embedding_width(self) -> int:
        return self._width + NUMBERS + POOLS * (self.config.co_rating_dim + self.config.id_dim)

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give what movies are ranked by, `[batch, joined_dim]`."""
        return joined(ops, self.parts(inputs, training), self.blend)

    def parts(self, inputs: _Tensors, training: bool | None = None) -> list[keras.KerasTensor]:
        """Give what the embedding joins, `[batch, n]` each: the learned part, and `blend.PARTS` unweighted."""
        tokens, stars = _places(inputs[f.USER_HISTORY_TOKENS]), inputs[f.USER_HISTORY_RATINGS]
        stars = ops.where(tokens > 0, stars, 0.0)
        taste = self.tastes.weighted_sum(ops.take(self.factors, tokens, axis=0), stars)
        affinity = self.tastes.genre_affinity(ops.take(self.genres, tokens, axis=0), stars, self.genre_shares)
        learned = self.learned(inputs, training) / self.config.temperature
        return ranking_parts(self.tastes, learned, taste * self.longest, affinity, stars)

    def _of_movies(
        self, inputs: _Tensors, training: bool | None, own: keras.KerasTensor | None
    ) -> list[keras.KerasTensor]:
        tokens, stars = _latest(inputs)
        weights, numbers = self.tastes.pools(stars)
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

    def __init__(self, config: TrainerConfig, vocabulary_size: int, domain: Domain, **kwargs: Any) -> None:
        """Create the layers; see `Tower`."""
        super().__init__(config, vocabulary_size, domain, **kwargs)
        self.seed = keras.random.SeedGenerator()
        if self.retrieval:
            self.popularity = self.add_weight((vocabulary_size + 1,), "zeros", trainable=False)

    @property
    def _rating_width(self) -> int:
        return self._width

    @property
    def _embedding_width(self) -> int:
        return self._width + self.config.co_rating_dim + self.config.id_dim

    def rating_vector(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give the rating vector alone, `[batch, embedding_dim + 4]`; see `schemas.user_vectors.rating_vector`."""
        average = inputs[f.MOVIE_SCALED_AVERAGE]
        if not training:  # The rows' own ratings are in the table. It knows more than the catalogue after a refit.
            token = _places(inputs[f.MOVIE_TOKEN])
            average = ops.where(token > 0, f.to_label(ops.take(self.averages, token, axis=0)), average)
        read = [self._statistics(inputs, f.MOVIE_AVERAGE_RATING), average * _AVERAGES_SCALE]
        found = self.rating_stack(ops.concatenate(read, axis=1), training=training) / STARS_LENGTH
        quality = average + found[:, :1]
        parts = [quality, ops.full_like(quality, BIAS_LENGTH), found]
        if self.retrieval and not training:
            parts.append(self.directions(inputs) * LEANING_LENGTH)
        return unit(ops, ops.concatenate(parts, axis=1), (1, 0))

    def directions(self, inputs: _Tensors) -> keras.KerasTensor:
        """Return what a leaning is multiplied with, `[batch, genres + factors]`; see `Tastes.leaning`."""
        places = _places(inputs[f.MOVIE_TOKEN][:, 0])
        of_factors = (ops.take(table, places, axis=0) for table in (self.factors, self.residuals))
        of_genres = self.tastes.genre_direction(inputs[f.MOVIE_GENRES], self.genre_shares)
        return ops.concatenate([of_genres, self.tastes.factor_direction(*of_factors)], axis=1)

    def embedding(self, inputs: _Tensors, training: bool | None = None) -> keras.KerasTensor:
        """Give what movies are ranked by, `[batch, joined_dim]`."""
        places = _places(inputs[f.MOVIE_TOKEN][:, 0])
        parts = [
            self.learned(inputs, training),
            ops.take(self.factors, places, axis=0) / self.longest,
            inputs[f.MOVIE_GENRES] / math.sqrt(self.domain.num_categories),
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


def _latest(inputs: _Tensors) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return tokens and stars of the part of a history that training shows, which is what perceptrons understand."""
    length = f.HISTORY_LENGTH + 1  # The row's own movie may be among them.
    return _places(inputs[f.USER_HISTORY_TOKENS][:, :length]), inputs[f.USER_HISTORY_RATINGS][:, :length]


def _places(tokens: keras.KerasTensor) -> keras.KerasTensor:
    """Return tokens as what can be gathered by: of several replicas' inputs Keras first makes up floats."""
    return ops.cast(tokens, "int32")


def _flat(pooled: keras.KerasTensor) -> keras.KerasTensor:
    return ops.reshape(pooled, (-1, pooled.shape[1] * pooled.shape[2]))
