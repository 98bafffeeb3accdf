"""The data specification: where a data set's tables lie, how they are written, and what they hold.

Built-in ones, by their names, are the files in `schemas/specs`; any other one is a YAML file of the same form.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from schemas.configuration import FROZEN, build
from schemas.domain import Domain, Scale

_SPECS = pathlib.Path(__file__).with_name("specs")
DEFAULT = "movielens"
"""Name of the specification of a data set of which nothing is said."""
SECONDS_OF = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Units of time and how many of them a second has."""
ISO = "iso"
"""Time format: ISO 8601, such as 2015-03-09 or 2015-03-09T12:30:00Z."""


@dataclass(frozen=True, config=FROZEN)
class TableSpec:
    """How one table is written."""

    files: Annotated[tuple[str, ...], BeforeValidator(lambda files: (files,) if isinstance(files, str) else files)]
    """Names of the file or directory, or patterns of it, the first that is there; a name without an ending stands for
    .csv, .parquet and their compressed forms."""
    format: Literal["csv", "parquet"] | None = None
    """Parquet, or text with separators; by default as the file's ending says, and text where that says nothing."""
    separator: Annotated[str, Field(min_length=1, max_length=8)] = ","
    """What lies between two fields of a text."""
    quote: Annotated[str, Field(max_length=1)] = '"'
    """What a field may stand in; empty for nothing."""
    escape: Annotated[str, Field(max_length=1)] = ""
    """What stands before a quote inside of quotes; empty where it is doubled instead."""
    encoding: str = "utf-8"
    """Python's name of the encoding of a text."""
    header: tuple[str, ...] = ()
    """The columns' names where the file has none in its first line."""

    @model_validator(mode="after")
    def _known(self) -> TableSpec:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"there is no encoding {self.encoding!r}; expected one such as utf-8 or latin-1") from None
        return self


@dataclass(frozen=True, config=FROZEN)
class RatingsSpec(TableSpec):
    """The table of ratings."""

    user: str = "userId"
    """Column of the user."""
    item: str = "movieId"
    """Column of what is rated."""
    rating: str | None = "rating"
    """Column of the rating; null where each row is something liked."""
    unrated: float | None = None
    """What stands in the column of the rating where there is none; such rows are left out and are no bad ones."""
    time: str | None = "timestamp"
    """Column of the time; null where there is none."""
    time_format: str = "s"
    """Unit since 1970 (s, ms, us or ns), `iso`, or strftime's format of a date."""
    user_ids: Literal["number", "text"] = "number"
    """Whether users are whole numbers from 0 on, or any text."""
    repeats: Literal["bad", "latest"] = "bad"
    """A second rating of one item by one user: a bad row, or what counts."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(name for name in (self.user, self.item, self.rating, self.time) if name)


@dataclass(frozen=True, config=FROZEN)
class ItemsSpec(TableSpec):
    """The table of what is rated."""

    item: str = "movieId"
    """Column of the id, as in the ratings."""
    title: str = "title"
    """Column of the title."""
    categories: str | tuple[str, ...] | None = "genres"
    """Column of the categories; or several columns, each a category that the item has where they hold a 1."""
    category_separator: str = "|"
    """What lies between two categories of a column; `json` for a list in JSON."""
    year: str | None = None
    """Column of the year, or of a date that begins or ends with it; null where it ends the title in parentheses."""
    item_ids: Literal["number", "text"] = "number"
    """Whether items are whole numbers from 0 on, or any text."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        flags = self.categories if isinstance(self.categories, tuple) else (self.categories,)
        return tuple(dict.fromkeys(name for name in (self.item, self.title, *flags, self.year) if name))


_PLACEHOLDER = re.compile(r"\{([^{}:]+)(?::0(\d+))?\}")
"""A column in the address of a link; `{imdbId:07}` is filled up with zeros to seven digits."""


@dataclass(frozen=True, config=FROZEN)
class LinksSpec(TableSpec):
    """The table of where items are found elsewhere, which may be missing."""

    item: str = "movieId"
    """Column of the id, as in the table of items."""
    urls: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name of the place -> address, with columns of the table in braces."""

    @model_validator(mode="after")
    def _to_the_web(self) -> LinksSpec:
        for name, url in self.urls.items():
            if not url.startswith(("https://", "http://")):
                raise ValueError(f"the link {name} begins with neither https:// nor http://")
            if not _PLACEHOLDER.search(url):
                raise ValueError(f"the link {name} has no column in braces")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys([self.item, *(c for url in self.urls.values() for c, _ in parts_of(url)[1])]))


def parts_of(url: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Part a link's address: what stands around its columns, and the columns with the least number of their digits."""
    pieces = _PLACEHOLDER.split(url)
    return pieces[::3], [(name, int(digits or 0)) for name, digits in zip(pieces[1::3], pieces[2::3], strict=True)]


@dataclass(frozen=True, config=FROZEN)
class CategoriesSpec:
    """Which categories there are."""

    names: tuple[str, ...] = ()
    """All of them, and no other is right; without any they are learned from the data."""
    none: str = "(none)"
    """What an item without categories is said to have; also what the table may say of it."""
    other: str = "(other)"
    """Of learned ones: what the rarest ones are put together as."""
    most: Annotated[int, Field(ge=1, le=500)] = 40
    """How many are learned at most, the commonest."""


@dataclass(frozen=True, config=FROZEN)
class DataSpec:
    """A data set's form."""

    ratings: RatingsSpec
    items: ItemsSpec
    scale: Scale = dataclasses.field(default_factory=Scale)
    categories: CategoriesSpec = dataclasses.field(default_factory=CategoriesSpec)
    links: LinksSpec | None = None
    """Addresses of the items elsewhere; null where nothing is known of them."""
    years: tuple[int, int] = (-3000, 2100)
    """First and last year of an item that is not absurd."""

    @property
    def timed(self) -> bool:
        """Whether ratings have a time."""
        return self.ratings.time is not None

    def domain(self, categories: tuple[str, ...]) -> Domain:
        """Return what travels with the artifacts, once it is known which categories there are.

        Args:
          categories: All of them but that of items without any.
        """
        return Domain(
            (self.categories.none, *(name for name in categories if name != self.categories.none)),
            self.scale,
            self.years,
            self.timed,
            self.ratings.user_ids == "text",
            self.items.item_ids == "text",
        )


def built_in() -> tuple[str, ...]:
    """Return the names of the built-in specifications."""
    return tuple(sorted(path.stem for path in _SPECS.glob("*.yaml")))


@functools.cache
def named(name: str = DEFAULT) -> DataSpec:
    """Return a built-in specification.

    Raises:
      ValueError: There is none of this name.
    """
    if name not in built_in():
        raise ValueError(f"there is no data specification {name!r}; expected a file, or one of {', '.join(built_in())}")
    return parse((_SPECS / f"{name}.yaml").read_text(encoding="utf-8"), name)


def load(name_or_path: str) -> DataSpec:
    """Read a specification from a YAML file, or take a built-in one.

    Raises:
      ValueError: There is none, or a field is unknown or wrong; the message names it.
    """
    path = pathlib.Path(name_or_path)
    if not path.suffix and not path.exists():
        return named(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8"
        raise ValueError(f"cannot read the data specification {path}: {reason}") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> DataSpec:
    """Build a specification from YAML.

    Raises:
      ValueError: A field is unknown, missing or wrong; the message names it and where it stands.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{where} holds no sections; expected ratings, items, scale and categories")
    return build(DataSpec, values, where)


def to_yaml(spec: DataSpec) -> str:
    """Serialise a specification, but for the scale without what is as it is by default."""
    values = TypeAdapter(DataSpec).dump_python(spec, mode="json", exclude_defaults=True)
    values["scale"] = TypeAdapter(Scale).dump_python(spec.scale)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


@functools.cache
def movielens() -> Domain:
    """Return the domain of MovieLens' data."""
    spec = named()
    return spec.domain(spec.categories.names)
