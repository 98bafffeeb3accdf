"""The vectors that a tower gives for each user or movie."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Embeddings and rating vectors of the same users or movies; of a single one, without the first axis."""

    embeddings: np.ndarray
    """`[n, dim]` float32, L2-normalised: the cosine of a user's and a movie's is what movies are ranked by."""
    rating_vectors: np.ndarray
    """`[n, dim]` float32, L2-normalised: the cosine of a user's and a movie's is the rating, scaled to [-1, 1]."""

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: int | slice | np.ndarray) -> Vectors:
        return Vectors(self.embeddings[rows], self.rating_vectors[rows])

    @classmethod
    def concatenate(cls, parts: Iterable[Vectors]) -> Vectors:
        """Join vectors along the first axis."""
        pairs = [(part.embeddings, part.rating_vectors) for part in parts]
        return cls(*(np.concatenate(columns) for columns in zip(*pairs, strict=True)))
