"""Movies: the movies table to a checked catalogue with years and genre vectors."""

from __future__ import annotations

import io

import polars as pl

from components.polars_example_gen import checks
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import as_table, as_text, column_names, records
from components.polars_example_gen.movie_features import genre_matrix
from components.polars_example_gen.ratings import check_columns, whole_number
from components.polars_example_gen.source import Source
from schemas import features as f
from schemas.ingest import GENRE_NAMES, TITLE, YEAR

COLUMNS = ("movieId", "title", "genres")
"""Columns of MovieLens' table."""

_YEAR_PATTERN = r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$"


def read_movies(
    source: Source, max_bytes: int = ExampleGenConfig.max_movies_bytes
) -> tuple[pl.DataFrame, checks.Report]:
    """Read the movies table.

    Args:
      source: CSV or Parquet with movieId, title and genres joined by |.
      max_bytes: Largest table.

    Returns:
      The catalogue, sorted by movie: `movie_id` Int64, `title`, `genres` List(String), `year` Int32 or null,
      `movie_year` Float32 (imputed by the median), `movie_genres` List(Float32), one each genre. And
      the checks' report.

    Raises:
      BadInputError: The table is empty, too large, unreadable, or lacks a column.
    """
    raw = _read(source, max_bytes)
    typed = raw.with_columns(
        whole_number("movieId", raw.schema["movieId"]).alias(f.MOVIE_ID),
        pl.col("genres").fill_null(f.NO_GENRES).str.split("|").alias(GENRE_NAMES),
        pl.col("title").fill_null("").alias(TITLE),
    )
    unknown = pl.col(GENRE_NAMES).list.eval(~pl.element().is_in(f.GENRES)).list.any()
    problem = typed.select(
        pl.when(pl.col("truncated"))
        .then(pl.lit(checks.TRUNCATED))
        .when(pl.col(f.MOVIE_ID).is_null() | (pl.col(TITLE) == ""))
        .then(pl.lit(checks.UNREADABLE))
        .when(pl.col(f.MOVIE_ID) < 0)
        .then(pl.lit(checks.NEGATIVE_ID))
        .when(~pl.col(f.MOVIE_ID).is_first_distinct())
        .then(pl.lit(checks.DUPLICATE_MOVIE))
        .when(unknown)
        .then(pl.lit(checks.UNKNOWN_GENRE))
    ).to_series()
    report = _report(raw, problem)
    good = typed.filter(problem.is_null() | (problem == checks.UNKNOWN_GENRE))
    if not good.height:
        raise checks.BadInputError(f"{source.name} holds no movie; expected at least one row. {report.samples[0]}")
    known = good.with_columns(pl.col(GENRE_NAMES).list.filter(pl.element().is_in(f.GENRES)))
    return _catalogue(known), report


def _catalogue(movies: pl.DataFrame) -> pl.DataFrame:
    year = pl.col(TITLE).str.extract(_YEAR_PATTERN).cast(pl.Int32)
    plausible = pl.when(year.is_between(f.YEAR_MIN, f.YEAR_MAX)).then(year)
    frame = movies.select(f.MOVIE_ID, TITLE, GENRE_NAMES, plausible.alias(YEAR)).sort(f.MOVIE_ID)
    middle = frame[YEAR].median()
    return frame.with_columns(
        pl.col(YEAR).cast(pl.Float32).fill_null(2000.0 if middle is None else middle).alias(f.MOVIE_YEAR),
        pl.Series(f.MOVIE_GENRES, genre_matrix(frame[GENRE_NAMES])).cast(pl.List(pl.Float32)),
    )


def _read(table: Source, max_bytes: int) -> pl.DataFrame:
    """Read the files of a table as text: `file`, `line`, `text`, the columns, and whether a row is `truncated`."""
    if table.size() > max_bytes:
        raise checks.BadInputError(
            f"{table.name} has more than {max_bytes:,} bytes. Is it a movies table? If so, raise --max-movies-bytes"
        )
    found = [_read_file(file) for file in table.files if file.size() or not table.parts]
    if not any(frame.height for frame in found):
        raise checks.BadInputError(f"{table.name} holds a header and no rows; expected at least one movie")
    return pl.concat(found)


def _read_file(source: Source) -> pl.DataFrame:
    with source.open() as file:
        data = file.read()
    if source.format == "parquet":
        try:
            raw = pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).split("\n", 1)[0]
            raise checks.BadInputError(f"{source.name} is no readable Parquet file: {reason}. Write it again") from None
        check_columns(source, tuple(raw.columns), COLUMNS)
        columns = _written(source, raw.select(COLUMNS))
        found = columns.with_columns(text=as_text(columns), truncated=pl.lit(False)).with_row_index("line", 1)
    else:
        found = _parse(source, data)
    return found.select(pl.lit(source.name).alias("file"), pl.col("line").cast(pl.Int64), "text", *COLUMNS, "truncated")


def _written(source: Source, table: pl.DataFrame) -> pl.DataFrame:
    """Turn a Parquet table's columns into text, lists of genres joined by |."""
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.List) and name == "genres":
            table = table.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join("|"))
        elif dtype.is_nested() or dtype == pl.Binary:
            raise checks.BadInputError(f"{source.name}: the column {name} has the type {dtype}; write it as text")
    return table.with_columns(pl.all().cast(pl.String))


def _parse(source: Source, data: bytes) -> pl.DataFrame:
    """Part a CSV table into records: `line`, `text`, the columns as text, and whether the end of a row is missing."""
    lines = records(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""))
    names = column_names(next(lines, None))
    check_columns(source, names, COLUMNS)
    found = as_table(lines, names, COLUMNS)
    is_last = pl.int_range(pl.len()) == pl.len() - 1
    torn = pl.col("movieId").is_null() & is_last & (not data.endswith((b"\n", b"\r")))
    return found.with_columns(pl.col("line") + 1, truncated=torn)


def _report(raw: pl.DataFrame, problem: pl.Series) -> checks.Report:
    bad = problem.is_not_null()
    places = raw.select("file", "line", "text").filter(bad).head(5).rows()
    samples = tuple(
        checks.BadRow(name, file, line, checks.shown(text), ",".join(COLUMNS))
        for name, (file, line, text) in zip(problem.filter(bad)[:5], places, strict=True)
    )
    counts = dict(problem.drop_nulls().value_counts(name="n").iter_rows())
    return checks.Report(raw.height, counts, samples)
