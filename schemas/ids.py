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
