"""Ratings that were taken back, and users who are to be forgotten: a table that a data set may have.

    withdrawn.csv: userId,movieId,timestamp

A row takes back what its user has rated until then: one movie, or without a movie everything.
"""

from __future__ import annotations

import polars as pl

from components.polars_example_gen.checks import BadInputError
from components.polars_example_gen.source import Source
from schemas import features as f
from schemas.domain import Domain
from schemas.ids import numbers_of
from schemas.ingest import WITHDRAWN_COLUMNS

USER, MOVIE, TIME = WITHDRAWN_COLUMNS
_UNTIL = "until"


def read_withdrawn(table: Source | None, domain: Domain) -> pl.DataFrame:
    """Read the table: `user_id`, `movie_id` (null for all) and `timestamp`, each as ratings have it.

    Args:
      table: The table; None where there is none.
      domain: What the data is about.

    Raises:
      BadInputError: It lacks a column, or a row makes no sense: what somebody took back must not come back.
    """
    parts = [_rows(file, domain) for file in table.files] if table else []
    schema = {f.USER_ID: pl.Int64, f.MOVIE_ID: pl.Int64, f.TIMESTAMP: pl.Int64}
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _rows(file: Source, domain: Domain) -> pl.DataFrame:
    with file.open() as opened:
        data = opened.read()
    try:
        raw = pl.read_csv(data, columns=[USER, MOVIE, TIME], infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise BadInputError(f"{file.name} is no table of {USER},{MOVIE},{TIME}: {error}") from error
    found = raw.select(
        _ids(raw[USER], domain.text_user_ids).alias(f.USER_ID),
        _ids(raw[MOVIE], domain.text_item_ids).alias(f.MOVIE_ID),
        raw[TIME].cast(pl.Int64, strict=False).alias(f.TIMESTAMP),
    )
    wrong = found[f.USER_ID].is_null() | found[f.TIMESTAMP].is_null()
    wrong |= found[f.MOVIE_ID].is_null() & raw[MOVIE].is_not_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        text = ",".join(str(cell) for cell in raw.row(row))
        raise BadInputError(f"{file.name}, line {row + 2}: {text!r} is no {USER},{MOVIE},{TIME}; mend it")
    return found


def _ids(column: pl.Series, are_text: bool) -> pl.Series:
    return numbers_of(column) if are_text else column.cast(pl.Int64, strict=False)


def without(ratings: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """Return ratings without those that were taken back, in their order."""
    for keys, rows in (
        ([f.USER_ID, f.MOVIE_ID], withdrawn.filter(pl.col(f.MOVIE_ID).is_not_null())),
        ([f.USER_ID], withdrawn.filter(pl.col(f.MOVIE_ID).is_null())),
    ):
        if rows.height:
            until = rows.group_by(keys).agg(pl.col(f.TIMESTAMP).max().alias(_UNTIL))
            joined = ratings.join(until, on=keys, how="left", maintain_order="left")
            kept = pl.col(_UNTIL).is_null() | (pl.col(f.TIMESTAMP) > pl.col(_UNTIL))
            ratings = joined.filter(kept).drop(_UNTIL)
    return ratings
