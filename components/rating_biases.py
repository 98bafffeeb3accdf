"""Biases of users and movies: how generous a user is, how good a movie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

PSEUDO_RATINGS = 5
"""Ratings without a difference that every bias starts from."""
_SWEEPS = 20
_STEPS = 2.0**20
"""Biases are multiples of 1 / 2^20 of a star: sums of them, and of float32 ratings, are exact in float64, so that it
makes no difference in which order users are summed up, or how they are divided into blocks."""


def fit(blocks: Sequence[sparse.csr_matrix]) -> tuple[float, np.ndarray, np.ndarray]:
    """Fit stars = mean + user bias + movie bias by alternating damped means (Koren et al., Computer 2009).

    Args:
      blocks: `[users, movies]` each, float32 stars: users of their own, and the same movies.

    Returns:
      The mean, the users' biases, block by block, and the movies' biases, in stars.
    """
    number = sum(block.nnz for block in blocks)
    mean = float(sum(block.data.sum(dtype=np.float64) for block in blocks) / max(number, 1))
    ones = np.ones(max((block.nnz for block in blocks), default=0))
    # Who rated what: the ratings themselves are in the totals.
    rated = [sparse.csr_matrix((ones[: b.nnz], b.indices, b.indptr), b.shape, copy=False) for b in blocks]
    counts = [np.diff(block.indptr) for block in blocks]
    of_users = [np.zeros(block.shape[0]) for block in blocks]
    totals = [_total(block) - mean * count for block, count in zip(blocks, counts, strict=True)]
    movie_count = sum(_total(block.T) for block in rated)
    movie_total = sum(_total(block.T) for block in blocks) - mean * movie_count
    of_movies = np.zeros(blocks[0].shape[1])
    for _ in range(_SWEEPS):
        biases = sum(block.T @ bias for block, bias in zip(rated, of_users, strict=True))
        of_movies = _exact((movie_total - biases) / (movie_count + PSEUDO_RATINGS))
        of_users = [
            _exact((total - block @ of_movies) / (count + PSEUDO_RATINGS))
            for block, total, count in zip(rated, totals, counts, strict=True)
        ]
    return mean, np.concatenate(of_users), of_movies


def _total(block: sparse.spmatrix) -> np.ndarray:
    """Return the sums of the rows; SciPy's own `sum` is in float32."""
    total: np.ndarray = block @ np.ones(block.shape[1])
    return total


def _exact(values: np.ndarray) -> np.ndarray:
    return np.round(values * _STEPS) / _STEPS
