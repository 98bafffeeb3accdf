"""Rows of users of whom less is known: a few of their latest ratings, and the statistics of those."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf

from schemas import features as f
from schemas.user_features import FeatureConstants, smoothed_mean


@dataclasses.dataclass(frozen=True)
class Thinning:
    """Shows a share of the training rows' users with a part of their latest ratings alone.

    Of each such user so many ratings are kept on average, each by itself, as a number drawn log-uniformly from 1 to
    `HISTORY_LENGTH` says; their features are those that serving computes of a user who has given these ratings.
    """

    share: float
    """Share of the rows, in (0, 1]."""
    genres: np.ndarray
    """`[movies + 1, genres]` float32: genre indicators of the movies in the order of the vocabulary, behind a row of
    zeros for a movie that it lacks."""
    constants: FeatureConstants

    def __call__(
        self, raw: dict[str, tf.Tensor], tokens: tf.Tensor, stars: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Thin a batch.

        Args:
          raw: Features of examples, of which the users' are replaced.
          tokens: `[batch, n]` int32 the users' latest movies, places in the vocabulary.
          stars: `[batch, n]` float32 their ratings; 0 where there is none.
          seeds: `[2]` int64.

        Returns:
          The features, and the ratings with 0 for those that are left out.
        """
        drawn = tf.random.stateless_uniform([tf.shape(stars)[0], 2 + stars.shape[1]], seeds)
        thinned = drawn[:, :1] < self.share
        number = tf.reduce_sum(tf.cast(stars > 0, tf.float32), axis=1, keepdims=True)
        kept = tf.exp(drawn[:, 1:2] * math.log(f.HISTORY_LENGTH)) / tf.maximum(number, 1.0)
        left = tf.where(thinned & (drawn[:, 2:] >= kept), 0.0, stars)
        # One product of matrices for the counts and the sums by genre.
        by_genre = tf.matmul(tf.stack([tf.cast(left > 0, tf.float32), left], axis=1), tf.gather(self.genres, tokens))
        count, total = by_genre[:, 0], by_genre[:, 1]
        prior = tf.constant(self.constants.genre_means, tf.float32)
        mean = smoothed_mean(total, count, prior, self.constants.pseudo_ratings)
        features = {f.USER_GENRE_RATING: mean, f.USER_GENRE_COUNT: count}
        return raw | {name: tf.where(thinned, value, raw[name]) for name, value in features.items()}, left
