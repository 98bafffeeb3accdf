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
from components.polars_example_gen.cells import seconds, text_key, whole_number, without_spaces
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import Dialect, as_table, as_text, column_names, records
from components.polars_example_gen.source import (
    Chunk,
    Source,
    chunks,
    count_lines,
    dialect_of,
    read_bytes,
    read_line,
)
from schemas import features as f
from schemas.data_spec import ISO, SECONDS_OF, DataSpec, named
from schemas.domain import Scale
from schemas.ids import numbers_of
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
_INDEX = "_index"
_MOST_GROUP_ROWS = 1 << 26
_BATCH_ROWS = 1 << 20
_ROUNDING, _NEAR = 1e-6, 1e-3
"""Parts of a step by which a rating in double and in single precision may miss the scale."""


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
    begin, size, dialect = header.length, source.size(), dialect_of(header.spec.ratings)
    with source.open() as file:
        while begin < size:
            # The last chunk takes the rest, as in `chunks`.
            far = begin + 2 * chunk_bytes <= size
            end = _record_end(file, begin, begin + chunk_bytes, max_line_bytes, dialect) if far else size
            yield Chunk(source, begin, end)
            begin = end


def _record_end(file: IO[bytes], begin: int, wanted: int, max_line_bytes: int, dialect: Dialect) -> int:
    """Return where the record ends that holds the byte before an offset, reading on from where a record begins."""
    file.seek(begin)
    data = file.read(wanted - begin)
    if not data.endswith(b"\n"):
        data += read_line(file, max_line_bytes)
    if not any(mark.encode() in data for mark in dialect.marks):
        return begin + len(data)
    file.seek(begin)
    lengths: list[int] = []

    def lines() -> Iterator[str]:
        while line := read_line(file, max_line_bytes):
            lengths.append(len(line))
            yield line.decode("latin-1")  # A character a byte; quotes and commas are the same in UTF-8.

    end, seen = begin, 0
    for record in records(lines(), dialect):
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
        return _read_row_group(chunk, header, movie_ids)
    data, begin = read_bytes(chunk, max_line_bytes)
    if not data:
        return pl.DataFrame(schema=header.schema), checks.Report()
    frame = _parse(data, header, SCHEMA) if _is_plain(header.spec) else None
    if frame is None:
        frame = _parse(data, header, None)
    if frame is not None and not _problems(frame, movie_ids, header.spec.scale).is_not_null().any():
        return frame, checks.Report(frame.height)
    return _read_records(data, begin, chunk.source, header, movie_ids)


def _is_plain(spec: DataSpec) -> bool:
    """Whether the columns hold what a checked frame does, as a parser of CSV reads it."""
    ratings = spec.ratings
    return (
        (ratings.user_ids, spec.items.item_ids, ratings.time_format) == ("number", "number", "s")
        and ratings.rating is not None
        and ratings.time is not None
        and spec.scale.is_stars
    )


def _parse(data: bytes, header: Header, types: Mapping[str, type[pl.DataType]] | None) -> pl.DataFrame | None:
    """Parse well-formed CSV lines; None if some line is not, or if there are quotes, of which Polars thinks otherwise.

    Args:
      data: Whole lines.
      header: Their columns.
      types: Of the wanted columns, as numbers are written; None reads them as text, and any whole number as one.
    """
    dialect = dialect_of(header.spec.ratings)
    if any(mark.encode() in data for mark in dialect.marks) or not data.endswith(b"\n"):
        return None
    features = header.features
    names = [features.get(name, f"_{name}") for name in header.columns]
    schema = {name: (types or {}).get(name, pl.String) for name in names}
    try:
        frame = pl.read_csv(
            data, has_header=False, schema=schema, separator=dialect.separator, quote_char=dialect.quote or None
        )
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    frame = frame.select(*SCHEMA) if types else _typed(frame.select(*features.values()), header.spec)
    return None if sum(frame.null_count().row(0)) else frame


def _typed(raw: pl.DataFrame, spec: DataSpec) -> pl.DataFrame:
    """Read texts, or Parquet's values, as what they stand for; null where they do not.

    Args:
      raw: Columns by the names of their features.
      spec: What they hold.
    """
    types = raw.schema
    columns = {}
    if spec.ratings.user_ids == "text":
        keys = raw.select(text_key(f.USER_ID)).to_series()
        columns[f.USER_ID], columns[USER_KEY] = numbers_of(keys), keys
    else:
        columns[f.USER_ID] = raw.select(whole_number(f.USER_ID, types[f.USER_ID])).to_series()
    if spec.items.item_ids == "text":
        columns[f.MOVIE_ID] = numbers_of(raw.select(text_key(f.MOVIE_ID)).to_series())
    else:
        columns[f.MOVIE_ID] = raw.select(whole_number(f.MOVIE_ID, types[f.MOVIE_ID])).to_series()
    rows = pl.int_range(raw.height)
    stars = pl.lit(f.RATING_MAX) + 0 * rows if spec.ratings.rating is None else _stars(types[f.RATING], spec.scale)
    time = 0 * rows if not spec.timed else seconds(f.TIMESTAMP, types[f.TIMESTAMP], spec.ratings.time_format)
    for name, values in ((f.RATING, stars), (f.TIMESTAMP, time)):
        columns[name] = raw.select(values.cast(SCHEMA[name]).alias(name)).to_series()
    return pl.DataFrame({name: columns[name].alias(name) for name in schema_of(spec)})


def _stars(dtype: pl.DataType, scale: Scale) -> pl.Expr:
    """Read ratings as stars; those of the scale exactly, so that they can be told from others."""
    written = without_spaces(f.RATING, dtype)
    if scale.is_stars:
        return written.cast(pl.Float32, strict=False)
    steps = (written.cast(pl.Float64, strict=False) - scale.min) / scale.step
    nearest = steps.round()
    return pl.when((steps - nearest).abs() < _ROUNDING).then(nearest).otherwise(steps) * scale.star_step + f.RATING_MIN


def _records(data: bytes, header: Header) -> pl.DataFrame:
    lines = io.StringIO(data.decode("utf-8", "replace"), newline="\n")
    found = records(lines, dialect_of(header.spec.ratings))
    return as_table(found, header.columns, tuple(header.features)).rename(header.features)


def _read_records(
    data: bytes, begin: int, source: Source, header: Header, movie_ids: np.ndarray
) -> tuple[pl.DataFrame, checks.Report]:
    """Parse record by record, which is slower and knows where each bad row is."""
    raw = _records(data, header)
    values = _typed(raw.select(*header.features.values()), header.spec)
    typed = pl.concat([values, raw.select(pl.col("line").alias(_INDEX))], how="horizontal")
    problem = _problems(typed, movie_ids, header.spec.scale).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))
    if not data.endswith(b"\n") and typed.height:
        last, before = typed.height - 1, typed[f.TIMESTAMP][:-1].min()
        stamp = typed[f.TIMESTAMP][last]
        if problem[last] == checks.UNREADABLE or (before is not None and stamp is not None and stamp * 10 < before):
            problem = pl.concat([problem[:-1], pl.Series([checks.TRUNCATED])])
    found = _Rows(typed, problem, lambda bad: raw["text"].filter(bad).head(5), source, count_lines, begin)
    return _keep_good(found, header)


def _batches(chunk: Chunk, header: Header) -> Iterator[pl.DataFrame]:
    """Read a Parquet row group, which may be the whole file, a piece at a time: columns by their features' names.

    Column by column: this pyarrow may be older than Polars' Arrow interface allows.
    """
    with chunk.source.open() as file:
        batches = pq.ParquetFile(file).iter_batches(
            _BATCH_ROWS, row_groups=[chunk.start], columns=list(header.features)
        )
        for table in (pa.Table.from_batches([batch]) for batch in batches):
            plain = {
                feature: _plain(table[name], chunk.source.name, name, header.spec.ratings.time_format)
                for name, feature in header.features.items()
            }
            yield pl.DataFrame(
                {
                    name: values.to_pylist() if pa.types.is_string(values.type) else values.to_numpy()
                    for name, values in plain.items()
                },
                nan_to_null=True,
            )


def _plain(values: pa.ChunkedArray, file: str, column: str, time_format: str) -> pa.ChunkedArray:
    """Turn what a Parquet column is written as into numbers or text; dates and times into the unit of other times.

    Raises:
      BadInputError: The type stands for no number.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type), file, column, time_format)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):  # Without a zone it is taken for UTC's.
        unit = time_format if time_format in SECONDS_OF else "s"
        return values.cast(pa.timestamp(unit, getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_large_string(kind):
        return values.cast(pa.string())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)):
        raise checks.BadInputError(f"{file}: the column {column} has the type {kind}; write it as numbers")
    return values


def _read_row_group(chunk: Chunk, header: Header, movie_ids: np.ndarray) -> tuple[pl.DataFrame, checks.Report]:
    with chunk.source.open() as file:
        metadata = pq.ParquetFile(file).metadata
        first = sum(metadata.row_group(i).num_rows for i in range(chunk.start))
    frames, reports = [pl.DataFrame(schema=header.schema)], []
    for raw in _batches(chunk, header):
        frame, report = _check_batch(raw, first, chunk.source, header, movie_ids)
        frames.append(frame)
        reports.append(report)
        first += raw.height
    return pl.concat(frames), checks.merge_reports(reports)


def _check_batch(
    raw: pl.DataFrame, first: int, source: Source, header: Header, movie_ids: np.ndarray
) -> tuple[pl.DataFrame, checks.Report]:
    typed = _typed(raw, header.spec).with_row_index(_INDEX)
    problem = _problems(typed, movie_ids, header.spec.scale).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))

    def text(bad: pl.Series) -> pl.Series:
        return as_text(raw.filter(bad).head(5))

    return _keep_good(_Rows(typed, problem, text, source, lambda _, row: row, first), header)


def _any_null(frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.any_horizontal(pl.col(*SCHEMA).is_null())).to_series()


def _problems(frame: pl.DataFrame, movie_ids: np.ndarray, scale: Scale) -> pl.Series:
    """Name the first problem of each row's values, null for a good row."""
    ids = frame[f.MOVIE_ID].fill_null(-1).to_numpy()
    place = np.minimum(np.searchsorted(movie_ids, ids), len(movie_ids) - 1)
    known = pl.Series(movie_ids[place] == ids)
    steps = (pl.col(f.RATING) - f.RATING_MIN) / scale.star_step
    on_scale = pl.col(f.RATING).is_between(f.RATING_MIN, f.RATING_MAX)
    on_scale &= (steps == steps.round()) if scale.is_stars else ((steps - steps.round()).abs() < _NEAR)
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


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows that were looked at, and how to show the bad ones."""

    typed: pl.DataFrame
    problem: pl.Series
    text: Callable[[pl.Series], pl.Series]
    """Which rows are bad -> the text of the first five."""
    source: Source
    lines_before: Callable[[Source, int], int]
    offset: int


def _keep_good(rows: _Rows, header: Header) -> tuple[pl.DataFrame, checks.Report]:
    typed, bad, columns = rows.typed, rows.problem.is_not_null(), list(header.schema)
    if not bad.any():
        return typed.select(columns), checks.Report(typed.height)
    counts = dict(rows.problem.drop_nulls().value_counts(name="n").iter_rows())
    first_line = rows.lines_before(rows.source, rows.offset) + 1
    found = zip(rows.problem.filter(bad).head(5), typed[_INDEX].filter(bad).head(5), rows.text(bad), strict=True)
    columns_of = _wrong_columns(typed.filter(bad).head(5), header)
    samples = tuple(
        checks.BadRow(p, rows.source.name, first_line + i, checks.shown(v), _expected(p, header.spec), column)
        for (p, i, v), column in zip(found, columns_of, strict=True)
    )
    return typed.filter(~bad).select(columns), checks.Report(typed.height, counts, samples)


def _wrong_columns(typed: pl.DataFrame, header: Header) -> list[str]:
    """Name the column that is wrong of each bad row; nothing where there is not one."""
    columns = {feature: column for column, feature in header.features.items()}
    found = []
    for row in typed.iter_rows(named=True):
        wrong = [columns[name] for name in columns if row[name] is None]
        found.append(wrong[0] if len(wrong) == 1 else "")
    return found


def _expected(problem: str, spec: DataSpec) -> str:
    """Say what was expected in place of a bad row."""
    if problem == checks.OFF_SCALE:
        return str(spec.scale)
    if problem == checks.NO_TIME:
        form = spec.ratings.time_format
        units = {"s": "Unix seconds; divide milliseconds by 1,000", "ms": "milliseconds", "us": "microseconds"}
        return units.get(form, "a date" if form == ISO or "%" in form else "nanoseconds")
    return ",".join(spec.ratings.columns)


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
                table = pl.concat(_batches(chunk, header))
                raw = table.with_columns(text=as_text(table)).with_row_index("line")
            keys = _typed(raw.select(*header.features.values()), header.spec)
            for place in ((keys[f.USER_ID] == user_id) & (keys[f.MOVIE_ID] == movie_id)).arg_true():
                found += 1
                if found == 2:
                    number, text = line + raw["line"][place] + 1, checks.shown(raw["text"][place])
                    return checks.BadRow(checks.DUPLICATE, source.name, number, text)
            line += raw.height
    names = ", ".join(source.name for source in headers)
    raise RuntimeError(f"{names}: no second rating of movie {movie_id} by user {user_id}")
