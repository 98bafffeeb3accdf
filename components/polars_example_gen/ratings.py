"""Ratings: chunks of the table to checked Polars frames."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.polars_example_gen import checks
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import as_table, as_text, column_names, records
from components.polars_example_gen.source import Chunk, Source, chunks, count_lines, read_bytes, read_line
from schemas import features as f

COLUMNS = {"userId": f.USER_ID, "movieId": f.MOVIE_ID, "rating": f.RATING, "timestamp": f.TIMESTAMP}
"""MovieLens column -> feature."""
SCHEMA = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.RATING: pl.Float32, f.TIMESTAMP: pl.Int64}
"""Columns and types of a checked frame."""

_BOM = b"\xef\xbb\xbf"
_INDEX = "_index"
_MOST_GROUP_ROWS = 1 << 26
_BATCH_ROWS = 1 << 20
_MOST_EXACT = 1 << 53
"""From here on not every whole number is one of double precision."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The columns of a ratings table."""

    columns: tuple[str, ...]
    """Every column in the order of the file."""
    length: int
    """Length of a CSV header in bytes, byte-order mark and line end inside; 0 for Parquet."""
    has_rows: bool = True
    """Whether anything stands behind the header."""

    @property
    def has_text(self) -> bool:
        """Whether there are columns that may hold text, and so line ends inside quotes."""
        return not set(self.columns) <= set(COLUMNS)


def read_header(
    source: Source, max_line_bytes: int = ExampleGenConfig.max_line_bytes, may_be_empty: bool = False
) -> Header:
    """Read and check the column names of a file.

    Raises:
      BadInputError: The file is empty, a column is missing, there is no row, or it is no Parquet file, or one whose row
        groups are too large.
    """
    with source.open() as file:
        if source.format == "parquet":
            parquet = _parquet(source, file)
            header = Header(tuple(parquet.schema_arrow.names), 0, parquet.metadata.num_rows > 0)
        else:
            line = read_line(file, max_line_bytes)
            if len(line) == max_line_bytes:
                raise checks.BadInputError(
                    f"{source.name}, line 1: longer than {max_line_bytes:,} bytes; expected {', '.join(COLUMNS)}"
                )
            found = next(records([line.removeprefix(_BOM).decode("utf-8", "replace")]), None)
            header = Header(column_names(found), len(line), bool(file.read(1)))
    check_columns(source, header.columns, tuple(COLUMNS))
    if not (header.has_rows or may_be_empty):
        raise checks.BadInputError(f"{source.name} holds a header and no rows; expected at least one rating")
    return header


def read_headers(table: Source, max_line_bytes: int) -> dict[Source, Header]:
    """Read and check the column names of a table's files; of several some may have no rows.

    Raises:
      BadInputError: See `read_header`.
    """
    if not table.parts:
        return {table: read_header(table, max_line_bytes)}
    headers = {part: read_header(part, max_line_bytes, may_be_empty=True) for part in table.parts if part.size()}
    if not any(header.has_rows for header in headers.values()):
        raise checks.BadInputError(f"{table.name} holds no rows; expected at least one rating")
    return headers


def check_columns(source: Source, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise `BadInputError` if a table is empty or lacks a column."""
    if not any(found):
        raise checks.BadInputError(f"{source.name} is empty; expected a header with {', '.join(expected)}")
    if missing := [name for name in expected if name not in found]:
        raise checks.BadInputError(
            f"{source.name}, line 1: the column {', '.join(missing)} is missing (found: "
            f"{checks.shown(', '.join(found), printable=True)}); "
            f"expected {', '.join(expected)}"
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


def cut(source: Source, header: Header, chunk_bytes: int, max_line_bytes: int) -> Iterator[Chunk]:
    """Cut a table into chunks, none of which begins within quotes.

    Args:
      source: The table.
      header: Its columns.
      chunk_bytes: Length of a CSV chunk, about.
      max_line_bytes: Bound on a line.
    """
    if source.format == "parquet" or not header.has_text:
        yield from chunks(source, header.length, chunk_bytes)
        return
    begin, size = header.length, source.size()
    with source.open() as file:
        while begin < size:
            # The last chunk takes the rest, as in `chunks`.
            far = begin + 2 * chunk_bytes <= size
            end = _record_end(file, begin, begin + chunk_bytes, max_line_bytes) if far else size
            yield Chunk(source, begin, end)
            begin = end


def _record_end(file: IO[bytes], begin: int, wanted: int, max_line_bytes: int) -> int:
    """Return where the record ends that holds the byte before an offset, reading on from where a record begins."""
    file.seek(begin)
    data = file.read(wanted - begin)
    if not data.endswith(b"\n"):
        data += read_line(file, max_line_bytes)
    if b'"' not in data:
        return begin + len(data)
    file.seek(begin)
    lengths: list[int] = []

    def lines() -> Iterator[str]:
        while line := read_line(file, max_line_bytes):
            lengths.append(len(line))
            yield line.decode("latin-1")  # A character a byte; quotes and commas are the same in UTF-8.

    end, seen = begin, 0
    for record in records(lines()):
        end += sum(lengths[seen : record.line + record.lines])
        seen = record.line + record.lines
        if end >= wanted:
            break
    return end


def read_chunk(
    chunk: Chunk, header: Header, movie_ids: np.ndarray, max_line_bytes: int = ExampleGenConfig.max_line_bytes
) -> tuple[pl.DataFrame, checks.Report]:
    """Read one chunk, leaving out the rows that fail a check.

    Args:
      chunk: Part of the ratings table.
      header: Its columns.
      movie_ids: Every known movie id, sorted.
      max_line_bytes: Bound on a line.

    Returns:
      The good rows with the columns of `SCHEMA`, and the report of the checks.
    """
    if chunk.source.format == "parquet":
        return _read_row_group(chunk, movie_ids)
    data, begin = read_bytes(chunk, max_line_bytes)
    if not data:
        return pl.DataFrame(schema=SCHEMA), checks.Report()
    frame = _parse(data, header, SCHEMA)
    if frame is None:
        frame = _parse(data, header, None)
    if frame is not None and not _problems(frame, movie_ids).is_not_null().any():
        return frame, checks.Report(frame.height)
    return _read_records(data, begin, chunk.source, header, movie_ids)


def _parse(data: bytes, header: Header, types: Mapping[str, type[pl.DataType]] | None) -> pl.DataFrame | None:
    """Parse well-formed CSV lines; None if some line is not, or if there are quotes, of which Polars thinks otherwise.

    Args:
      data: Whole lines.
      header: Their columns.
      types: Of the wanted columns, as numbers are written; None reads them as text, and any whole number as one.
    """
    if b'"' in data or not data.endswith(b"\n"):
        return None
    names = [COLUMNS.get(name, name) for name in header.columns]
    schema = {name: (types or {}).get(name, pl.String) for name in names}
    try:
        frame = pl.read_csv(data, has_header=False, schema=schema)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    frame = frame.select(*SCHEMA) if types else _typed(frame.select(*SCHEMA))
    return None if sum(frame.null_count().row(0)) else frame


def whole_number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column of text or numbers as whole ones, where they are written as 7.0 too; null where they are not.

    Ids are floating where a program wrote the table that keeps missing ones so.
    """
    written = _without_spaces(name, dtype)
    number = written.cast(pl.Float64, strict=False)
    is_whole = (number == number.floor()) & (number.abs() < _MOST_EXACT)
    whole = pl.when(is_whole).then(number.cast(pl.Int64, strict=False))
    return whole if dtype.is_float() else pl.coalesce(written.cast(pl.Int64, strict=False), whole)


def _without_spaces(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).str.strip_chars() if dtype == pl.String else pl.col(name)


def _typed(raw: pl.DataFrame) -> pl.DataFrame:
    """Read texts, or Parquet's values, as what they stand for; null where they do not."""
    return raw.select(
        whole_number(name, raw.schema[name]).alias(name)
        if dtype.is_integer()
        else _without_spaces(name, raw.schema[name]).cast(dtype, strict=False)
        for name, dtype in SCHEMA.items()
    )


def _records(data: bytes, header: Header) -> pl.DataFrame:
    lines = io.StringIO(data.decode("utf-8", "replace"), newline="\n")
    return as_table(records(lines), header.columns, tuple(COLUMNS)).rename(COLUMNS)


def _read_records(
    data: bytes, begin: int, source: Source, header: Header, movie_ids: np.ndarray
) -> tuple[pl.DataFrame, checks.Report]:
    """Parse record by record, which is slower and knows where each bad row is."""
    raw = _records(data, header)
    typed = pl.concat([_typed(raw.select(*SCHEMA)), raw.select(pl.col("line").alias(_INDEX))], how="horizontal")
    problem = _problems(typed, movie_ids).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))
    if not data.endswith(b"\n") and typed.height:
        last, before = typed.height - 1, typed[f.TIMESTAMP][:-1].min()
        stamp = typed[f.TIMESTAMP][last]
        if problem[last] == checks.UNREADABLE or (before is not None and stamp is not None and stamp * 10 < before):
            problem = pl.concat([problem[:-1], pl.Series([checks.TRUNCATED])])
    return _keep_good(typed, problem, lambda bad: raw["text"].filter(bad).head(5), source, count_lines, begin)


def _batches(chunk: Chunk) -> Iterator[pl.DataFrame]:
    """Read a Parquet row group, which may be the whole file, a piece at a time.

    Column by column: this pyarrow may be older than Polars' Arrow interface allows.
    """
    with chunk.source.open() as file:
        batches = pq.ParquetFile(file).iter_batches(_BATCH_ROWS, row_groups=[chunk.start], columns=list(COLUMNS))
        for table in (pa.Table.from_batches([batch]) for batch in batches):
            columns = {name: _plain(table[name], chunk.source.name, name) for name in COLUMNS}
            yield pl.DataFrame(
                {
                    name: values.to_pylist() if pa.types.is_string(values.type) else values.to_numpy()
                    for name, values in columns.items()
                },
                nan_to_null=True,
            )


def _plain(values: pa.ChunkedArray, file: str, column: str) -> pa.ChunkedArray:
    """Turn what a Parquet column is written as into numbers or text; dates and times into Unix seconds.

    Raises:
      BadInputError: The type stands for no number.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type), file, column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):  # Without a zone it is taken for UTC's.
        return values.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_large_string(kind):
        return values.cast(pa.string())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)):
        raise checks.BadInputError(f"{file}: the column {column} has the type {kind}; write it as numbers")
    return values


def _read_row_group(chunk: Chunk, movie_ids: np.ndarray) -> tuple[pl.DataFrame, checks.Report]:
    with chunk.source.open() as file:
        metadata = pq.ParquetFile(file).metadata
        first = sum(metadata.row_group(i).num_rows for i in range(chunk.start))
    frames, reports = [pl.DataFrame(schema=SCHEMA)], []
    for raw in _batches(chunk):
        frame, report = _check_batch(raw, first, chunk.source, movie_ids)
        frames.append(frame)
        reports.append(report)
        first += raw.height
    return pl.concat(frames), checks.merge_reports(reports)


def _check_batch(
    raw: pl.DataFrame, first: int, source: Source, movie_ids: np.ndarray
) -> tuple[pl.DataFrame, checks.Report]:
    typed = _typed(raw.select(pl.col(name).alias(feature) for name, feature in COLUMNS.items())).with_row_index(_INDEX)
    problem = _problems(typed, movie_ids).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))
    return _keep_good(typed, problem, lambda bad: as_text(raw.filter(bad).head(5)), source, lambda _, row: row, first)


def _any_null(frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.any_horizontal(pl.col(*SCHEMA).is_null())).to_series()


def _problems(frame: pl.DataFrame, movie_ids: np.ndarray) -> pl.Series:
    """Name the first problem of each row's values, null for a good row."""
    ids = frame[f.MOVIE_ID].fill_null(-1).to_numpy()
    place = np.minimum(np.searchsorted(movie_ids, ids), len(movie_ids) - 1)
    known = pl.Series(movie_ids[place] == ids)
    halves = pl.col(f.RATING) / f.RATING_STEP
    on_scale = pl.col(f.RATING).is_between(f.RATING_MIN, f.RATING_MAX) & (halves == halves.round())
    return frame.select(
        pl.when(pl.min_horizontal(f.USER_ID, f.MOVIE_ID, f.TIMESTAMP) < 0)
        .then(pl.lit(checks.NEGATIVE_ID))
        .when(pl.col(f.TIMESTAMP) >= checks.TIME_LIMIT_S)
        .then(pl.lit(checks.NO_TIME))
        .when(~on_scale)
        .then(pl.lit(checks.OFF_SCALE))
        .when(~known)
        .then(pl.lit(checks.UNKNOWN_MOVIE))
    ).to_series()


def _keep_good(
    typed: pl.DataFrame,
    problem: pl.Series,
    text: Callable[[pl.Series], pl.Series],
    source: Source,
    lines_before: Callable[[Source, int], int],
    offset: int,
) -> tuple[pl.DataFrame, checks.Report]:
    bad = problem.is_not_null()
    if not bad.any():
        return typed.select(*SCHEMA), checks.Report(typed.height)
    counts = dict(problem.drop_nulls().value_counts(name="n").iter_rows())
    first_line = lines_before(source, offset) + 1
    rows = zip(problem.filter(bad).head(5), typed[_INDEX].filter(bad).head(5), text(bad), strict=True)
    samples = tuple(
        checks.BadRow(p, source.name, first_line + i, checks.shown(v), ",".join(COLUMNS)) for p, i, v in rows
    )
    return typed.filter(~bad).select(*SCHEMA), checks.Report(typed.height, counts, samples)


def drop_duplicates(ratings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep each user's latest rating of a movie, the higher one of two at the same time.

    Returns:
      The ratings without duplicates, sorted by user and movie, and the rows that were left out.
    """
    ordered = ratings.sort(f.USER_ID, f.MOVIE_ID, f.TIMESTAMP, f.RATING)
    last = pl.struct(f.USER_ID, f.MOVIE_ID) != pl.struct(f.USER_ID, f.MOVIE_ID).shift(-1)
    keep = ordered.select(last.fill_null(True)).to_series()
    return ordered.filter(keep), ordered.filter(~keep)


def locate_duplicate(headers: Mapping[Source, Header], user_id: int, movie_id: int, chunk_bytes: int) -> checks.BadRow:
    """Find the second row of a (user, movie) pair, to name its line in an error.

    Raises:
      RuntimeError: The table holds no such second row.
    """
    found = 0
    for source, header in headers.items():
        line = 0
        for chunk in cut(source, header, chunk_bytes, chunk_bytes):
            if source.format == "csv":
                data, begin = read_bytes(chunk, chunk_bytes)
                raw, line = _records(data, header), count_lines(source, begin)
            else:
                table = pl.concat(_batches(chunk)).rename(COLUMNS)
                raw = table.with_columns(text=as_text(table)).with_row_index("line")
            keys = _typed(raw.select(*SCHEMA))
            for place in ((keys[f.USER_ID] == user_id) & (keys[f.MOVIE_ID] == movie_id)).arg_true():
                found += 1
                if found == 2:
                    number, text = line + raw["line"][place] + 1, checks.shown(raw["text"][place])
                    return checks.BadRow(checks.DUPLICATE, source.name, number, text)
            line += raw.height
    names = ", ".join(source.name for source in headers)
    raise RuntimeError(f"{names}: no second rating of movie {movie_id} by user {user_id}")
