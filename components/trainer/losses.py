"""The retrieval loss: softmax over the movies of the batch and over others drawn from the catalogue."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf
from keras import ops

from schemas import features as f

ACCIDENTAL_HIT_LOGIT = -1e9
"""Added to a logit to take the movie out of the softmax: exp(-1e9) is 0 in float32."""


def sampled_softmax(
    user_embedding: keras.KerasTensor,
    candidate_embedding: keras.KerasTensor,
    candidate_id: keras.KerasTensor,
    candidate_log_q: keras.KerasTensor,
    weight: keras.KerasTensor,
    temperature: float,
) -> keras.KerasTensor:
    """Compute the softmax of each row's movie against the candidates.

    The candidates are the movies of the batch's rows, drawn in proportion to their number of ratings, and possibly
    more. Subtracting the log of how often a movie is expected among them corrects for the popular ones' being there
    more often (logQ, Yi et al., RecSys 2019). A constant in it cancels. Other candidates with the row's own movie are
    accidental hits and left out.

    Args:
      user_embedding: `[batch, dim]` float32, L2-normalised.
      candidate_embedding: `[batch + others, dim]` float32, L2-normalised; the first `batch` are the rows' own movies.
      candidate_id: `[batch + others]` int64.
      candidate_log_q: `[batch + others]` float32.
      weight: `[batch]` float32 >= 0, how much the row counts.
      temperature: Divides the cosines, > 0.

    Returns:
      Scalar float32: the weighted mean of the rows' cross entropies in nats, 0 if all weights are 0.
    """
    batch = ops.shape(user_embedding)[0]
    logits = ops.matmul(user_embedding, ops.transpose(candidate_embedding)) / temperature - candidate_log_q[None, :]
    same_movie = ops.cast(candidate_id[:batch, None] == candidate_id[None, :], logits.dtype)
    own = ops.eye(batch, ops.shape(candidate_id)[0], dtype=logits.dtype)
    logits = logits + (same_movie - own) * ACCIDENTAL_HIT_LOGIT
    cross_entropy = ops.logsumexp(logits, axis=1) - ops.diagonal(logits)
    return ops.sum(weight * cross_entropy) / ops.maximum(ops.sum(weight), keras.backend.epsilon())


@dataclasses.dataclass(frozen=True)
class UniformNegatives:
    """Movies drawn from the whole catalogue, each as often: the batch alone never shows the rare ones."""

    catalog: dict[str, tf.Tensor]
    """What the movie tower reads, `movie_id` and `movie_log_count` of every movie after Transform, `[movies, n]`."""
    number: int
    """How many are drawn a step."""

    def draw(self) -> dict[str, tf.Tensor]:
        """Draw movies, with repetition: `[number, n]` each."""
        rows = tf.random.uniform([self.number], 0, len(self.catalog[f.MOVIE_ID]), tf.int32)
        return {name: tf.gather(values, rows) for name, values in self.catalog.items()}

    def log_q(self, count: keras.KerasTensor, batch: keras.KerasTensor) -> keras.KerasTensor:
        """Return the log of how often a movie with `count` train ratings is expected among the candidates.

        Args:
          count: `[n]` float32.
          batch: Scalar float32, how many of the candidates are movies of rows.
        """
        counts = tf.math.expm1(self.catalog[f.MOVIE_LOG_COUNT])
        of_rows = batch * count / tf.maximum(tf.reduce_sum(counts), 1.0)
        return tf.math.log(of_rows + self.number / len(self.catalog[f.MOVIE_ID]))
