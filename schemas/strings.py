"""Texts in arrays, which many processes can map: a list of Python's is each process's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Strings(Sequence[str]):
    """A sequence of texts; a slice of it is a list."""

    data: np.ndarray
    """`[bytes]` uint8, all texts in UTF-8, one behind the other."""
    ends: np.ndarray
    """`[texts + 1]` int64: 0, and where each text ends."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Copy texts."""
        parts = [text.encode() for text in texts]
        return cls(np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *map(len, parts)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return one text, or a list of some."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        begin, end = self.ends[place : place + 2].tolist()
        return self.data[begin:end].tobytes().decode()
