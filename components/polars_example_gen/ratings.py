"""Ratings: chunks of the table to checked Polars frames."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.polars_example_gen import checks
from components.polars_example_gen.cells import seconds, text_key, whole_number, without_spaces
from components.polars_example_gen.chunks import Chunk, count_lines, cut, read_bytes
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import as_table, as_text, records
from components.polars_example_gen.header import SCHEMA, Header, schema_of
from components.polars_example_gen.source import Source, dialect_of
from schemas import features as f
from schemas.data_spec import ISO, SECONDS_OF, DataSpec
from schemas.domain import Scale
from schemas.ids import numbers_of, places_of
from schemas.ingest import USER_KEY

_INDEX = "_index"
_BATCH_ROWS = 1 << 20
_ROUNDING, _NEAR = 1e-6, 1e-3
"""Parts of a step by which a rating in double and in single precision may miss the scale."""


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
    if frame is not None:
        problem = _problems(frame, movie_ids, header.spec)
        if not problem.is_not_null().any():
            return frame, checks.Report(frame.height)
        if not _is_bad(problem).any():
            return frame.filter(problem.is_null()), checks.Report(frame.height)
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
    if dtype == pl.String:
        written = written.str.replace(",", ".", literal=True)  # The decimal mark of most of Europe.
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
    problem = _problems(typed, movie_ids, header.spec).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))
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
    problem = _problems(typed, movie_ids, header.spec).zip_with(~_any_null(typed), pl.Series([checks.UNREADABLE]))

    def text(bad: pl.Series) -> pl.Series:
        return as_text(raw.filter(bad).head(5))

    return _keep_good(_Rows(typed, problem, text, source, lambda _, row: row, first), header)


def _any_null(frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.any_horizontal(pl.col(*SCHEMA).is_null())).to_series()


def _is_bad(problem: pl.Series) -> pl.Series:
    return problem.is_not_null() & (problem.fill_null(checks.UNRATED) != checks.UNRATED)


def _problems(frame: pl.DataFrame, movie_ids: np.ndarray, spec: DataSpec) -> pl.Series:
    """Name the first problem of each row's values, null for a good row."""
    scale, unrated = spec.scale, spec.ratings.unrated
    ids = frame[f.MOVIE_ID].fill_null(-1).to_numpy()
    known = pl.Series(places_of(ids, movie_ids) >= 0)
    steps = (pl.col(f.RATING) - f.RATING_MIN) / scale.star_step
    on_scale = pl.col(f.RATING).is_between(f.RATING_MIN, f.RATING_MAX)
    on_scale &= (steps == steps.round()) if scale.is_stars else ((steps - steps.round()).abs() < _NEAR)
    left_out = pl.lit(False) if unrated is None else (pl.col(f.RATING) - scale.to_stars(unrated)).abs() < _NEAR
    return frame.select(
        pl.when(left_out)
        .then(pl.lit(checks.UNRATED))
        .when(pl.min_horizontal(f.USER_ID, f.MOVIE_ID, f.TIMESTAMP) < 0)
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
    typed, bad, columns = rows.typed, _is_bad(rows.problem), list(header.schema)
    good = typed.filter(rows.problem.is_null()).select(columns)
    if not bad.any():
        return good, checks.Report(typed.height)
    counts = dict(rows.problem.filter(bad).value_counts(name="n").iter_rows())
    first_line = rows.lines_before(rows.source, rows.offset) + 1
    found = zip(rows.problem.filter(bad).head(5), typed[_INDEX].filter(bad).head(5), rows.text(bad), strict=True)
    columns_of = _wrong_columns(typed.filter(bad).head(5), header)
    samples = tuple(
        checks.BadRow(p, rows.source.name, first_line + i, checks.shown(v), _expected(p, header.spec), column)
        for (p, i, v), column in zip(found, columns_of, strict=True)
    )
    return good, checks.Report(typed.height, counts, samples)


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
