"""Average ratings of movies, as a user without a bias would give them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from scipy import sparse

from components import rating_biases
from components.trainer.histories import HistoryTable
from schemas.user_features import smoothed_mean


@dataclasses.dataclass(frozen=True)
class MovieAverages:
    """What remains of the movies' average ratings where the biases of those who rated them are taken out.

    A movie that only critical users have rated is better than its plain average.
    """

    mean: float
    """Mean of all ratings, in stars."""
    count: np.ndarray
    """`[vocabulary + 1]` number of ratings of each movie; 0 for the unknown one, which is the first."""
    total: np.ndarray
    """`[vocabulary + 1]` their sum without the users' biases, in stars."""
    user_bias: np.ndarray
    """`[users]` in stars."""

    @classmethod
    def fit(cls, table: HistoryTable) -> MovieAverages:
        """Take movies and users apart."""
        movies, users = len(table.vocabulary) + 1, len(table.user_ids)
        stars = table.stars.astype(np.float32)
        ratings = sparse.csr_matrix((stars, table.movies, table.offsets), (users, movies))
        mean, user_bias, _ = rating_biases.fit([ratings])
        rest = stars - np.repeat(user_bias, np.diff(table.offsets))
        count, total = (np.bincount(table.movies, weights, movies) for weights in (None, rest))
        count[0] = total[0] = 0
        return cls(mean, count, total, user_bias)

    @property
    def of_movies(self) -> np.ndarray:
        """`[vocabulary + 1]` float32 in stars; of the unknown movie the mean."""
        return smoothed_mean(self.total, self.count, self.mean, rating_biases.PSEUDO_RATINGS).astype(np.float32)

    def without(self, user: tf.Tensor, token: tf.Tensor, stars: tf.Tensor) -> tf.Tensor:
        """Return the averages of rows' movies without the rows' own ratings, `[batch, 1]` float32 in stars.

        Args:
          user: `[batch]` int64, the rows' users by their places in the table.
          token: `[batch, 1]` int64, the rows' movies by their places in the vocabulary; 0 for one that it lacks.
          stars: `[batch, 1]` float32, the rows' ratings.
        """
        tables = self._tensors
        known = tf.cast(token > 0, tf.float32)
        own = stars - tf.gather(tables["user_bias"], user)[:, None]
        count, total = (tf.gather(tables[name], token) for name in ("count", "total"))
        return smoothed_mean((total - own) * known, (count - 1) * known, self.mean, rating_biases.PSEUDO_RATINGS)

    @functools.cached_property
    def _tensors(self) -> dict[str, tf.Tensor]:
        """The tables, made outside of any graph."""
        with tf.init_scope():
            return {name: tf.constant(getattr(self, name), tf.float32) for name in ("count", "total", "user_bias")}
