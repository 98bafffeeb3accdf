"""A look at a data set: which specification it has, its first rows as they are read, and what would be rejected.

Nothing here reads more of a table than a few pieces of it, so that it takes seconds however large the table is.
"""

from __future__ import annotations

import dataclasses
import tempfile

import fsspec
import polars as pl

from components.polars_example_gen import archive, checks, guess, ratings, sniffing, source
from components.polars_example_gen.catalog import Catalogue, read_movies
from components.polars_example_gen.chunks import even_chunks, rows_of
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import read_headers
from schemas import features as f
from schemas.data_spec import DataSpec, built_in, named
from schemas.ingest import GENRE_NAMES, MOVIE_KEY, TITLE, USER_KEY, YEAR

_WHOLE_BYTES = 32 << 20
"""A table up to so large is looked at as a whole."""
_PIECES, _PIECE_BYTES = 8, 1 << 20
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found."""

    spec: DataSpec
    name: str | None
    """Of the built-in specification that it is; None where it is a new one."""
    files: dict[str, str]
    """Table -> its file."""
    ratings: pl.DataFrame
    """The first rows as they are read: user, item, rating, time."""
    items: pl.DataFrame
    """The first rows as they are read: item, title, categories, year."""
    counts: dict[str, int]
    """Rows of each table, about where only pieces of it were read; users and categories among what was read."""
    whole: bool
    """Whether all ratings were read."""
    report: checks.Report
    """What would be rejected of what was read."""


def inspect(data: str, spec: DataSpec | None = None) -> Inspection:
    """Look at a data set.

    Args:
      data: Directory or archive, path or URI.
      spec: Its specification; found out by default.

    Raises:
      ValueError: There is no data, or no tables of ratings and items are found in it; the message says what there is.
    """
    with tempfile.TemporaryDirectory(prefix="matinee-") as directory:
        found, place = (spec, data) if spec else find_spec(data, directory)
        tables = source.find_sources(place, f"{directory}/unpacked", spec=found)
        catalogue = read_movies(tables[source.MOVIES], spec=found)
        table = tables[source.RATINGS]
        frame, report, whole = look(table, found, catalogue)
        rows = report.rows if whole else _about(table, report)
        return Inspection(
            found,
            next((name for name in built_in() if named(name) == found), None),
            {name: tables[name].path.rsplit("/", 1)[-1] for name in tables},
            _shown_ratings(frame, found, catalogue),
            _shown_items(catalogue),
            {
                "ratings": rows,
                "items": catalogue.movies.height,
                "users": frame[f.USER_ID].n_unique(),
                "categories": catalogue.domain.num_categories - 1,
            },
            whole,
            checks.merge_reports([report, catalogue.report]),
        )


def _about(table: source.Source, report: checks.Report) -> int:
    """Return how many rows a table has: of Parquet what it says, of text about as many as the pieces let expect."""
    if table.format == "parquet":
        return sum(rows_of(file) for file in table.files)
    return round(table.size() / _PIECES / _PIECE_BYTES * report.rows)


def find_spec(data: str, directory: str) -> tuple[DataSpec, str]:
    """Find out how a data set is written; `directory`: an empty one to unpack into.

    Returns:
      The specification, and where the tables lie: `data`, or what an archive was unpacked to.

    Raises:
      ValueError: See `inspect`.
    """
    fs, root = fsspec.core.url_to_fs(data)
    if not fs.exists(root):
        raise ValueError(f"no data at {data!r}; pass a directory or an archive with tables of ratings and items")
    if fs.isfile(root):
        most = ExampleGenConfig.max_unpacked_ratio * fs.size(root)
        archive.unpack(data, f"{directory}/all", most, sniffing.tables_among)
        place = f"{directory}/all"
        return guess.guess(fsspec.filesystem("file"), place, data), place
    return guess.guess(fs, root, data), data


def look(table: source.Source, spec: DataSpec, catalogue: Catalogue) -> tuple[pl.DataFrame, checks.Report, bool]:
    """Read pieces of the ratings, or all of few.

    Returns:
      The good rows, what was found of all that were read, and whether these are all.
    """
    headers = read_headers(table, ExampleGenConfig.max_line_bytes, spec)
    ids = catalogue.movies[f.MOVIE_ID].to_numpy()
    whole = table.size() <= _WHOLE_BYTES
    chunks = [
        (chunk, header)
        for file, header in headers.items()
        for chunk in even_chunks(file, header.length, _WHOLE_BYTES if whole else _PIECE_BYTES)
    ]
    if not whole:
        chunks = chunks[:: max(len(chunks) // _PIECES, 1)][:_PIECES]
    found = [ratings.read_chunk(chunk, header, ids) for chunk, header in chunks]
    return pl.concat([frame for frame, _ in found]), checks.merge_reports([report for _, report in found]), whole


def _shown_ratings(frame: pl.DataFrame, spec: DataSpec, catalogue: Catalogue) -> pl.DataFrame:
    first = frame.head(_SHOWN)
    movies = catalogue.movies
    key = MOVIE_KEY if catalogue.domain.text_item_ids else f.MOVIE_ID
    items = first.join(movies.select(f.MOVIE_ID, pl.col(key).alias("item")), on=f.MOVIE_ID, maintain_order="left")
    when = pl.from_epoch(first[f.TIMESTAMP]).dt.strftime("%Y-%m-%d %H:%M:%S")
    return pl.DataFrame(
        {
            "user": first[USER_KEY if USER_KEY in first.columns else f.USER_ID].cast(pl.String),
            "item": items["item"].cast(pl.String),
            "rating": spec.scale.of_stars(first[f.RATING].cast(pl.Float64)).round(6),
            "time": when if spec.timed else pl.Series(["-"] * first.height),
        }
    )


def _shown_items(catalogue: Catalogue) -> pl.DataFrame:
    first = catalogue.movies.head(_SHOWN)
    return first.select(
        pl.col(MOVIE_KEY if catalogue.domain.text_item_ids else f.MOVIE_ID).cast(pl.String).alias("item"),
        pl.col(TITLE).alias("title"),
        pl.col(GENRE_NAMES).list.join(", ").alias("categories"),
        pl.col(YEAR).cast(pl.String).fill_null("-").alias("year"),
    )
