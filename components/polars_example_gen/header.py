"""The columns of a ratings table: what a file says that it has, and what a checked frame of it has."""

from __future__ import annotations

import dataclasses
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.polars_example_gen import checks
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import column_names, records
from components.polars_example_gen.source import Source, dialect_of, read_line
from schemas import features as f
from schemas.data_spec import SECONDS_OF, DataSpec, named
from schemas.ingest import USER_KEY

SCHEMA: dict[str, type[pl.DataType]] = {
    f.USER_ID: pl.Int64,
    f.MOVIE_ID: pl.Int64,
    f.RATING: pl.Float32,
    f.TIMESTAMP: pl.Int64,
}
"""Columns and types of a checked frame; ratings in stars, times in Unix seconds. Where users are text, their keys come
behind them."""

_BOM = b"\xef\xbb\xbf"
_MOST_GROUP_ROWS = 1 << 26


@dataclasses.dataclass(frozen=True)
class Header:
    """The columns of a ratings table."""

    columns: tuple[str, ...]
    """Every column in the order of the file."""
    length: int
    """Length of a CSV header in bytes, byte-order mark and line end inside; 0 for Parquet."""
    has_rows: bool = True
    """Whether anything stands behind the header."""
    spec: DataSpec = dataclasses.field(default_factory=named)
    """How the table is written, and what its columns are."""

    @property
    def has_text(self) -> bool:
        """Whether there are columns that may hold text, and so line ends inside quotes."""
        ratings = self.spec.ratings
        numbers = {ratings.rating, ratings.time if ratings.time_format in SECONDS_OF else None}
        numbers |= {ratings.user} if ratings.user_ids == "number" else set()
        numbers |= {ratings.item} if self.spec.items.item_ids == "number" else set()
        return bool(ratings.quote) and not set(self.columns) <= numbers

    @property
    def features(self) -> dict[str, str]:
        """Column that is read -> feature."""
        ratings = self.spec.ratings
        pairs = {
            ratings.user: f.USER_ID,
            ratings.item: f.MOVIE_ID,
            ratings.rating: f.RATING,
            ratings.time: f.TIMESTAMP,
        }
        return {column: feature for column, feature in pairs.items() if column}

    @property
    def schema(self) -> dict[str, type[pl.DataType]]:
        """Columns and types of a checked frame."""
        return schema_of(self.spec)


def schema_of(spec: DataSpec) -> dict[str, type[pl.DataType]]:
    """Return columns and types of a checked frame."""
    return SCHEMA | ({USER_KEY: pl.String} if spec.ratings.user_ids == "text" else {})


def read_header(
    source: Source,
    max_line_bytes: int = ExampleGenConfig.max_line_bytes,
    may_be_empty: bool = False,
    spec: DataSpec | None = None,
) -> Header:
    """Read and check the column names of a file.

    Args:
      source: The file.
      max_line_bytes: Longest header.
      may_be_empty: Whether there may be no row.
      spec: The data specification; MovieLens' by default.

    Raises:
      BadInputError: The file is empty, a column is missing, there is no row, or it is no Parquet file, or one whose row
        groups are too large.
    """
    spec = spec or named()
    table = spec.ratings
    with source.open() as file:
        if source.format == "parquet":
            parquet = _parquet(source, file)
            header = Header(tuple(parquet.schema_arrow.names), 0, parquet.metadata.num_rows > 0, spec)
        elif table.header:
            header = Header(table.header, len(_BOM) if file.read(len(_BOM)) == _BOM else 0, source.size() > 0, spec)
        else:
            line = read_line(file, max_line_bytes)
            if len(line) == max_line_bytes:
                raise checks.BadInputError(
                    f"{source.name}, line 1: longer than {max_line_bytes:,} bytes; expected {', '.join(table.columns)}"
                )
            found = next(records([line.removeprefix(_BOM).decode("utf-8", "replace")], dialect_of(table)), None)
            header = Header(column_names(found), len(line), bool(file.read(1)), spec)
    check_columns(source, header.columns, table.columns)
    if not (header.has_rows or may_be_empty):
        raise checks.BadInputError(f"{source.name} holds a header and no rows; expected at least one rating")
    return header


def read_headers(table: Source, max_line_bytes: int, spec: DataSpec | None = None) -> dict[Source, Header]:
    """Read and check the column names of a table's files; of several some may have no rows.

    Raises:
      BadInputError: See `read_header`.
    """
    if not table.parts:
        return {table: read_header(table, max_line_bytes, spec=spec)}
    headers = {part: read_header(part, max_line_bytes, True, spec) for part in table.parts if part.size()}
    if not any(header.has_rows for header in headers.values()):
        raise checks.BadInputError(f"{table.name} holds no rows; expected at least one rating")
    return headers


def check_columns(source: Source, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise `BadInputError` if a table is empty or lacks a column."""
    if not any(found):
        raise checks.BadInputError(f"{source.name} is empty; expected a header with {', '.join(expected)}")
    if "\0" in "".join(found):
        raise checks.BadInputError(
            f"{source.name} is no UTF-8, the encoding that is expected; matinee data inspect finds out which it is"
        )
    if missing := [name for name in expected if name not in found]:
        raise checks.BadInputError(
            f"{source.name}, line 1: the column {', '.join(missing)} is missing (found: "
            f"{checks.shown(', '.join(found), printable=True)}); "
            f"expected {', '.join(expected)}, or other names in a data specification (--data-spec)"
        )


def _parquet(source: Source, file: IO[bytes]) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file)
        metadata = parquet.metadata
    except (pa.ArrowException, OSError) as error:
        raise checks.BadInputError(f"{source.name} is no readable Parquet file: {error}. Write it again") from error
    largest = max((metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)), default=0)
    if largest > _MOST_GROUP_ROWS:
        # A kilobyte can hold billions of equal rows.
        raise checks.BadInputError(
            f"{source.name} has a row group of {largest:,} rows; write it with {_MOST_GROUP_ROWS:,} or fewer a group"
        )
    return parquet
