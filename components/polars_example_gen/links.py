"""Links: where the movies are found elsewhere, from a table that a data set may have."""

from __future__ import annotations

import itertools

import polars as pl

from components.polars_example_gen.catalog import parquet, parse
from components.polars_example_gen.cells import text_key, whole_number
from components.polars_example_gen.source import Source
from schemas import features as f
from schemas.data_spec import LinksSpec, parts_of
from schemas.ids import numbers_of
from schemas.ingest import LINKS, LINKS_TYPE


def add_links(movies: pl.DataFrame, table: Source | None, spec: LinksSpec | None, text_ids: bool) -> pl.DataFrame:
    """Add the column `schemas.ingest.LINKS` to a catalogue, if there is a table of links.

    Rows of movies that the catalogue lacks say nothing, nor does a cell that is empty.

    Args:
      movies: The catalogue.
      table: The table of links; None where there is none.
      spec: How it is written.
      text_ids: Whether movies' ids are text.

    Raises:
      BadInputError: It lacks a column, or cannot be read.
    """
    if table is None or spec is None:
        return movies
    rows = pl.concat([_rows(file, spec) for file in table.files])
    if text_ids:
        ids = numbers_of(rows.select(text_key(spec.item)).to_series()).alias(f.MOVIE_ID)
    else:
        ids = rows.select(whole_number(spec.item, pl.String()).alias(f.MOVIE_ID)).to_series()
    places = [pl.struct(name=pl.lit(name), url=_url(url)) for name, url in spec.urls.items()]
    links = pl.concat_list(places).list.filter(pl.element().struct.field("url").is_not_null())
    first = rows.with_columns(ids).unique(f.MOVIE_ID, keep="first")
    found = first.select(f.MOVIE_ID, links.cast(LINKS_TYPE).alias(LINKS))
    joined = movies.join(found, on=f.MOVIE_ID, how="left", maintain_order="left")
    return joined.with_columns(pl.col(LINKS).fill_null(pl.lit([], LINKS_TYPE)))


def _rows(source: Source, spec: LinksSpec) -> pl.DataFrame:
    with source.open() as file:
        data = file.read()
    if source.format != "parquet":
        return parse(source, data, spec).select(spec.columns)
    return parquet(source, data, spec.columns).with_columns(pl.all().cast(pl.String))


def _url(url: str) -> pl.Expr:
    """Return a link's address; null where a column of it is empty, or holds what belongs in no address."""
    around, columns = parts_of(url)
    cells = []
    for name, digits in columns:
        text = pl.col(name).str.strip_chars()
        cells.append(pl.when(text.str.contains(r"^[\w.~-]{1,100}$")).then(text.str.zfill(digits) if digits else text))
    pieces = itertools.chain.from_iterable(itertools.zip_longest(map(pl.lit, around), cells))
    return pl.concat_str([piece for piece in pieces if piece is not None])
