"""The dialect of CSV tables, in one place: which lines make a record, and what its fields are.

RFC 4180: fields are separated by commas and may stand in quotes, with commas, doubled quotes and line ends inside.
A quoted field may have spaces before it, and blank lines are skipped.
"""

from __future__ import annotations

import collections
import csv
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_NUL = "\U0010ffff"
"""Stands for U+0000, which Python 3.10's reader refuses; no character of any text."""


class Record(NamedTuple):
    """One row of a table."""

    line: int
    """Its first line, counted from 0."""
    lines: int
    """How many lines it takes."""
    fields: list[str] | None
    """None where a quote is not closed, or something stands behind one that is."""
    text: str
    """The row as it stands in the file, without its line end."""


def records(lines: Iterable[str]) -> Iterator[Record]:
    """Part lines into records.

    A quote that is never closed costs its own line alone: the next one begins anew.

    Args:
      lines: Lines with their ends.
    """
    left, put_back, number = iter(lines), collections.deque[str](), 0

    def following() -> Iterator[str]:
        """Give lines and remember them, until no more are wanted."""
        while (line := put_back.popleft() if put_back else next(left, None)) is not None:
            taken.append(line)
            yield line.replace("\0", _NUL)

    while True:
        taken: list[str] = []
        if next(following(), None) is None:
            return
        (line,) = taken
        fields: list[str] | None = line.rstrip("\r\n").split(",")
        for skip in (False, True) if '"' in line else ():
            put_back.extendleft(reversed(taken))
            taken.clear()
            try:
                found = next(csv.reader(following(), strict=True, skipinitialspace=skip))
                fields = [field.replace(_NUL, "\0") for field in found]
            except csv.Error:
                fields = None
                put_back.extendleft(reversed(taken[1:]))
                del taken[1:]
            if fields and not any(field.startswith(" ") and field.lstrip(" ").startswith('"') for field in fields):
                break  # Otherwise there are spaces before a quote.
        text = "".join(taken).rstrip("\r\n")
        if text.strip():
            yield Record(number, len(taken), fields, text)
        number += len(taken)
