"""The retrieval loss: softmax of a user's movie against movies drawn from the catalogue."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

from schemas import features as f

ACCIDENTAL_HIT_LOGIT = -1e9
"""The logit that takes a movie out of the softmax: exp(-1e9) is 0 in float32."""


class Candidates(NamedTuple):
    """Movies in a softmax."""

    embedding: keras.KerasTensor
    """`[movies, dim]` float32, L2-normalised."""
    movie_id: keras.KerasTensor
    """`[movies]` int64."""
    log_q: keras.KerasTensor
    """`[movies]` float32, log of how often the movie is expected among the negatives."""


def sampled_softmax(
    user_embedding: keras.KerasTensor,
    own: Candidates,
    negatives: Candidates,
    temperature: float,
    weight: keras.KerasTensor | None = None,
) -> keras.KerasTensor:
    """Compute the softmax of each row's movie against the negatives.

    Subtracting the log of how often a movie is expected among the negatives corrects for the popular ones' being there
    more often (logQ, Yi et al., RecSys 2019). A constant in it cancels. Negatives with the row's own movie are
    accidental hits and left out.

    Args:
      user_embedding: `[rows, dim]` float32, L2-normalised.
      own: The rows' own movies, in the order of the rows.
      negatives: What all rows are compared with.
      temperature: Divides the cosines, > 0.
      weight: `[rows]` float32, what each row counts; 1 each by default.

    Returns:
      Scalar float32: the mean of the rows' cross entropies in nats, 0 if no row counts.
    """
    positive = ops.sum(user_embedding * own.embedding, axis=1) / temperature - own.log_q
    negative = ops.matmul(user_embedding, ops.transpose(negatives.embedding)) / temperature - negatives.log_q
    hit = own.movie_id[:, None] == negatives.movie_id
    logits = ops.concatenate([positive[:, None], ops.where(hit, ACCIDENTAL_HIT_LOGIT, negative)], axis=1)
    cross_entropy = ops.logsumexp(logits, axis=1) - positive
    if weight is None:
        weight = ops.ones_like(cross_entropy)
    return ops.sum(cross_entropy * weight) / ops.maximum(ops.sum(weight), 1.0)


@dataclasses.dataclass(frozen=True)
class Negatives:
    """Draws movies from the catalogue: some each as often, the others in proportion to their number of ratings.

    The latter are what users choose between; the rare movies come up among the former alone.
    """

    catalog: dict[str, tf.Tensor]
    """What the movie tower reads, `movie_id` and `movie_log_count` of every movie after Transform, `[movies, n]`."""
    number: int
    """How many are drawn a step."""
    uniform_share: float
    """Share of them that are drawn each as often, in [0, 1]."""

    def draw(self, seed: keras.random.SeedGenerator) -> dict[str, tf.Tensor]:
        """Draw movies, with repetition: `[number, n]` each.

        Args:
          seed: Of what is drawn.
        """
        uniform = keras.random.randint([self._uniform], 0, self._movies, seed=seed)
        # By bisection: `tf.random.categorical` takes a logarithm of every movie's share, four times as long on a GPU.
        place = keras.random.uniform([self.number - self._uniform], dtype="float64", seed=seed)
        popular = tf.searchsorted(self._cumulated, place * self._cumulated[-1], side="right")
        rows = tf.concat([uniform, tf.minimum(popular, self._movies - 1)], axis=0)
        return {name: tf.gather(values, rows) for name, values in self.catalog.items()}

    def log_q(self, count: tf.Tensor) -> tf.Tensor:
        """Return the log of how often a movie with `count` train ratings is expected among what is drawn.

        Args:
          count: `[n]` float32.
        """
        popular = (self.number - self._uniform) * count / tf.cast(self._cumulated[-1], tf.float32)
        return tf.math.log(popular + self._uniform / self._movies)

    @property
    def _uniform(self) -> int:
        return round(self.number * self.uniform_share)

    @property
    def _movies(self) -> int:
        return self.catalog[f.MOVIE_ID].shape[0]

    @functools.cached_property
    def _cumulated(self) -> tf.Tensor:
        """`[movies]` float64: the ratings of all movies up to each."""
        with tf.init_scope():
            return tf.cumsum(tf.math.expm1(tf.cast(self.catalog[f.MOVIE_LOG_COUNT][:, 0], tf.float64)))
