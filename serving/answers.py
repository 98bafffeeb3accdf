"""What is asked of the ranker, and what it answers."""

from __future__ import annotations

import dataclasses

import numpy as np
from pydantic import ConfigDict

PERSONAL = "personal"
"""`Recommendation.source`: ranked for this user."""
POPULAR = "popular"
"""`Recommendation.source`: nothing is known of the user, so that the movies with most ratings are listed."""


_DOCUMENTED = ConfigDict(use_attribute_docstrings=True)
"""The service's OpenAPI describes the fields as they are described here."""


Id = int | str
"""Id of a user or movie as the data has it: a whole number, or text."""


class UnknownIdError(ValueError):
    """A user or movie that the version does not hold."""


@dataclasses.dataclass(frozen=True)
class Movie:
    """A movie of the catalogue."""

    __pydantic_config__ = _DOCUMENTED

    movie_id: Id
    title: str
    genres: tuple[str, ...]
    year: int | None


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


@dataclasses.dataclass(frozen=True)
class MovieFilter:
    """Which movies may be recommended; every bound that is given must hold."""

    genres: tuple[str, ...] = ()
    """Any of these categories, of films the genres."""
    year_min: int | None = None
    """Released in this year or later; movies without a year are left out."""
    year_max: int | None = None
    """Released in this year or earlier; likewise."""


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is known of a user."""

    rows: np.ndarray
    """`[n]` catalogue positions of the rated movies."""
    stars: np.ndarray
    """`[n]` float32, in stars; see `schemas.domain`."""
    asked_s: int
    """The time at which the user is asked about, Unix seconds."""


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
