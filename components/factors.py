"""Truncated singular value decomposition of a sparse matrix, the same in every run."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

_NOTHING = 1e-6
"""Singular values below this part of the largest one are none."""
_STEPS = 2.0**16
"""What is made of singular vectors is rounded to so many steps a unit: their last bits depend on how BLAS shares out
its work, and the same data must give the same model."""


def rounded(values: np.ndarray) -> np.ndarray:
    """Round to what does not depend on the machine's load, float32."""
    return (np.round(values * _STEPS) / _STEPS).astype(np.float32)


def largest_singular_vectors(matrix: sparse.spmatrix, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Decompose a matrix by ARPACK.

    Args:
      matrix: `[rows, columns]`.
      number: How many singular values; fewer come back where it has fewer, none of a matrix of one row or column.

    Returns:
      `[values]` descending and the right singular vectors, `[columns, values]`.
    """
    number = min(number, min(matrix.shape) - 1)
    if number < 1 or not matrix.nnz:
        return np.zeros(0), np.zeros((matrix.shape[1], 0))
    start = np.random.default_rng(0).normal(size=min(matrix.shape))
    _, values, right = svds(matrix, k=number, v0=start, return_singular_vectors="vh")
    order = np.argsort(-values)
    order = order[values[order] > values.max() * _NOTHING]
    return values[order], right[order].T
