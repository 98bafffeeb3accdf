"""The retrieval loss: softmax over the movies of the batch."""

from __future__ import annotations

import keras
from keras import ops

ACCIDENTAL_HIT_LOGIT = -1e9
"""Added to a logit to take the movie out of the softmax: exp(-1e9) is 0 in float32."""


def in_batch_softmax(
    user_embedding: keras.KerasTensor,
    movie_embedding: keras.KerasTensor,
    movie_id: keras.KerasTensor,
    log_count: keras.KerasTensor,
    weight: keras.KerasTensor,
    temperature: float,
) -> keras.KerasTensor:
    """Compute the sampled softmax of each row's movie against the movies of the other rows.

    A row's negatives are the batch's movies, drawn in proportion to their number of ratings; subtracting the log of
    that number corrects for it (logQ, Yi et al., RecSys 2019). A constant in the log cancels in the softmax. Other
    rows with the row's own movie are accidental hits and left out.

    Args:
      user_embedding: `[batch, dim]` float32, L2-normalised.
      movie_embedding: `[batch, dim]` float32, L2-normalised.
      movie_id: `[batch]` int64.
      log_count: `[batch]` float32, log of the movie's number of ratings.
      weight: `[batch]` float32 >= 0, how much the row counts.
      temperature: Divides the cosines, > 0.

    Returns:
      Scalar float32: the weighted mean of the rows' cross entropies in nats, 0 if all weights are 0.
    """
    logits = ops.matmul(user_embedding, ops.transpose(movie_embedding)) / temperature - log_count[None, :]
    same_movie = ops.cast(movie_id[:, None] == movie_id[None, :], logits.dtype)
    logits = logits + (same_movie - ops.eye(ops.shape(logits)[0], dtype=logits.dtype)) * ACCIDENTAL_HIT_LOGIT
    cross_entropy = ops.logsumexp(logits, axis=1) - ops.diagonal(logits)
    return ops.sum(weight * cross_entropy) / ops.maximum(ops.sum(weight), keras.backend.epsilon())
