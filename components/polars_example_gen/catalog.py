"""Movies: the movies table to a checked catalogue with years and genre vectors."""

from __future__ import annotations

import io

import polars as pl

from components.polars_example_gen import checks
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.movie_features import genre_matrix
from components.polars_example_gen.ratings import check_columns
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
    number = pl.col("movieId").cast(pl.Int64, strict=False)
    typed = raw.with_row_index("_row").with_columns(
        number.alias(f.MOVIE_ID),
        pl.col("genres").fill_null(f.NO_GENRES).str.split("|").alias(GENRE_NAMES),
        pl.col("title").fill_null("").alias(TITLE),
    )
    unknown = pl.col(GENRE_NAMES).list.eval(~pl.element().is_in(f.GENRES)).list.any()
    problem = typed.select(
        pl.when(pl.col(f.MOVIE_ID).is_null())
        .then(pl.lit(checks.UNREADABLE))
        .when(pl.col(f.MOVIE_ID) < 0)
        .then(pl.lit(checks.NEGATIVE_ID))
        .when(~pl.col(f.MOVIE_ID).is_first_distinct())
        .then(pl.lit(checks.DUPLICATE_MOVIE))
        .when(unknown)
        .then(pl.lit(checks.UNKNOWN_GENRE))
    ).to_series()
    report = _report(source, raw, problem)
    good = typed.filter(problem.is_null() | (problem == checks.UNKNOWN_GENRE))
    if not good.height:
        raise checks.BadInputError(f"{source.name} holds no movie; expected at least one row. {report.samples[:1]}")
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


def _read(source: Source, max_bytes: int) -> pl.DataFrame:
    with source.open() as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise checks.BadInputError(
            f"{source.name} has more than {max_bytes:,} bytes. Is it a movies table? If so, raise --max-movies-bytes"
        )
    if source.format == "parquet":
        try:
            raw = pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).split("\n", 1)[0]
            raise checks.BadInputError(f"{source.name} is no readable Parquet file: {reason}. Write it again") from None
        check_columns(source, tuple(raw.columns), COLUMNS)
        raw = raw.with_columns(pl.col("movieId", "title", "genres").cast(pl.String))
    else:
        if not data.strip():
            check_columns(source, (), COLUMNS)
        try:
            raw = pl.read_csv(data, infer_schema=False)
        except pl.exceptions.PolarsError as error:
            reason = checks.shown(str(error).split("\n", 1)[0])
            raise checks.BadInputError(f"{source.name} is not readable as CSV: {reason}. Mend the file") from None
        check_columns(source, tuple(raw.columns), COLUMNS)
    if not raw.height:
        raise checks.BadInputError(f"{source.name} holds a header and no rows; expected at least one movie")
    return raw.select(COLUMNS)


def _report(source: Source, raw: pl.DataFrame, problem: pl.Series) -> checks.Report:
    bad = problem.is_not_null()
    header = 1 if source.format == "csv" else 0
    samples = tuple(
        checks.BadRow(
            name, source.name, row + header + 1, checks.shown(",".join(map(str, raw.row(row)))), ",".join(COLUMNS)
        )
        for row, name in zip(bad.arg_true()[:5], problem.filter(bad)[:5], strict=True)
    )
    counts = dict(problem.drop_nulls().value_counts(name="n").iter_rows())
    return checks.Report(raw.height, counts, samples)
