"""Rows of users of whom less is known: a few of their ratings, and the statistics of those."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from schemas import features as f
from schemas.user_features import FeatureConstants, smoothed_mean

_FIRST_SHARE, _EARLIER_SHARE = 0.2, 0.3
"""Of the users with a part of their ratings, those with their first ones, and those with some of any time before."""


class Drawn(NamedTuple):
    """Which rows of a batch are thinned, and how."""

    thinned: tf.Tensor
    """`[batch, 1]` bool."""
    kept: tf.Tensor
    """`[batch, 1]` float32, how many ratings are kept of those."""
    first: tf.Tensor
    """`[batch, 1]` bool: those whose users are shown with their very first ratings."""
    part: tf.Tensor
    """`[batch, 1]` float32 in (0, 1]: of what the user rated before the row, so much is what they may be shown with."""


@dataclasses.dataclass(frozen=True)
class Thinning:
    """Shows a share of the training rows' users with a part of their ratings alone.

    Of each such user so many are kept as a number drawn log-uniformly from 1 to `HISTORY_LENGTH` says: mostly the
    latest before the row, of some users the first that they gave at all, which is what is known of a new user, and of
    some those of any time in between, as what is asked may be long after what is known. Their features are those that
    serving computes of a user who has given these ratings.
    """

    share: float
    """Share of the rows, in (0, 1]."""
    genres: np.ndarray
    """`[movies + 1, genres]` float32: genre indicators of the movies in the order of the vocabulary, behind a row of
    zeros for a movie that it lacks."""
    constants: FeatureConstants

    def draw(self, rows: tf.Tensor, seeds: tf.Tensor) -> Drawn:
        """Choose rows of a batch.

        Args:
          rows: Scalar, their number.
          seeds: `[2]` int64.
        """
        drawn = tf.random.stateless_uniform([rows, 5], seeds)
        # Rounded up or down at random.
        kept = tf.floor(tf.exp(drawn[:, 1:2] * math.log(f.HISTORY_LENGTH)) + drawn[:, 2:3])
        thinned = drawn[:, :1] < self.share
        first = thinned & (drawn[:, 3:4] < _FIRST_SHARE)
        earlier = thinned & (drawn[:, 3:4] >= 1 - _EARLIER_SHARE)
        return Drawn(thinned, kept, first, tf.where(earlier, 1 - drawn[:, 4:], 1.0))

    def __call__(
        self, raw: dict[str, tf.Tensor], tokens: tf.Tensor, stars: tf.Tensor, drawn: Drawn
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Thin a batch.

        Args:
          raw: Features of examples, of which the users' are replaced.
          tokens: `[batch, n]` int32 the users' latest movies, or first ones, places in the vocabulary.
          stars: `[batch, n]` float32 their ratings; 0 where there is none.
          drawn: What becomes of which row.

        Returns:
          The features, and the ratings with 0 for those that are left out.
        """
        thinned = drawn.thinned
        place = tf.cumsum(tf.cast(stars > 0, tf.float32), axis=1)
        left = tf.where(thinned & (place > drawn.kept), 0.0, stars)
        # One product of matrices for the counts and the sums by genre.
        by_genre = tf.matmul(tf.stack([tf.cast(left > 0, tf.float32), left], axis=1), tf.gather(self.genres, tokens))
        count, total = by_genre[:, 0], by_genre[:, 1]
        prior = tf.constant(self.constants.genre_means, tf.float32)
        mean = smoothed_mean(total, count, prior, self.constants.pseudo_ratings)
        features = {f.USER_GENRE_RATING: mean, f.USER_GENRE_COUNT: count}
        return raw | {name: tf.where(thinned, value, raw[name]) for name, value in features.items()}, left
