"""The dialect of CSV tables, in one place: which lines make a record, and what its fields are.

RFC 4180: fields are separated by commas and may stand in quotes, with commas, doubled quotes and line ends inside.
A quoted field may have spaces before it, and blank lines are skipped.
"""

from __future__ import annotations

import collections
import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

_NUL = "\U0010ffff"
"""Stands for U+0000, which Python 3.10's reader refuses; no character of any text."""


class Dialect(NamedTuple):
    """What separates and surrounds fields; a character each, or nothing."""

    separator: str = ","
    quote: str = '"'
    escape: str = ""

    @property
    def marks(self) -> set[str]:
        """The characters that make a line more than what lies between separators."""
        return set(self.quote + self.escape)


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


_RFC_4180 = Dialect()


def records(lines: Iterable[str], dialect: Dialect = _RFC_4180) -> Iterator[Record]:
    """Part lines into records.

    A quote that is never closed costs its own line alone: the next one begins anew.

    Args:
      lines: Lines with their ends.
      dialect: How they are written.
    """
    separator, quote, escape = dialect
    if not quote:
        yield from _unquoted(lines, separator)
        return
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
        fields: list[str] | None = line.rstrip("\r\n").split(separator)
        for skip in (False, True) if dialect.marks & set(line) else ():
            put_back.extendleft(reversed(taken))
            taken.clear()
            try:
                found = next(
                    csv.reader(
                        following(),
                        strict=True,
                        skipinitialspace=skip,
                        delimiter=separator,
                        quotechar=quote,
                        escapechar=escape or None,
                    )
                )
                fields = [field.replace(_NUL, "\0") for field in found]
            except csv.Error:
                fields = None
                put_back.extendleft(reversed(taken[1:]))
                del taken[1:]
            if fields and not any(field.startswith(" ") and field.lstrip(" ").startswith(quote) for field in fields):
                break  # Otherwise there are spaces before a quote.
        text = "".join(taken).rstrip("\r\n")
        if text.strip():
            yield Record(number, len(taken), fields, text)
        number += len(taken)


def _unquoted(lines: Iterable[str], separator: str) -> Iterator[Record]:
    for number, line in enumerate(lines):
        text = line.rstrip("\r\n")
        if text.strip():
            yield Record(number, 1, text.split(separator), text)


def column_names(header: Record | None) -> tuple[str, ...]:
    """Return the names in a table's first record; none of an empty table."""
    return tuple(name.strip() for name in (header and header.fields) or ())


def as_table(found: Iterable[Record], names: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame:
    """Lay records out: `line` from 0, `text`, and the wanted columns as text, null where fields are too few or many.

    Args:
      found: The records behind the header.
      names: Every column in the order of the file.
      wanted: Some of them.
    """
    places = [names.index(name) for name in wanted]
    rows = []
    for record in found:
        fields = record.fields or []
        whole = len(fields) == len(names)
        rows.append((record.line, record.text, *(fields[place] if whole else None for place in places)))
    schema = {"line": pl.Int64, "text": pl.String} | dict.fromkeys(wanted, pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def as_text(rows: pl.DataFrame) -> pl.Series:
    """Return rows that stand in no text, those of a Parquet file, as they would stand in one."""
    return rows.select(pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator=",")).to_series()
