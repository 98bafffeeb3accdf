"""The synthetic sample in any form that a data specification describes: its tables, scale, ids and encoding."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import tempfile
from collections.abc import Callable

import polars as pl

from pipeline.data_sample import SampleConfig, write_sample
from schemas.data_spec import ISO, SECONDS_OF, DataSpec, ItemsSpec, TableSpec
from schemas.domain import Scale

_YEAR = r"\((\d{4})\)\s*$"


def write_sample_as(
    spec: DataSpec, output: str, config: SampleConfig, on_rows: Callable[[int], None] = lambda rows: None
) -> int:
    """Write a sample as a specification says; see `write_sample`.

    Returns:
      The number of ratings.
    """
    with tempfile.TemporaryDirectory(prefix="matinee-") as plain:
        rows = write_sample(plain, config, on_rows)
        ratings, movies = (pl.read_csv(f"{plain}/{name}.csv") for name in ("ratings", "movies"))
    directory = pathlib.Path(output)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, spec.ratings, _ratings(ratings, spec))
    _write(directory, spec.items, _items(movies, spec))
    return rows


def _ratings(ratings: pl.DataFrame, spec: DataSpec) -> dict[str, pl.Series]:
    columns = spec.ratings
    made = {columns.user: _ids(ratings["userId"], columns.user_ids, "user")}
    made[columns.item] = _ids(ratings["movieId"], spec.items.item_ids, "item")
    if columns.rating:
        # The sample's half stars lie anywhere on another scale: the nearest is given.
        given = [_number(spec.scale.nearest(spec.scale.of_stars(stars)), spec.scale) for stars in ratings["rating"]]
        made[columns.rating] = pl.Series(given)
    if columns.time:
        made[columns.time] = _times(ratings["timestamp"], columns.time_format)
    return made


def _items(movies: pl.DataFrame, spec: DataSpec) -> dict[str, pl.Series]:
    columns, titles = spec.items, movies["title"]
    made = {columns.item: _ids(movies["movieId"], columns.item_ids, "item")}
    years = titles.str.extract(_YEAR).fill_null("")
    made[columns.title] = titles if columns.year is None else titles.str.replace(_YEAR, "").str.strip_chars()
    if columns.year:
        made[columns.year] = years
    known = set(spec.categories.names)
    named = [[name for name in text.split("|") if name[0] != "("] for text in movies["genres"]]
    return made | _categories([[name for name in row if not known or name in known] for row in named], spec, columns)


def _categories(rows: list[list[str]], spec: DataSpec, columns: ItemsSpec) -> dict[str, pl.Series]:
    if columns.categories is None:
        return {}
    if isinstance(columns.categories, tuple):
        return {name: pl.Series([str(int(name in row)) for row in rows]) for name in columns.categories}
    if columns.category_separator == "json":
        return {columns.categories: pl.Series([json.dumps(row) for row in rows])}
    joined = [
        columns.category_separator.join(row) or (spec.categories.none if spec.categories.names else "") for row in rows
    ]
    return {columns.categories: pl.Series(joined)}


def _ids(ids: pl.Series, kind: str, name: str) -> pl.Series:
    return ids.cast(pl.String) if kind == "number" else f"{name}-" + ids.cast(pl.String)


def _number(value: float, scale: Scale) -> str:
    whole = all(float(part).is_integer() for part in (scale.min, scale.step))
    return f"{value:g}" if whole else f"{value:.1f}"


def _times(seconds: pl.Series, form: str) -> pl.Series:
    if form in SECONDS_OF:
        return (seconds * SECONDS_OF[form]).cast(pl.String)
    return pl.from_epoch(seconds).dt.strftime("%Y-%m-%dT%H:%M:%SZ" if form == ISO else form)


def _write(directory: pathlib.Path, spec: TableSpec, columns: dict[str, pl.Series]) -> None:
    name = spec.files[0].replace("*", "")
    path = directory / (name if "." in name else f"{name}.{spec.format or 'csv'}")
    height = len(next(iter(columns.values())))
    header = spec.header or tuple(columns)
    empty = pl.Series([""] * height)
    table = pl.DataFrame({column: columns.get(column, empty) for column in header})
    if path.suffix == ".parquet":
        table.write_parquet(path)
        return
    lines = [] if spec.header else [header]
    text = _text([*lines, *table.rows()], spec)
    path.write_bytes(text.encode(spec.encoding, "replace"))


def _text(rows: list[tuple[str, ...]], spec: TableSpec) -> str:
    if not spec.quote:
        return "".join(f"{spec.separator.join(row)}\n" for row in rows)
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=spec.separator,
        quotechar=spec.quote,
        escapechar=spec.escape or None,
        doublequote=not spec.escape,
        quoting=csv.QUOTE_ALL if spec.escape else csv.QUOTE_MINIMAL,
        lineterminator="\n",
    )
    writer.writerows(rows)
    return buffer.getvalue()
