"""What is found of one published version without knowing a user's taste: movies and users by id, title or likeness."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from schemas.domain import Domain
from schemas.ids import number_of
from serving.answers import AmbiguousTitleError, Id, Movie, MovieList, SimilarMovie, UnknownIdError
from serving.catalogue import PreparedIndex
from serving.search import MovieSearch, Search
from serving.starter import most_telling
from serving.titles import TitleSearch, is_called

_MOST_STARTERS = 100
_CHOICES = 5
"""Movies that an ambiguous title names."""
_LONGEST_SHOWN = 100

_M = TypeVar("_M", bound=Movie)


class Lookup:
    """Finds the movies and users of one version."""

    def __init__(self, index: PreparedIndex) -> None:
        """Look into a version's index."""
        self._index, self.manifest, self.catalogue = index, index.manifest, index.catalogue
        self._similar = MovieSearch(index.similarity)
        self._domain = index.manifest.domain
        self._movie_ids, self._user_ids = self.catalogue.movie_ids, self.catalogue.user_ids

    @property
    def model_version(self) -> int:
        """The version of index and tower."""
        return self.manifest.version

    @property
    def user_ids(self) -> np.ndarray:
        """`[users]` int64, or objects that are text: every known user, in the order of the index."""
        keys = self.catalogue.user_keys
        return self._user_ids if keys is None else np.array(keys[:], object)

    @property
    def domain(self) -> Domain:
        """What the data set is about: its scale, its categories."""
        return self._domain

    def written(self, user_id: Id) -> str:
        """Return a user's id in the one way that it is written in: 7 of "007", where ids are numbers.

        Raises:
          UnknownIdError: It is none of this data set's.
        """
        return self._written(user_id, self._domain.text_user_ids, "user")

    def written_movie(self, movie_id: Id) -> str:
        """Return the same of a movie's."""
        return self._written(movie_id, self._domain.text_item_ids, "movie")

    @staticmethod
    def _written(key: Id, is_text: bool, what: str) -> str:
        if is_text:
            return str(key)
        number = _whole_number(key)
        if number < 0:
            raise UnknownIdError(f"{what} {shown(key)} cannot be: ids are whole numbers")
        return str(number)

    def movie(self, movie_id: Id) -> Movie:
        """Return a movie.

        Raises:
          UnknownIdError: The movie is unknown.
        """
        return self._movies(Movie, self.rows([movie_id]))[0]

    def movie_called(self, name: Id) -> Movie:
        """Return the movie that has an id, or else a title.

        Raises:
          UnknownIdError: None has.
          AmbiguousTitleError: Several may be meant.
        """
        try:
            return self.movie(name)
        except UnknownIdError:
            found = self.find_movies(str(name), _CHOICES)
        if not found or not isinstance(name, str):
            raise UnknownIdError(f"no movie has the id or the title {shown(name)!r}; search for it first")
        called = [movie for movie in found if is_called(movie.title, name)]
        if len(called) != 1 and len(found) != 1:
            raise AmbiguousTitleError(shown(name), found)
        return (called or found)[0]

    def find_movies(self, query: str, n: int = 10) -> MovieList[Movie]:
        """Return the n movies that match a title best; see `TitleSearch.find`."""
        return self._movies(Movie, np.array(self.titles.find(query, n), np.int64))

    def similar_movies(self, movie_id: Id, n: int = 10) -> MovieList[SimilarMovie]:
        """Return the n movies most similar to a movie: by who liked them, genres and title.

        Raises:
          ValueError: n is out of range.
          UnknownIdError: The movie is unknown.
        """
        if not 1 <= n < len(self._movie_ids):
            raise ValueError(f"n is {n}, expected 1 to {len(self._movie_ids) - 1}, the number of other movies")
        row = self.rows([movie_id])
        hits = self._similar.top(self._similar.embeddings[row[0]], Search(n, row))
        return self._movies(SimilarMovie, hits.rows, map(float, hits.scores))

    def starter_movies(self, n: int = 24) -> MovieList[Movie]:
        """Return the n movies to ask a new user about first: well known, and each says something new; 100 at most."""
        return self._movies(Movie, self._starter[:n])

    @functools.cached_property
    def titles(self) -> TitleSearch:
        """The search for titles."""
        return self._index.title_search()

    @functools.cached_property
    def _starter(self) -> np.ndarray:
        return most_telling(self._similar.embeddings, self.catalogue.counts, _MOST_STARTERS)

    def known(self, movie_ids: Sequence[Id]) -> tuple[list[Id], list[Id]]:
        """Part a list of movies into those that the version holds and those that it does not, in their order.

        Raises:
          UnknownIdError: It holds none of them, and there are some.
        """
        if not movie_ids:
            return [], []
        held = self.held(movie_ids)
        if not held:
            self.rows(movie_ids)
        there = set(held)
        return held, [key for key in movie_ids if key not in there]

    def held(self, movie_ids: Sequence[Id]) -> list[Id]:
        """Return those of a list of movies that the version holds, in their order."""
        there = self._found_at(movie_ids)[1]
        return [key for key, is_there in zip(movie_ids, there, strict=True) if is_there]

    def rows(self, movie_ids: Iterable[Id]) -> np.ndarray:
        """Return the catalogue positions of movies.

        Raises:
          UnknownIdError: A movie is unknown.
        """
        keys = list(movie_ids)
        rows, there = self._found_at(keys)
        if not there.all():
            key = shown(keys[int(there.argmin())])
            raise UnknownIdError(
                f"movie {key} is unknown to version {self.model_version} ({len(self._movie_ids):,} movies)"
            )
        return rows

    def category(self, name: str) -> int | None:
        """Return the place of the category that is meant, whatever the case of its name; None if there is none."""
        known = self._domain.categories
        places = {other.casefold(): place for place, other in reversed([*enumerate(known)])}
        return known.index(name) if name in known else places.get(name.casefold())

    def _category(self, name: str) -> int:
        place = self.category(name)
        if place is None:
            raise ValueError(f"unknown genre {shown(name)}; expected one of {', '.join(self._domain.categories)}")
        return place

    def _found_at(self, keys: Sequence[Id]) -> tuple[np.ndarray, np.ndarray]:
        """Return where movies are in the catalogue, or would be, and which of them are there."""
        ids = self._numbers(keys, self._domain.text_item_ids)
        rows = np.minimum(np.searchsorted(self._movie_ids, ids), len(self._movie_ids) - 1)
        return rows, self._movie_ids[rows] == ids

    @staticmethod
    def _numbers(keys: Sequence[Id], are_text: bool) -> np.ndarray:
        """Return the numbers by which all else knows users or movies, `[keys]` int64; -1 for what is none."""
        if are_text:
            return np.array([number_of(str(key)) for key in keys], np.int64)
        try:
            return np.array(keys, np.int64)
        except (ValueError, OverflowError):
            return np.array([_whole_number(key) for key in keys], np.int64)

    def _movies(self, kind: type[_M], rows: np.ndarray, *columns: Iterable[Any]) -> MovieList[_M]:
        """Return movies by their positions, with what their kind has beside them."""
        facts = self.catalogue.facts(rows)
        return MovieList(
            [
                kind(key, title, genres, year, *values, links=links)
                for (key, title, genres, year, links), *values in zip(facts, *columns, strict=True)
            ]
        )


def _whole_number(key: Id) -> int:
    """Read an id of a data set whose ids are whole numbers; -1 where it is none."""
    try:
        number = int(key)
    except ValueError:
        return -1
    return number if 0 <= number < 1 << 63 else -1


def shown(key: Id) -> str:
    """Return an id as messages show it: what was given may be of any length."""
    text = str(key)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
