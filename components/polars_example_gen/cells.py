"""What stands in a table's fields, as numbers and times, however it is written."""

from __future__ import annotations

import polars as pl

from schemas.data_spec import ISO, SECONDS_OF

_MOST_EXACT = 1 << 53
"""From here on not every whole number is one of double precision."""
_ISO = ("%Y-%m-%d", *(f"%Y-%m-%d{between}%H:%M{seconds}" for between in " T" for seconds in ("", ":%S%.f")))
_ZONES = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z")


def without_spaces(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column as it is, but for spaces around texts."""
    return pl.col(name).str.strip_chars() if dtype == pl.String else pl.col(name)


def whole_number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Read a column of text or numbers as whole ones, where they are written as 7.0 too; null where they are not.

    Ids are floating where a program wrote the table that keeps missing ones so.
    """
    written = without_spaces(name, dtype)
    number = written.cast(pl.Float64, strict=False)
    is_whole = (number == number.floor()) & (number.abs() < _MOST_EXACT)
    whole = pl.when(is_whole).then(number.cast(pl.Int64, strict=False))
    return whole if dtype.is_float() else pl.coalesce(written.cast(pl.Int64, strict=False), whole)


def text_key(name: str) -> pl.Expr:
    """Read a column as keys, without spaces around them; null where there is none."""
    key = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when(key != "").then(key)


def seconds(name: str, dtype: pl.DataType, form: str) -> pl.Expr:
    """Read a column of times as Unix seconds, Int64; null where they are none. Without a zone they are UTC's.

    Args:
      name: The column.
      dtype: Its type: text, or numbers, which dates and times of Parquet have become.
      form: `schemas.data_spec.RatingsSpec.time_format`.
    """
    if form in SECONDS_OF or dtype != pl.String:
        return whole_number(name, dtype).floordiv(SECONDS_OF.get(form, 1))
    text = without_spaces(name, dtype)
    forms = _ISO if form == ISO else (form,)
    local = [_parsed(text, each) for each in forms if "z" not in each]
    zoned = [_parsed(text, each, "UTC") for each in (_ZONES if form == ISO else forms) if "z" in each]
    found = pl.coalesce(*(time.dt.epoch("s") for time in [*local, *zoned]))
    # ISO's Z is a zone, too.
    return found if form != ISO else pl.coalesce(found, _parsed(text.str.strip_suffix("Z"), _ISO[-1]).dt.epoch("s"))


def _parsed(text: pl.Expr, form: str, zone: str | None = None) -> pl.Expr:
    if any(part in form for part in ("%H", "%I", "%T", "%s", "%X", "%c", "%+")):
        return text.str.to_datetime(form, strict=False, time_unit="us", time_zone=zone)
    return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
