"""Keys of users and movies that are text, as numbers: the same key is the same number everywhere.

A number is the beginning of the key's digest, 63 bits of it, so that nobody needs to have seen all keys before, two
data sets agree, and new keys change none. That two of a million keys get the same one has a chance of one in ten
million; whoever writes the tables checks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl

_LONGEST_TABLE = 1 << 22


def number_of(key: str) -> int:
    """Return the number of a key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def numbers_of(keys: pl.Series) -> pl.Series:
    """Return the numbers of keys, Int64; null of null."""
    unique = keys.drop_nulls().unique()
    numbers = np.fromiter(map(number_of, unique), np.int64, len(unique))
    return keys.replace_strict(unique, pl.Series(numbers, dtype=pl.Int64), default=None, return_dtype=pl.Int64)


def check_distinct(keys: Iterable[str], numbers: Iterable[int]) -> None:
    """Raise ValueError if two keys have the same number."""
    seen: dict[int, str] = {}
    for key, number in zip(keys, numbers, strict=True):
        if seen.setdefault(number, key) != key:
            raise ValueError(f"{seen[number]!r} and {key!r} have the same number {number}; rename one of them")


def places_of(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return where ids are among others, `[n]` int32; -1 for one that is not.

    Args:
      ids: `[n]` int64.
      among: `[m]` int64, ascending, none below 0.
    """
    if not len(among):
        return np.full(len(ids), -1, np.int32)
    most = int(among[-1])
    if most < _LONGEST_TABLE:  # A look into it takes a tenth of a search.
        table = np.full(most + 2, -1, np.int32)
        table[among] = np.arange(len(among), dtype=np.int32)
        return table[np.clip(ids, -1, most + 1)]
    place = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[place] == ids, place, -1).astype(np.int32)
