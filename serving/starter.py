"""What to ask a new user first: a few well-known movies whose ratings tell most about all the others."""

from __future__ import annotations

import numpy as np

_POOL = 300
"""Only so many of the most rated movies are thought of: the others hardly anybody could rate."""
_NOISE = 0.3
"""Variance of a rating beyond what the user's taste says, beside a variance of the taste of 1."""


def most_telling(vectors: np.ndarray, ratings: np.ndarray, n: int) -> np.ndarray:
    """Choose movies one by one, each that whose rating is expected to say most beyond those before.

    A user's taste is taken for a Gaussian process over the movies whose covariance is how similar they are. A rating
    of a movie lowers the variance of those like it; the movie with the largest fall, weighted by how often each movie
    is rated and times how likely the user knows the movie at all, is the next.

    Args:
      vectors: `[movies, dim]` float32, L2-normalised: the cosine of two is how similar they are.
      ratings: `[movies]` how often each was rated.
      n: How many; fewer come back of a smaller catalogue.

    Returns:
      `[n]` int64 positions; ties go to the earlier one.
    """
    pool = np.sort(np.argsort(-ratings, kind="stable")[:_POOL])
    weight = ratings[pool].astype(np.float64) + 1
    known = weight / weight.max()
    covariance = vectors[pool].astype(np.float64) @ vectors[pool].T.astype(np.float64)
    chosen: list[int] = []
    for _ in range(min(n, len(pool))):
        variance = np.diag(covariance) + _NOISE
        gain = known * (weight @ covariance**2) / variance
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        covariance -= np.outer(covariance[best], covariance[best]) / variance[best]
    return pool[chosen]
