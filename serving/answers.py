"""What is asked of the ranker, and what it answers."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from pydantic import ConfigDict

PERSONAL: Final = "personal"
"""`Recommendation.source`: ranked for this user."""
POPULAR: Final = "popular"
"""`Recommendation.source`: nothing is known of the user, so that the movies with most ratings are listed."""


_DOCUMENTED = ConfigDict(use_attribute_docstrings=True)
"""The service's OpenAPI describes the fields as they are described here."""


Id = int | str
"""Id of a user or movie as the data has it: a whole number, or text."""


class UnknownIdError(ValueError):
    """A user or movie that the version does not hold."""


class AmbiguousTitleError(ValueError):
    """A title that several movies may have."""

    def __init__(self, title: str, movies: Sequence[Movie]) -> None:
        """Name the movies that may be meant."""
        choices = "; ".join(f"{movie.title}, id {movie.movie_id}" for movie in movies)
        super().__init__(f"{title!r} may be {choices}: pass the id, or the title with its year")
        self.movies = movies


@dataclasses.dataclass(frozen=True)
class Movie:
    """A movie of the catalogue."""

    __pydantic_config__ = _DOCUMENTED

    movie_id: Id
    title: str
    genres: tuple[str, ...]
    year: int | None
    links: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)
    """Where else the movie is found: name -> address. Of MovieLens' IMDb and TMDB, where links.csv lies beside it."""


@dataclasses.dataclass(frozen=True)
class RatedMovie:
    """A movie and the rating that a user gave it."""

    movie_id: Id
    title: str
    rating: float


@dataclasses.dataclass(frozen=True)
class Recommendation(Movie):
    """One recommended movie."""

    score: float
    """Cosine of user and movie in [-1, 1], by which movies are ranked: what the user will watch and like, what those
    liked who like the same, and the genres that the user likes or dislikes throughout; of a popularity list, 0."""
    predicted_rating: float
    """On the data set's scale; of a popularity list, the movie's smoothed average."""
    source: str = PERSONAL
    """`personal` or `popular`."""
    because: RatedMovie | None = None
    """Of the movies that the user liked, the most similar one that shares a genre; None where none is close,
    and in a popularity list."""


@dataclasses.dataclass(frozen=True)
class SimilarMovie(Movie):
    """A movie close to another one."""

    score: float
    """How similar the two movies are, in [-1, 1]: by who liked them, genres and title."""


_M = TypeVar("_M", bound=Movie)


class MovieList(list[_M]):
    """A list of movies, which notebooks show as a table."""

    def to_polars(self) -> pl.DataFrame:
        """Return a data frame, a row a movie; of a reason its title."""
        rows = [dataclasses.asdict(movie) for movie in self]
        for row in rows:
            del row["links"]
            if row.get("because"):
                row["because"] = row["because"]["title"]
        return pl.DataFrame(rows, schema_overrides={"because": pl.String} if rows and "because" in rows[0] else None)

    def to_pandas(self) -> Any:
        """Return the same of pandas, which must be installed."""
        return importlib.import_module("pandas").DataFrame(self.to_polars().to_dict(as_series=False))

    def _repr_html_(self) -> str:
        return self.to_polars()._repr_html_()


@dataclasses.dataclass(frozen=True)
class MovieFilter:
    """Which movies may be recommended; every bound that is given must hold."""

    genres: tuple[str, ...] = ()
    """Any of these categories, of films the genres; one may be given by itself."""
    year_min: int | None = None
    """Released in this year or later; movies without a year are left out."""
    year_max: int | None = None
    """Released in this year or earlier; likewise."""

    def __post_init__(self) -> None:
        genres: Any = self.genres
        object.__setattr__(self, "genres", (genres,) if isinstance(genres, str) else tuple(genres))


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is known of a user."""

    rows: np.ndarray
    """`[n]` catalogue positions of the rated movies."""
    stars: np.ndarray
    """`[n]` float32, in stars; see `schemas.domain`."""
    asked_s: int
    """The time at which the user is asked about, Unix seconds."""
    known_as: Id | tuple[Id, int] | None = None
    """The known user's id, with the number of their latest event where there are some; None of a new one."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted beside a user."""

    n: int = 10
    """How many movies, from 1 to the number of movies; fewer come back where fewer are left unseen."""
    exclude_movie_ids: tuple[Id, ...] = ()
    """Movies not to recommend beside the rated ones."""
    filter: MovieFilter = MovieFilter()
    """Which movies may be recommended."""
    diversity: float = 0.0
    """0 orders by score alone; up to 1, movies like the ones above them are passed over."""
    skip: int = 0
    """How many of the best ones come before, as an earlier page; only of the order by score."""
    only_movie_ids: tuple[Id, ...] | None = None
    """Movies to choose from; all by default."""
