"""Truncated singular value decomposition of a sparse matrix, on all cores and the same in every run."""

from __future__ import annotations

import inspect
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, eigsh

_NOTHING = 1e-6
"""Singular values below this part of the largest one are none."""
_STEPS = 2.0**16
"""What is made of singular vectors is rounded to so many steps a unit: their last bits depend on how BLAS shares out
its work, and the same data must give the same model."""
_BLOCKS = 16
"""Of rows, whose products are taken in threads and added up in order, however many threads there are."""
_REFINEMENTS = 2
"""Steps of the power iteration from vectors that are nearly right."""
_SEEDED = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}
"""Seed of what ARPACK draws, for the releases of SciPy that take one."""
_LARGE = 2_000_000
"""Values from which on that is worth what it costs in exactness; fewer are decomposed within seconds."""


def rounded(values: np.ndarray) -> np.ndarray:
    """Round to what does not depend on the machine's load, float32."""
    return (np.round(values * _STEPS) / _STEPS).astype(np.float32)


def padded(values: np.ndarray, dim: int) -> np.ndarray:
    """Return `[rows, dim]` float32, rounded: zeros in place of the factors that there are too few of."""
    return rounded(np.pad(values, ((0, 0), (0, dim - values.shape[1]))))


def largest_singular_vectors(
    matrix: sparse.csr_matrix, number: int, near: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decompose a matrix by ARPACK, or a large one by a power iteration from what is nearly right.

    Args:
      matrix: `[rows, columns]`.
      number: How many singular values; fewer come back where it has fewer, none of a matrix of one row or column.
      near: `[columns, number]` what spans nearly what the right singular vectors do; looked at if the matrix is large.

    Returns:
      `[values]` descending and the right singular vectors, `[columns, values]`.
    """
    number = min(number, min(matrix.shape) - 1)
    if number < 1 or not matrix.nnz:
        return np.zeros(0), np.zeros((matrix.shape[1], 0))
    with _Blocks(matrix) as blocks:
        if near is None or matrix.nnz < _LARGE:
            values, right = _largest(blocks, number)
        else:
            values, right = _refined(blocks, near)
    order = np.argsort(-values)
    order = order[values[order] > values.max() * _NOTHING]
    right = right[:, order]
    # Both signs are right, and the last bits of a product decide which one is found: the longest entry is positive.
    longest = np.abs(rounded(right)).argmax(axis=0)
    return values[order], right * np.sign(right[longest, np.arange(len(order))])


class _Blocks:
    """A matrix whose products are taken on all cores; SciPy's use one.

    Of a vector by blocks of rows; of some vectors one by one, which takes half as long as together.
    """

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._matrix, self.shape = matrix, matrix.shape
        ends = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, _BLOCKS + 1)[1:-1])
        self._cuts = [0, *ends.tolist(), matrix.shape[0]]
        self._parts = [matrix[begin:end] for begin, end in zip(self._cuts, self._cuts[1:], strict=False)]
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def __enter__(self) -> _Blocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return the product with `[columns]`."""
        return np.concatenate(list(self._pool.map(lambda part: part @ right, self._parts)))

    def transposed_times(self, left: np.ndarray) -> np.ndarray:
        """Return the transposed matrix's product with `[rows]`."""
        lefts = np.split(left, self._cuts[1:-1])
        products = self._pool.map(lambda part, piece: part.T @ piece, self._parts, lefts)
        return np.asarray(sum(products))

    def times_all(self, rights: np.ndarray) -> np.ndarray:
        """Return the product with `[columns, n]`."""
        return np.stack(list(self._pool.map(lambda right: self._matrix @ right, rights.T.copy())), axis=1)

    def transposed_times_all(self, lefts: np.ndarray) -> np.ndarray:
        """Return the transposed matrix's product with `[rows, n]`."""
        return np.stack(list(self._pool.map(lambda left: self._matrix.T @ left, lefts.T.copy())), axis=1)


def _largest(blocks: _Blocks, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Decompose by the eigenvectors of the smaller product with itself, as `scipy.sparse.linalg.svds` does.

    That does not seed what newer releases draw beside the start: the vectors from which ARPACK goes on where it has to.
    """
    size = min(blocks.shape)
    is_tall = size == blocks.shape[1]

    def product(vector: np.ndarray) -> np.ndarray:
        if is_tall:
            return blocks.transposed_times(blocks.times(vector))
        return blocks.times(blocks.transposed_times(vector))

    start = np.random.default_rng(0).normal(size=size)
    _, basis = eigsh(LinearOperator((size, size), product, dtype=np.float64), number, v0=start, **_SEEDED)
    if is_tall:
        return _within(blocks, basis)
    right, values, _ = linalg.svd(blocks.transposed_times_all(basis), full_matrices=False)
    return values, right


def _refined(blocks: _Blocks, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    basis, _ = linalg.qr(near, mode="economic")
    for _ in range(_REFINEMENTS):
        basis, _ = linalg.qr(blocks.transposed_times_all(blocks.times_all(basis)), mode="economic")
    return _within(blocks, basis)


def _within(blocks: _Blocks, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decompose what a matrix does to what an orthonormal basis spans, `[columns, n]`."""
    _, values, turn = linalg.svd(blocks.times_all(basis), full_matrices=False)
    return values, basis @ turn.T
