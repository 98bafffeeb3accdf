"""Which specification a data set has, from the names of its files and columns and from what stands in them.

A built-in specification is tried first. Otherwise two tables are looked for, one of which repeats the ids of the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import fsspec
import polars as pl

from components.polars_example_gen import checks
from components.polars_example_gen.cells import seconds
from components.polars_example_gen.sniffing import Head, is_table, read, sniff
from components.polars_example_gen.source import table_matches
from schemas.data_spec import ISO, CategoriesSpec, DataSpec, ItemsSpec, RatingsSpec, TableSpec, built_in, named
from schemas.domain import Scale

_CONSISTENT, _MOSTLY = 0.9, 0.98
"""Shares of a column's values that must be what it is taken for: categories and years, and all else."""
_MOST_RATINGS = 101
"""Different values that a column of ratings has, at most."""
_SCALES = (
    (1, 5, 1, 4),
    (0.5, 5, 0.5, 4),
    (1, 10, 1, 8),
    (0, 10, 1, 7),
    (0.5, 10, 0.5, 8),
    (0, 100, 1, 75),
)
"""Scales that are common, and from where on something is liked: the first that holds all ratings is taken."""
_LIKED_PART = 0.75
_UNRATED = -1.0
_DATES = ("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y")
_USER = re.compile(r"user|member|reviewer|customer|person|client|viewer|reader|account", re.I)
_RATING = re.compile(r"rating|score|stars|points|grade|vote|mark", re.I)
_TIME = re.compile(r"time|date|stamp|created|\bts\b|when", re.I)
_TITLE = re.compile(r"title|name", re.I)
_CATEGORY = re.compile(r"genre|categor|tags?\b|shel|subject|topic", re.I)
_YEAR = re.compile(r"year|released?\b|publication|published", re.I)
_CATEGORY_SEPARATORS = ("|", ";", ",", "/")
_MOST_CATEGORIES = 200


def guess(fs: fsspec.AbstractFileSystem, root: str, data: str) -> DataSpec:
    """Find out the specification of a directory.

    Args:
      fs: Where it lies.
      root: The directory.
      data: What a message calls it.

    Raises:
      ValueError: There are no two tables that can be told to be ratings and what is rated.
    """
    paths = {path.rstrip("/").rsplit("/", 1)[-1]: path for path in fs.ls(root, detail=False)}
    for name in built_in():
        spec = named(name)
        if _is_written_so(fs, paths, spec):
            return spec
    tables = [sniff(fs, path, name) for name, path in sorted(paths.items()) if is_table(name)]
    found = _pair([table for table in tables if table is not None])
    guessed = None if found is None else _spec_of(*found)
    if guessed is None:
        inside = ", ".join(sorted(paths)[:10]) or "nothing"
        raise ValueError(
            f"no tables of ratings and of what is rated are found in {data} (there is {inside}): a ratings table has "
            "columns of the user, the item and the rating, and a table of items their ids and titles. Write a data "
            "specification by hand; docs/data.md says how"
        )
    return guessed


def _is_written_so(fs: fsspec.AbstractFileSystem, paths: dict[str, str], spec: DataSpec) -> bool:
    """Whether there are files of both tables as a specification describes them."""
    tables = []
    for wanted in (spec.ratings, spec.items):
        found = table_matches(paths, wanted)
        table = read(fs, paths[found[0]], found[0], wanted) if len(found) == 1 else None
        if table is None or not set(wanted.columns).issubset(table.columns.columns):
            return False
        tables.append(table)
    of_ratings, of_items = tables
    return _fits(of_ratings, spec) and _names_known(of_items, spec)


def _fits(table: Head, spec: DataSpec) -> bool:
    """Whether ratings and times of a table are what a specification says."""
    columns, scale = spec.ratings, spec.scale
    if columns.rating:
        given = table.numbers(columns.rating)
        steps = (given - scale.min) / scale.step
        good = given.is_between(scale.min, scale.max) & ((steps - steps.round()).abs() < 1e-6)
        high = given > (scale.min + scale.max) / 2  # Of a scale that ends lower nothing is.
        if not len(given) or _share(good) < _MOSTLY or not _share(high):
            return False
    if columns.time and _time_format(table.values(columns.time)) != columns.time_format:
        return False
    numbers = [columns.user] if columns.user_ids == "number" else []
    numbers += [columns.item] if spec.items.item_ids == "number" else []
    return all(_are_numbers(table.values(name)) for name in numbers)


def _names_known(table: Head, spec: DataSpec) -> bool:
    """Whether nearly all categories of a table of items are what a specification names, if it names any."""
    column, names = spec.items.categories, spec.categories.names
    if not isinstance(column, str) or not names:
        return not table.columns.is_empty()
    found = table.values(column).str.split(spec.items.category_separator).explode()
    return bool(len(found)) and _share(found.is_in([*names, spec.categories.none])) >= _CONSISTENT


def _share(condition: pl.Series) -> float:
    """Return of how many values a condition holds, of one; null is no."""
    return int(condition.fill_null(False).sum()) / max(len(condition), 1)


def _pair(tables: list[Head]) -> tuple[Head, str, Head, str] | None:
    """Find ratings and items: the two tables, and in each the column of the items' ids."""
    best: tuple[float, tuple[Head, str, Head, str]] | None = None
    for of_ratings, of_items in itertools.permutations(tables, 2):
        if len(of_ratings.columns.columns) < 2 or _title(of_items, "") is None:
            continue
        for item in of_items.columns.columns:
            ids = of_items.values(item)
            if not len(ids) or ids.n_unique() < _MOSTLY * len(ids):
                continue
            known = ids.unique().implode()
            for place, column in enumerate(of_ratings.columns.columns):
                given = of_ratings.values(column)
                if not len(given):
                    continue
                share = _share(given.is_in(known))
                same = column.casefold().replace("_", "") == item.casefold().replace("_", "")
                same = same and not of_ratings.spec.header  # Names that were made up here are no names.
                # Small whole numbers are ids of everything: users and ratings are named otherwise.
                foreign = bool(_USER.search(column) or _RATING.search(column) or _TIME.search(column))
                named_so = sum(bool(p.search(c)) for p in (_USER, _RATING) for c in of_ratings.columns.columns)
                # The user comes first, where nothing else tells them apart.
                rank = share + 2 * same - 2 * foreign + named_so / 10 + (place > 0) / 100
                if share > 0.2 and (best is None or rank > best[0]):
                    best = rank, (of_ratings, column, of_items, item)
    return None if best is None else best[1]


def _spec_of(of_ratings: Head, item_column: str, of_items: Head, item: str) -> DataSpec | None:
    """Say what the columns of both tables are; None where nothing says who rates."""
    left = [name for name in of_ratings.columns.columns if name != item_column]
    time = _best(left, _TIME, lambda name: _time_format(of_ratings.values(name)) is not None)
    left = [name for name in left if name != time]
    # Of columns whose names say nothing the one with the fewest different numbers.
    fewest = sorted(left, key=lambda name: of_ratings.values(name).n_unique())
    rating = _best(fewest, _RATING, lambda name: _are_ratings(of_ratings.numbers(name)))
    left = [name for name in left if name != rating]
    user = next((name for name in left if _USER.search(name)), None) or next(
        (name for name in left if of_ratings.values(name).n_unique() < len(of_ratings.values(name))),
        left[0] if left else None,
    )
    if user is None or (rating is None and not _USER.search(user)):
        return None
    given = of_ratings.numbers(rating).drop_nulls() if rating else None
    # -1 below a scale that begins at 0 or above it says that there is no rating.
    unrated = _UNRATED if given is not None and (given == _UNRATED).any() and (given >= 0).any() else None
    if given is not None and unrated is not None:
        given = given.filter(given != unrated)
    text_items = not (_are_numbers(of_items.values(item)) and _are_numbers(of_ratings.values(item_column)))
    title = _title(of_items, item) or item
    others = [name for name in of_items.columns.columns if name not in (item, title)]
    year = _best(others, _YEAR, lambda name: _are_years(of_items.values(name)))
    categories, separator = _categories(of_items, [name for name in others if name != year])
    in_title = _share(of_items.values(title).str.contains(r"\(\d{4}\)\s*$"))
    return DataSpec(
        RatingsSpec(
            **_written(of_ratings.spec),
            user=user,
            item=item_column,
            rating=rating,
            unrated=unrated,
            time=time,
            time_format=(_time_format(of_ratings.values(time)) or "s") if time else "s",
            user_ids="number" if _are_numbers(of_ratings.values(user)) else "text",
            repeats="bad" if rating else "latest",
        ),
        ItemsSpec(
            **_written(of_items.spec),
            item=item,
            title=title,
            categories=categories,
            category_separator=separator,
            year=None if in_title > 0.5 else year,
            item_ids="text" if text_items else "number",
        ),
        Scale(0, 1, 1, 1) if given is None else _scale(given),
        CategoriesSpec(),
    )


def _written(spec: TableSpec) -> dict[str, Any]:
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)} | {
        # By the ending, where it says so.
        "format": None if (spec.format == "parquet") == spec.files[0].endswith(".parquet") else spec.format
    }


def _best(names: Iterable[str], pattern: re.Pattern, fits: Callable[[str], bool]) -> str | None:
    """Return the column that fits and whose name says so; one that fits where no name says anything."""
    good = [name for name in names if fits(name)]
    return next((name for name in good if pattern.search(name)), good[0] if good else None)


def _are_numbers(values: pl.Series) -> bool:
    numbers = values.cast(pl.Float64, strict=False)
    whole = (numbers >= 0) & (numbers == numbers.floor()) & ~values.str.contains(r"^0\d")
    return bool(len(values)) and _share(whole) >= _MOSTLY


def _are_ratings(values: pl.Series) -> bool:
    numbers = values.drop_nulls()
    return len(numbers) >= _MOSTLY * max(len(values), 1) and 1 < numbers.n_unique() <= _MOST_RATINGS


def _are_years(values: pl.Series) -> bool:
    years = values.str.extract(r"(-?\d{1,4})(?:\.0)?$|^(\d{4})").cast(pl.Float64, strict=False).drop_nulls()
    return len(years) > 0.5 * max(len(values), 1) and _share(years.is_between(1500, 2100)) > _CONSISTENT


def _scale(given: pl.Series) -> Scale:
    """Return the smallest common scale that holds all ratings, or the one that they span."""
    for low, high, step, liked in _SCALES:
        steps = (given - low) / step
        if given.is_between(low, high).all() and ((steps - steps.round()).abs() < 1e-6).all():
            return Scale(low, high, step, liked)
    distinct = given.unique().sort().to_list()
    step = min((b - a for a, b in itertools.pairwise(distinct)), default=1.0)
    steps = max(round((distinct[-1] - distinct[0]) / step), 1)
    least, liked_from = distinct[0], round(steps * _LIKED_PART)
    low, high, liked = (round(least + n * step, 6) for n in (0, steps, liked_from))
    return Scale(low, high, round(step, 6), liked)


def _time_format(values: pl.Series) -> str | None:
    """Return how times are written; None where they are none."""
    if not len(values):
        return None
    numbers = values.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        # Years from 1980 on: smaller numbers are ids or ratings.
        for unit, size in (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)):
            in_seconds = numbers / size
            if in_seconds.is_between(315_532_800, checks.TIME_LIMIT_S).all():
                return unit
        return None
    frame = values.alias("time").to_frame()
    for form in (ISO, *_DATES):
        if not frame.select(seconds("time", pl.String(), form)).to_series().null_count():
            return form
    return None


def _title(table: Head, item: str) -> str | None:
    """Return the column of the titles: named so, or of the longest texts."""
    texts = [
        name
        for name in table.columns.columns
        if name != item and not _are_numbers(table.values(name)) and _time_format(table.values(name)) is None
    ]
    texts = [name for name in texts if table.values(name).n_unique() > 0.5 * table.columns.height]
    exact = [name for name in texts if name.casefold() == "title"]
    by_name = exact + [name for name in texts if _TITLE.search(name) and not re.search("author|original", name, re.I)]
    if by_name:
        return by_name[0]
    texts = [name for name in texts if not re.search("url|link|image|path|overview", name, re.I)]
    return max(texts, key=lambda name: int(table.values(name).str.len_chars().sum()), default=None)


def _categories(table: Head, names: list[str]) -> tuple[str | tuple[str, ...] | None, str]:
    """Return the column or columns of the categories, and what lies between two of them."""
    flags = tuple(name for name in names if set(table.values(name).unique()) <= {"0", "1"} and len(table.values(name)))
    if len(flags) > 2:
        return flags, "|"
    for name in sorted(names, key=lambda name: not _CATEGORY.search(name)):
        values = table.values(name)
        if not len(values) or _are_numbers(values):
            continue
        if _share(values.str.starts_with("[")) > 0.5:
            return name, "json"
        counts = {each: _share(values.str.contains(each, literal=True)) for each in _CATEGORY_SEPARATORS}
        separator = max(counts, key=lambda each: counts[each])
        if not counts[separator] and not _CATEGORY.search(name):
            continue
        different = values.str.split(separator).explode().str.strip_chars().n_unique()
        if different <= min(_MOST_CATEGORIES, max(len(values) / 2, 3)):
            return name, separator if counts[separator] else "|"
    return None, "|"
