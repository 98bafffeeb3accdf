"""The vectors that a tower gives for each user or movie, and vectors in Parquet columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Embeddings and rating vectors of the same users or movies; of a single one, without the first axis."""

    embeddings: np.ndarray
    """`[n, dim]` float32, L2-normalised: the cosine of a user's and a movie's is what movies are ranked by."""
    rating_vectors: np.ndarray
    """`[n, dim]` float32, L2-normalised: the cosine of a user's and a movie's is the rating, scaled to [-1, 1]."""

    def __len__(self) -> int:
        return len(self.embeddings)

    def __iter__(self) -> Iterator[Vectors]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: int | slice | np.ndarray) -> Vectors:
        return Vectors(self.embeddings[rows], self.rating_vectors[rows])

    @classmethod
    def concatenate(cls, parts: Iterable[Vectors]) -> Vectors:
        """Join vectors along the first axis."""
        pairs = [(part.embeddings, part.rating_vectors) for part in parts]
        return cls(*(np.concatenate(columns) for columns in zip(*pairs, strict=True)))


def column_array(column: pl.Series) -> np.ndarray:
    """Return a column of scalars as `[rows]`, one of lists of the same length as `[rows, length]`."""
    if column.dtype != pl.List:
        return column.to_numpy()
    return column.list.to_array(len(column[0]) if len(column) else 0).to_numpy()
