"""Ratings: chunks of the table to checked Polars frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.polars_example_gen import checks
from components.polars_example_gen.config import ExampleGenConfig
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


@dataclasses.dataclass(frozen=True)
class Header:
    """The columns of a ratings table."""

    columns: tuple[str, ...]
    """Every column in the order of the file."""
    length: int
    """Length of a CSV header in bytes, byte-order mark and line end inside; 0 for Parquet."""


def read_header(source: Source, max_line_bytes: int = ExampleGenConfig.max_line_bytes) -> Header:
    """Read and check the column names.

    Raises:
      BadInputError: The file is empty, a column is missing, there is no row, or it is no Parquet file, or one whose row
        groups are too large.
    """
    with source.open() as file:
        if source.format == "parquet":
            metadata = _metadata(source, file)
            header, rows = Header(tuple(metadata.schema.names), 0), metadata.num_rows
        else:
            line = read_line(file, max_line_bytes)
            if len(line) == max_line_bytes:
                raise checks.BadInputError(
                    f"{source.name}, line 1: longer than {max_line_bytes:,} bytes; expected {', '.join(COLUMNS)}"
                )
            names = line.removeprefix(_BOM).decode("utf-8", "replace").strip()
            header = Header(tuple(name.strip().strip('"') for name in names.split(",")), len(line))
            rows = len(file.read(1))
    check_columns(source, header.columns, tuple(COLUMNS))
    if not rows:
        raise checks.BadInputError(f"{source.name} holds a header and no rows; expected at least one rating")
    return header


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


def _metadata(source: Source, file: IO[bytes]) -> pq.FileMetaData:
    try:
        metadata = pq.ParquetFile(file).metadata
    except (pa.ArrowException, OSError) as error:
        raise checks.BadInputError(f"{source.name} is no readable Parquet file: {error}. Write it again") from error
    largest = max((metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)), default=0)
    if largest > _MOST_GROUP_ROWS:
        # A kilobyte can hold billions of equal rows.
        raise checks.BadInputError(
            f"{source.name} has a row group of {largest:,} rows; write it with {_MOST_GROUP_ROWS:,} or fewer a group"
        )
    return metadata


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
    whole = data.endswith(b"\n")
    if whole and (frame := _parse(data, header)) is not None and not _problems(frame, movie_ids).is_not_null().any():
        return frame, checks.Report(frame.height)
    return _read_lines(data, begin, chunk.source, header, movie_ids)


def _parse(data: bytes, header: Header) -> pl.DataFrame | None:
    """Parse well-formed CSV lines; None if some line is not."""
    schema = {COLUMNS.get(name, name): SCHEMA.get(COLUMNS.get(name, ""), pl.String) for name in header.columns}
    try:
        frame = pl.read_csv(data, has_header=False, schema=schema)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    frame = frame.select(*SCHEMA)
    return None if sum(frame.null_count().row(0)) else frame


def _read_lines(
    data: bytes, begin: int, source: Source, header: Header, movie_ids: np.ndarray
) -> tuple[pl.DataFrame, checks.Report]:
    """Parse line by line, which is slower and knows where each bad row is."""
    lines = pl.Series("line", data.decode("utf-8", "replace").split("\n")).str.strip_chars_end("\r")
    dtypes = {name: SCHEMA[feature] for name, feature in COLUMNS.items()}
    typed = (
        _fields(lines, header, dtypes)
        .rename(COLUMNS)
        .with_columns(lines, (lines.str.count_matches(",") + 1 != len(header.columns)).alias("ragged"))
        .with_row_index(_INDEX)
        .filter(pl.col("line") != "")
    )
    problem = _problems(typed, movie_ids)
    problem = problem.zip_with(~(typed["ragged"] | _any_null(typed)), pl.Series([checks.UNREADABLE]))
    if not data.endswith(b"\n") and typed.height:
        last, before = typed.height - 1, typed[f.TIMESTAMP][:-1].min()
        stamp = typed[f.TIMESTAMP][last]
        if problem[last] == checks.UNREADABLE or (before is not None and stamp is not None and stamp * 10 < before):
            problem = pl.concat([problem[:-1], pl.Series([checks.TRUNCATED])])
    return _keep_good(typed, problem, lambda bad: typed["line"].filter(bad).head(5), source, count_lines, begin)


def _fields(lines: pl.Series, header: Header, dtypes: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Split CSV lines and cast the wanted columns; null where a field is missing or does not parse."""
    fields = lines.to_frame("line").select(pl.col("line").str.replace_all('"', "").str.split(","))
    return fields.select(
        pl.col("line").list.get(header.columns.index(name), null_on_oob=True).cast(dtype, strict=False).alias(name)
        for name, dtype in dtypes.items()
    )


def _batches(chunk: Chunk) -> Iterator[pl.DataFrame]:
    """Read a Parquet row group, which may be the whole file, a piece at a time.

    Column by column: this pyarrow may be older than Polars' Arrow interface allows.
    """
    with chunk.source.open() as file:
        batches = pq.ParquetFile(file).iter_batches(_BATCH_ROWS, row_groups=[chunk.start], columns=list(COLUMNS))
        for table in (pa.Table.from_batches([batch]) for batch in batches):
            yield pl.DataFrame(
                {
                    name: table[name].to_pylist() if pa.types.is_string(table[name].type) else table[name].to_numpy()
                    for name in COLUMNS
                },
                nan_to_null=True,
            )


def _as_text(raw: pl.DataFrame) -> pl.Series:
    return raw.select(pl.concat_str(pl.col(*COLUMNS).cast(pl.String).fill_null(""), separator=",")).to_series()


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
    typed = raw.select(
        # A float column of ids is what a null in it makes of integers; a fraction in it is no id.
        pl.when(pl.col(name).cast(pl.Float64, strict=False).floor() == pl.col(name).cast(pl.Float64, strict=False))
        .then(pl.col(name).cast(SCHEMA[feature], strict=False))
        .alias(feature)
        if SCHEMA[feature].is_integer()
        else pl.col(name).cast(SCHEMA[feature], strict=False).alias(feature)
        for name, feature in COLUMNS.items()
    ).with_row_index(_INDEX)
    problem = _problems(typed, movie_ids).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))
    return _keep_good(typed, problem, lambda bad: _as_text(raw.filter(bad).head(5)), source, lambda _, row: row, first)


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


def locate_duplicate(source: Source, header: Header, user_id: int, movie_id: int, chunk_bytes: int) -> checks.BadRow:
    """Find the second row of a (user, movie) pair, to name its line in an error.

    Raises:
      RuntimeError: The table holds no such second row.
    """
    line, found = 1 if source.format == "csv" else 0, 0
    for chunk in chunks(source, header.length, chunk_bytes):
        if source.format == "csv":
            lines = pl.Series(
                read_bytes(chunk, chunk_bytes)[0].decode("utf-8", "replace").splitlines(), dtype=pl.String
            )
            raw = _fields(lines, header, {"userId": pl.String, "movieId": pl.String}).with_columns(line=lines)
        else:
            raw = pl.concat(_batches(chunk))
            raw = raw.with_columns(line=_as_text(raw))
        keys = raw.select(pl.col("userId", "movieId").cast(pl.Int64, strict=False))
        for place in ((keys["userId"] == user_id) & (keys["movieId"] == movie_id)).arg_true():
            found += 1
            if found == 2:
                return checks.BadRow(checks.DUPLICATE, source.name, line + place + 1, checks.shown(raw["line"][place]))
        line += raw.height
    raise RuntimeError(f"{source.name} holds no second rating of movie {movie_id} by user {user_id}")
