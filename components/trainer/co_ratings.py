"""What co-ratings say of movies: factors of who liked what, which the towers start from."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from scipy import linalg, sparse

from components.factors import largest_singular_vectors, padded, rounded
from components.trainer.histories import HistoryTable

_POWER = 0.25
"""A user's row and a movie's column are divided by their number of likes to this power: neither those who rate most nor
what most have seen decide alone."""
_KEPT_FACTORS = 40
"""Singular values above that of this place are kept more than halfway."""


@dataclasses.dataclass(frozen=True)
class CoRatings:
    """Truncated singular value decomposition of the likes, and what each user's own likes add to it.

    The product of a history's `liking` vectors with a movie's `liked` vector says how often those who liked the one
    liked the other. A training row must not learn from its own like, so that what its user's likes add is taken out of
    both sides: the first-order change of the singular vectors where the user's row is left out.
    """

    liking: np.ndarray
    """`[vocabulary + 1, dim]` float32, a movie in a history; zeros for the unknown movie, which is the first."""
    liked: np.ndarray
    """`[vocabulary + 1, dim]` float32, a movie that may be recommended."""
    own: np.ndarray
    """`[users, dim]` float32, the direction in which a user's likes move both."""
    liking_share: np.ndarray
    """`[vocabulary + 1]` float32: how far, for a movie of a history."""
    liked_share: float
    """How far, for the row's movie."""
    user_weight: np.ndarray
    """`[users]` float32, factor of both for each of a user's likes."""

    @property
    def dim(self) -> int:
        """Number of factors."""
        return self.liking.shape[1]

    @functools.cached_property
    def tensors(self) -> dict[str, tf.Tensor]:
        """What is looked up in while training, made outside of any graph."""
        with tf.init_scope():
            return {name: tf.constant(getattr(self, name)) for name in ("own", "liking_share", "user_weight")}

    def aligned_with(self, liked: np.ndarray) -> CoRatings:
        """Turn the factors so that they mean what another decomposition's do; their products stay what they are.

        Args:
          liked: `[vocabulary + 1, dim]` the other's, of the same movies or of the first ones of them.
        """
        turn, _ = linalg.orthogonal_procrustes(self.liked[: len(liked)], liked)
        liking, liked, own = (rounded(values @ turn) for values in (self.liking, self.liked, self.own))
        return dataclasses.replace(self, liking=liking, liked=liked, own=own)


def fit(table: HistoryTable, dim: int, near: np.ndarray | None = None) -> CoRatings:
    """Decompose the likes of all users.

    Args:
      table: The ratings; those that the scale says so of are likes.
      dim: Number of factors; those that the ratings do not have are zeros.
      near: `[vocabulary + 1, dim]` the `liked` of nearly the same ratings, or of the first movies: to begin there takes
        half as long as to begin anywhere, and gives nearly the same. They are turned to mean the same as these.
    """
    movies, users = len(table.vocabulary) + 1, len(table.user_ids)
    liked = table.liked
    offsets = np.append(0, np.cumsum(liked))[table.offsets]
    matrix = sparse.csr_matrix((np.ones(offsets[-1]), table.movies[liked], offsets), (users, movies))
    weight, scale = (np.maximum(np.asarray(matrix.sum(axis)).ravel(), 1) ** _POWER for axis in (1, 0))
    matrix.data /= np.repeat(weight, np.diff(offsets)) * scale[matrix.indices]
    basis = None
    if near is not None and np.abs(near).any(axis=0).all():  # As many factors as there can be.
        basis = np.pad(near, ((0, movies - len(near)), (0, 0))) / scale[:, None]
    values, right = largest_singular_vectors(matrix, dim, basis)
    halved = values[min(_KEPT_FACTORS, len(values)) - 1] if len(values) else 0.0
    kept = np.sqrt(values**2 / (values**2 + halved**2)) if len(values) else values
    own = (matrix @ right) / np.maximum(values, 1e-12) ** 2 * kept
    factors = right * kept
    factors[0] = 0  # The unknown movie, but for rounding.
    # Of length 1 in the mean over likes, whatever the size of the data.
    liking, liked = factors / scale[:, None], factors * scale[:, None]
    by_liking, by_liked = (1 / max(_length(side, table.likes), 1e-12) for side in (liking, liked))
    found = CoRatings(
        padded(liking * by_liking, dim),
        padded(liked * by_liked, dim),
        padded(own, dim),
        rounded(by_liking / scale**2),
        round(by_liked, 5),
        (1 / weight).astype(np.float32),
    )
    return found if near is None else found.aligned_with(near)


def _length(vectors: np.ndarray, likes: np.ndarray) -> float:
    """Return the root of the mean square length over all likes."""
    return float(np.sqrt((likes @ (vectors**2).sum(axis=1)) / max(likes.sum(), 1)))
