"""Checks of the input, vectorised in Polars, and what happens to rows that fail them.

| problem | what is meant | `fail` | `drop` |
|---|---|---|---|
| unreadable | a missing or superfluous field, a value that is no number | reject | count, drop |
| truncated | the last line has no line end and its timestamp is cut short | reject | count, drop |
| off_scale | a rating that is not on the scale, of MovieLens 0.5 to 5 in steps of 0.5 | reject | count, drop |
| negative_id | a user or movie id below 0, a timestamp below 0 | reject | count, drop |
| no_time | a timestamp behind the year 2100: not in seconds, most likely | reject | count, drop |
| unknown_movie | a rating of a movie that the movies table lacks | reject | count, drop |
| duplicate | a second rating of one movie by one user | reject | count, keep the latest |
| unknown_genre | a category that the data specification does not name | reject | count, drop the category |
| duplicate_movie | a second row with a movie id | reject | count, keep the first |

A missing column and an empty table are always rejected. A byte-order mark, CRLF line ends, quoted titles and UTF-8 are
read as they are. A missing or absurd year is imputed and flagged in the catalogue under either policy.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

UNREADABLE = "unreadable"
TRUNCATED = "truncated"
OFF_SCALE = "off_scale"
NEGATIVE_ID = "negative_id"
NO_TIME = "no_time"
UNKNOWN_MOVIE = "unknown_movie"
UNRATED = "unrated"
"""No problem: a row without a rating, which is left out."""
DUPLICATE = "duplicate"
UNKNOWN_GENRE = "unknown_genre"
DUPLICATE_MOVIE = "duplicate_movie"

_EXPLANATIONS = {
    UNREADABLE: "is not readable: expected {expected}",
    TRUNCATED: "is cut short: the file ends in the middle of its last line",
    OFF_SCALE: "has a rating off the scale: expected {expected}; a data specification (--data-spec) can say another",
    NEGATIVE_ID: "has a negative id or timestamp: expected 0 or more",
    NO_TIME: "has a timestamp after the year 2100: expected {expected}; a data specification (--data-spec) can say ms",
    UNKNOWN_MOVIE: "rates a movie that the movies table does not hold",
    DUPLICATE: "rates a movie that the same user has rated already",
    UNKNOWN_GENRE: "has a category that is not one of {expected}; a data specification (--data-spec) can name others",
    DUPLICATE_MOVIE: "repeats a movie id",
}
TIME_LIMIT_S = 4_102_444_800
"""Unix seconds of the year 2100."""
_SAMPLES = 5
_LONGEST_SHOWN = 200

FAIL = "fail"
DROP = "drop"


@dataclasses.dataclass(frozen=True)
class BadRow:
    """One row that failed a check."""

    problem: str
    file: str
    line: int
    """Line of the file counted from 1 (of a Parquet file: row counted from 1)."""
    value: str
    """The row as it stands in the file."""
    expected: str = ""
    """What was expected instead."""
    column: str = ""
    """The column that is wrong, where it is one."""

    def __str__(self) -> str:
        unit = "row" if self.file.endswith(".parquet") else "line"
        explanation = _EXPLANATIONS[self.problem].format(expected=self.expected)
        column = f" (column {self.column})" if self.column else ""
        return f"{self.file}, {unit} {self.line}: {self.value!r} {explanation}{column}"


@dataclasses.dataclass(frozen=True)
class Report:
    """What the checks found: counts per problem and the first rows of them."""

    rows: int = 0
    """Rows looked at."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """Bad rows per problem."""
    samples: tuple[BadRow, ...] = ()
    """At most five bad rows, in order of file and line."""

    @property
    def bad_rows(self) -> int:
        """All bad rows."""
        return sum(self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """Build a report from `to_dict`."""
        return cls(data["rows"], dict(data["counts"]), tuple(BadRow(**row) for row in data["samples"]))


def shown(text: str, printable: bool = False) -> str:
    """Cut a text from the input to what a message has room for; if asked, leave out what moves a terminal's cursor."""
    if printable:
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"


class BadInputError(ValueError):
    """The input was rejected; the message names the file, the line, the value and the mend."""


def merge_reports(reports: Iterable[Report]) -> Report:
    """Add reports up."""
    rows = 0
    samples: list[BadRow] = []
    counts: collections.Counter[str] = collections.Counter()
    for report in reports:
        rows += report.rows
        counts.update(report.counts)
        samples.extend(report.samples)
    samples.sort(key=lambda row: (row.file, row.line))
    return Report(rows, dict(sorted(counts.items())), tuple(samples[:_SAMPLES]))


def enforce(reports: Sequence[Report], policy: str, max_bad_rows: float) -> None:
    """Reject the input if its bad rows break the policy.

    Args:
      reports: What the checks found, of each table.
      policy: `fail` rejects any bad row, `drop` takes up to a share of them in each table.
      max_bad_rows: With `drop`, the largest share of bad rows, in [0, 1].

    Raises:
      BadInputError: The policy is broken.
    """
    bad = [report for report in reports if report.bad_rows and (policy == FAIL or _share(report) > max_bad_rows)]
    if not bad:
        return
    found = merge_reports(bad)
    counted = ", ".join(f"{count:,} {problem}" for problem, count in found.counts.items())
    first = {row.file: row for report in bad for row in reversed(report.samples)}
    shown = "; ".join(str(row) for _, row in sorted(first.items()))
    if policy == FAIL:
        # Where nothing is good, nothing would be left.
        if any(report.bad_rows >= report.rows > 0 for report in bad):
            mend = "No row is good: if the data is written otherwise, matinee data inspect finds how"
        else:
            mend = "Mend the row, or leave such rows out with --on-bad-rows drop"
        raise BadInputError(f"{shown}. {mend} (so far: {counted})")
    raise BadInputError(
        f"{found.bad_rows:,} of {found.rows:,} rows are bad ({counted}), more than the limit of {max_bad_rows:.2%} "
        f"(--max-bad-rows){f'. First: {shown}' if shown else ''}"
    )


def _share(report: Report) -> float:
    return report.bad_rows / report.rows if report.rows else math.inf
