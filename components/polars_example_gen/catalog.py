"""Movies: the movies table to a checked catalogue with years and genre vectors."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from typing import NamedTuple

import polars as pl

from components.polars_example_gen import checks
from components.polars_example_gen.cells import text_key, whole_number
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.csv_records import as_table, as_text, column_names, records
from components.polars_example_gen.header import check_columns
from components.polars_example_gen.movie_features import genre_matrix
from components.polars_example_gen.source import Source, dialect_of
from schemas import features as f
from schemas.data_spec import DataSpec, ItemsSpec, LinksSpec, named
from schemas.domain import Domain
from schemas.ids import check_distinct, numbers_of
from schemas.ingest import GENRE_NAMES, MOVIE_KEY, TITLE, YEAR

_YEAR_PATTERN = r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$"
_FLAG_SEPARATOR = "\x1f"
_CATEGORIES = "_categories"
_LONGEST_LIST = 1 << 16
_NO_YEAR, _MOST_YEAR = 2000.0, 1e6
_ON = ("1", "1.0", "true", "True")


class Catalogue(NamedTuple):
    """What a movies table holds."""

    movies: pl.DataFrame
    """Sorted by movie: `movie_id` Int64, `title`, `genres` List(String), `year` Int32 or null, `movie_year` Float32
    (imputed by the median), `movie_genres` List(Float32), one each category; where movies are text, `movie_key`."""
    report: checks.Report
    domain: Domain
    """With the categories that were found, where they are learned."""


def read_movies(
    source: Source,
    max_bytes: int = ExampleGenConfig.max_movies_bytes,
    spec: DataSpec | None = None,
    domain: Domain | None = None,
) -> Catalogue:
    """Read the movies table.

    Args:
      source: The table.
      max_bytes: Largest table.
      spec: The data specification; MovieLens' by default.
      domain: Of a catalogue that these movies join: its categories are what there is.

    Raises:
      BadInputError: The table is empty, too large, unreadable, or lacks a column.
      ValueError: Two movies' keys have the same number.
    """
    spec = spec or named()
    items = spec.items
    raw = _read(source, max_bytes, items)
    typed = raw.with_columns(
        *_ids(raw, items),
        _categories(raw, items),
        pl.col(items.title).fill_null("").alias(TITLE),
    )
    if items.item_ids == "text":
        check_distinct(*(typed.filter(pl.col(f.MOVIE_ID).is_not_null())[name] for name in (MOVIE_KEY, f.MOVIE_ID)))
    names = domain.categories[1:] if domain else spec.categories.names or _learned(typed[GENRE_NAMES], spec)
    domain = domain or spec.domain(names)
    typed = _among(typed, domain, spec)
    unknown = pl.col(GENRE_NAMES).list.eval(~pl.element().is_in(domain.categories)).list.any()
    problem = typed.select(
        pl.when(pl.col("truncated"))
        .then(pl.lit(checks.TRUNCATED))
        .when(pl.col(f.MOVIE_ID).is_null() | (pl.col(TITLE) == "") | pl.col(GENRE_NAMES).is_null())
        .then(pl.lit(checks.UNREADABLE))
        .when(pl.col(f.MOVIE_ID) < 0)
        .then(pl.lit(checks.NEGATIVE_ID))
        .when(~pl.col(f.MOVIE_ID).is_first_distinct())
        .then(pl.lit(checks.DUPLICATE_MOVIE))
        .when(unknown)
        .then(pl.lit(checks.UNKNOWN_GENRE))
    ).to_series()
    report = _report(raw, problem, items, domain)
    good = typed.filter(problem.is_null() | (problem == checks.UNKNOWN_GENRE))
    if not good.height:
        raise checks.BadInputError(f"{source.name} holds no movie; expected at least one row. {report.samples[0]}")
    known = good.with_columns(pl.col(GENRE_NAMES).list.filter(pl.element().is_in(domain.categories)))
    return Catalogue(_catalogue(known, items, domain), report, domain)


def _ids(raw: pl.DataFrame, items: ItemsSpec) -> list[pl.Series]:
    if items.item_ids == "number":
        return [raw.select(whole_number(items.item, raw.schema[items.item]).alias(f.MOVIE_ID)).to_series()]
    keys = raw.select(text_key(items.item).alias(MOVIE_KEY)).to_series()
    return [numbers_of(keys).alias(f.MOVIE_ID), keys]


def _categories(raw: pl.DataFrame, items: ItemsSpec) -> pl.Series:
    """Return every row's categories as the table names them, List(String); null where they cannot be read."""
    if items.categories is None:
        return pl.Series(GENRE_NAMES, [[]] * raw.height, pl.List(pl.String))
    text = raw[_CATEGORIES]
    if isinstance(items.categories, tuple):
        return text.str.split(_FLAG_SEPARATOR).list.filter(pl.element() != "").alias(GENRE_NAMES)
    if items.category_separator == "json":
        unique = text.drop_nulls().unique().to_list()
        lists = pl.Series([_from_json(value) for value in unique], dtype=pl.List(pl.String))
        found = pl.DataFrame({_CATEGORIES: pl.Series(unique, dtype=pl.String), GENRE_NAMES: lists})
        joined = text.to_frame().join(found, on=_CATEGORIES, how="left", maintain_order="left")
        return joined.select(pl.when(pl.col(_CATEGORIES).is_null()).then([]).otherwise(GENRE_NAMES).alias(GENRE_NAMES))[
            GENRE_NAMES
        ]
    return text.str.split(items.category_separator).alias(GENRE_NAMES)


def _from_json(text: str) -> list[str] | None:
    """Read a list of names, or of objects with a `name`, in JSON or as Python writes it; None where it is no such."""
    if not text.strip():
        return []
    if len(text) > _LONGEST_LIST:
        return None
    for parse in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = parse(text)
            names = [each.get("name") if isinstance(each, dict) else each for each in found]
            if all(isinstance(name, str) for name in names):
                return [str(name) for name in names]
    return None


def _learned(categories: pl.Series, spec: DataSpec) -> tuple[str, ...]:
    """Return the commonest categories, by name, and the one of the rest where there is a rest."""
    names = categories.explode().drop_nulls().str.strip_chars().alias("name")
    counts = names.filter(~names.is_in(["", spec.categories.none])).value_counts(name="count")
    ordered = counts.sort("count", "name", descending=[True, False])["name"].to_list()
    most = spec.categories.most
    rest = (spec.categories.other,) if len(ordered) > most and spec.categories.other not in ordered[:most] else ()
    return (*sorted(ordered[:most]), *rest)


def _among(typed: pl.DataFrame, domain: Domain, spec: DataSpec) -> pl.DataFrame:
    """Say of the categories what the domain calls them: where they are learned, the rare ones are others."""
    names = pl.col(GENRE_NAMES)
    if spec.categories.names:
        return typed.with_columns(names.fill_null(pl.lit([domain.none])))
    tidy = names.list.eval(pl.element().str.strip_chars()).list.filter(~pl.element().is_in(["", domain.none]))
    other = spec.categories.other if spec.categories.other in domain.categories else None
    renamed = pl.when(pl.element().is_in(domain.categories)).then(pl.element()).otherwise(pl.lit(other, pl.String))
    return typed.with_columns(tidy.list.eval(renamed).list.drop_nulls().list.unique(maintain_order=True))


def _catalogue(movies: pl.DataFrame, items: ItemsSpec, domain: Domain) -> pl.DataFrame:
    if items.year is None:
        year = pl.col(TITLE).str.extract(_YEAR_PATTERN).cast(pl.Int32)
    else:
        text = pl.col(items.year).cast(pl.String).str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        dated = text.str.extract(r"(?:^|\D)(\d{4})(?:\D|$)").cast(pl.Int32)
        year = pl.coalesce(
            pl.when(number.is_finite() & (number.abs() < _MOST_YEAR)).then(number.cast(pl.Int32, strict=False)), dated
        )
    plausible = pl.when(year.is_between(*domain.years)).then(year)
    keys = [MOVIE_KEY] if domain.text_item_ids else []
    frame = movies.select(f.MOVIE_ID, *keys, TITLE, GENRE_NAMES, plausible.alias(YEAR)).sort(f.MOVIE_ID)
    middle = frame[YEAR].median()
    return frame.with_columns(
        pl.col(YEAR).cast(pl.Float32).fill_null(_NO_YEAR if middle is None else middle).alias(f.MOVIE_YEAR),
        pl.Series(f.MOVIE_GENRES, genre_matrix(frame[GENRE_NAMES], domain)).cast(pl.List(pl.Float32)),
    )


def _read(table: Source, max_bytes: int, items: ItemsSpec) -> pl.DataFrame:
    """Read the files of a table as text: `file`, `line`, `text`, the columns, and whether a row is `truncated`."""
    if table.size() > max_bytes:
        raise checks.BadInputError(
            f"{table.name} has more than {max_bytes:,} bytes. Is it a movies table? If so, raise --max-movies-bytes"
        )
    found = [_read_file(file, items) for file in table.files if file.size() or not table.parts]
    if not any(frame.height for frame in found):
        raise checks.BadInputError(f"{table.name} holds a header and no rows; expected at least one movie")
    return pl.concat(found)


def _read_file(source: Source, items: ItemsSpec) -> pl.DataFrame:
    with source.open() as file:
        data = file.read()
    if source.format == "parquet":
        columns = _written(source, parquet(source, data, items.columns), items)
        found = columns.with_columns(text=as_text(columns), truncated=pl.lit(False)).with_row_index("line", 1)
    else:
        found = parse(source, data, items)
    kept = dict.fromkeys(name for name in (items.item, items.title, items.year) if name)
    return found.select(
        pl.lit(source.name).alias("file"),
        pl.col("line").cast(pl.Int64),
        "text",
        *kept,
        _category_text(items).alias(_CATEGORIES),
        "truncated",
    )


def parquet(source: Source, data: bytes, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read columns of a Parquet file.

    Raises:
      BadInputError: It is none, or lacks a column.
    """
    try:
        raw = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise checks.BadInputError(f"{source.name} is no readable Parquet file: {reason}. Write it again") from None
    check_columns(source, tuple(raw.columns), columns)
    return raw.select(columns)


def _category_text(items: ItemsSpec) -> pl.Expr:
    """Return the column of the categories, or the names of the columns that hold a 1."""
    if not isinstance(items.categories, tuple):
        return pl.lit(None, pl.String) if items.categories is None else pl.col(items.categories)
    flags = [
        pl.when(pl.col(name).str.strip_chars().is_in(_ON)).then(pl.lit(name)).otherwise(pl.lit(""))
        for name in items.categories
    ]
    return pl.concat_str(flags, separator=_FLAG_SEPARATOR)


def _written(source: Source, table: pl.DataFrame, items: ItemsSpec) -> pl.DataFrame:
    """Turn a Parquet table's columns into text, lists of categories joined as they are in a text."""
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.List) and name == items.categories:
            names = pl.col(name).cast(pl.List(pl.String))
            if items.category_separator == "json":
                texts = [None if row is None else json.dumps(row) for row in table.select(names)[name].to_list()]
                table = table.with_columns(pl.Series(name, texts, pl.String))
            else:
                table = table.with_columns(names.list.join(items.category_separator))
        elif dtype.is_nested() or dtype == pl.Binary:
            raise checks.BadInputError(f"{source.name}: the column {name} has the type {dtype}; write it as text")
    return table.with_columns(pl.all().cast(pl.String))


def parse(source: Source, data: bytes, items: ItemsSpec | LinksSpec) -> pl.DataFrame:
    """Part a CSV table into records: `line`, `text`, the columns as text, and whether the end of a row is missing."""
    lines = records(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""), dialect_of(items))
    names = items.header or column_names(next(lines, None))
    check_columns(source, names, items.columns)
    found = as_table(lines, names, items.columns)
    is_last = pl.int_range(pl.len()) == pl.len() - 1
    torn = pl.col(items.item).is_null() & is_last & (not data.endswith((b"\n", b"\r")))
    return found.with_columns(pl.col("line") + 1, truncated=torn)


def _report(raw: pl.DataFrame, problem: pl.Series, items: ItemsSpec, domain: Domain) -> checks.Report:
    expected = {checks.UNKNOWN_GENRE: ", ".join(domain.categories)}
    bad = problem.is_not_null()
    places = raw.select("file", "line", "text").filter(bad).head(5).rows()
    samples = tuple(
        checks.BadRow(name, file, line, checks.shown(text), expected.get(name, ",".join(items.columns)))
        for name, (file, line, text) in zip(problem.filter(bad)[:5], places, strict=True)
    )
    counts = dict(problem.drop_nulls().value_counts(name="n").iter_rows())
    return checks.Report(raw.height, counts, samples)
