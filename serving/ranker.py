"""What a published index answers once a user's embedding is known, and what the user tower needs to give it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl

from schemas import features as f
from schemas.domain import Domain
from schemas.ids import number_of
from schemas.ingest import TITLE
from schemas.user_features import no_ratings, user_tower_inputs
from schemas.vectors import Vectors
from serving.answers import (
    PERSONAL,
    POPULAR,
    AmbiguousTitleError,
    Id,
    Movie,
    MovieFilter,
    MovieList,
    Profile,
    RatedMovie,
    Recommendation,
    Request,
    SimilarMovie,
    UnknownIdError,
)
from serving.catalogue import PreparedIndex
from serving.changes import Changes
from serving.index import constants_of
from serving.search import Hits, MovieSearch, Search
from serving.starter import most_telling
from serving.titles import TitleSearch, is_called

_LEAST_SIMILARITY = 0.2
"""Cosine from which on a movie that the user liked is a reason for another one."""
_MOST_STARTERS = 100
_CHOICES = 5
"""Movies that an ambiguous title names."""
_LONGEST_SHOWN = 100
_DIGITS = 6
"""Of ratings, behind the point: what single precision has."""
_DIVERSITY_POOL = 10
"""A diverse choice of n is made among the best n times this many movies."""


_M = TypeVar("_M", bound=Movie)
Ratings = Mapping[Id, float] | Iterable[tuple[Id, float]]
"""A new user's: movie -> rating, or pairs of both."""


@dataclasses.dataclass(frozen=True)
class BareList:
    """Movies recommended to one user, best first."""

    keys: list[Id]
    """`[n]` the movies' ids as the data has them."""
    scores: np.ndarray
    """`[n]` cosines."""
    stars: np.ndarray
    """`[n]` predicted ratings on the data set's scale."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A request in the terms of a version's index."""

    profile: Profile
    request: Request
    search: Search

    @property
    def is_personal(self) -> bool:
        """Whether there is anything to rank by."""
        return len(self.profile.rows) > 0


class Ranker:
    """Ranks the movies of one version.

    A user's features come from every rating that is known of them, so that a known user and a new one with the same
    ratings get the same answer.
    """

    def __init__(self, index: PreparedIndex) -> None:
        """Rank the movies of a version's index."""
        self._index, self.manifest, self.catalogue = index, index.manifest, index.catalogue
        self.search = MovieSearch(index.vectors.embeddings, index.faiss_index, index.heads)
        self._similar = MovieSearch(index.similarity)
        self._rating_vectors = index.vectors.rating_vectors
        self._constants, self._histories = constants_of(index.manifest), index.histories
        self._domain, self._scale = index.manifest.domain, index.manifest.domain.scale
        self._liked_stars = self._scale.liked_stars
        self._movie_ids, self._genres = self.catalogue.movie_ids, self.catalogue.genres
        self._user_ids, self._offsets = self.catalogue.user_ids, self.catalogue.offsets

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

    @property
    def embeddings(self) -> np.ndarray:
        """`[movies, dim]` float32, L2-normalised, in the order of the catalogue."""
        return self.search.embeddings

    def changed(self, user_id: Id, changes: Changes | None) -> Profile:
        """Look up a user, known or not, of whom more is known than the version holds.

        Movies that the version does not hold are left out.

        Raises:
          UnknownIdError: Nothing is known of the user.
        """
        if changes is None:
            return self.profile(user_id)
        rows, stars, times = self._ratings(user_id, changes)
        asked_s = min(int(times[-1]), self._constants.latest_s) if len(times) else self._constants.latest_s
        return Profile(rows, stars, asked_s, (user_id, changes.until))

    def _ratings(self, user_id: Id, changes: Changes | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a user's ratings, by time: positions of movies, stars and Unix seconds."""
        try:
            rows, stars, times = self._histories[self._slice(user_id)]
        except UnknownIdError:
            if changes is None or not (changes.ratings or changes.hidden):
                raise
            rows, stars, times = self._histories[:0]
        if changes is None:
            return rows, stars, times
        if changes.forgotten_at_s is not None:
            kept = times > changes.forgotten_at_s
            rows, stars, times = rows[kept], stars[kept], times[kept]
            if not (len(rows) or changes.ratings or changes.hidden):
                raise UnknownIdError(f"user {_shown(user_id)} was forgotten")
        held = self.held([*changes.ratings])
        kept = ~np.isin(rows, self.rows(held))
        rated = [movie for movie in held if changes.ratings[movie] is not None]
        given = self._scale.to_stars(np.array([changes.ratings[movie] for movie in rated], np.float32))
        return (
            np.append(rows[kept], self.rows(rated)),
            np.append(stars[kept], given.astype(np.float32)),
            np.append(times[kept], np.array([changes.times[movie] for movie in rated], np.int64)),
        )

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
            raise UnknownIdError(f"{what} {_shown(key)} cannot be: ids are whole numbers")
        return str(number)

    def profile(self, user_id: Id | None = None, ratings: Ratings | None = None) -> Profile:
        """Look up a known user, or take a new one's ratings, latest last.

        Raises:
          ValueError: Neither or both are given, a movie is rated twice, or a rating is off the data set's scale.
          UnknownIdError: The user or a movie is unknown.
        """
        if user_id is not None and ratings is None:
            rows, stars, timestamps = self._histories[self._slice(user_id)]
            return Profile(rows, stars, int(timestamps[-1]), user_id)
        if user_id is not None or ratings is None:
            raise ValueError("pass either user_id or ratings")
        pairs = list(ratings.items() if isinstance(ratings, Mapping) else ratings)
        rows = self.rows([movie for movie, _ in pairs])
        given = np.array([rating for _, rating in pairs], np.float32)
        if len(set(rows.tolist())) < len(rows):
            raise ValueError("a movie is rated twice; pass each movie once")
        off = ~((given >= self._scale.min) & (given <= self._scale.max))
        if off.any():
            raise ValueError(
                f"a rating of {given[off][0]:g} is off the scale, expected {self._scale.min:g} to {self._scale.max:g}"
            )
        return Profile(rows, self._scale.to_stars(given), self._constants.latest_s)

    def features(self, profiles: Sequence[Profile]) -> dict[str, np.ndarray]:
        """Return what this version's user tower takes for users, one row each."""
        rows = np.concatenate([profile.rows for profile in profiles])
        stars = np.concatenate([profile.stars for profile in profiles])
        offsets = np.cumsum([0, *(len(profile.rows) for profile in profiles)])
        ids, genres = self._movie_ids[rows], self._genres[rows]
        asked_s = np.array([profile.asked_s for profile in profiles])
        return user_tower_inputs(offsets, ids, genres, stars, asked_s, self._constants)

    def probe_features(self) -> dict[str, np.ndarray]:
        """Return what the user tower takes for a user without ratings; see `Manifest.probe`."""
        return no_ratings(self._constants)

    def rank(self, profile: Profile, user: Vectors | None, request: Request) -> MovieList[Recommendation]:
        """Recommend unseen movies, best first; ties go to the lower movie id.

        Args:
          profile: What is known of the user; without ratings, the popularity list is the answer.
          user: The user's vectors; None for the popularity list.
          request: What is wanted.

        Raises:
          ValueError: The request is out of range.
          UnknownIdError: A movie to exclude is unknown.
        """
        return self.rank_many([self.wanted(profile, request)], [user])[0]

    def wanted(self, profile: Profile, request: Request) -> Wanted:
        """Look at a request.

        Raises:
          ValueError: It is out of range.
          UnknownIdError: A movie of it is unknown.
        """
        hidden = profile.rows
        if request.exclude_movie_ids:
            hidden = np.union1d(hidden, self.rows(request.exclude_movie_ids))
        n, allowed = self._checked(request), self._allowed(request.filter, request.only_movie_ids)
        return Wanted(profile, request, Search(n, hidden, allowed))

    def rank_many(self, wanted: Sequence[Wanted], users: Sequence[Vectors | None]) -> list[MovieList[Recommendation]]:
        """Recommend to many users at once, each with its vectors; see `rank`."""
        personal = [
            (each, user) for each, user in zip(wanted, users, strict=True) if user is not None and each.is_personal
        ]
        found = iter(self._described([each for each, _ in personal], [user for _, user in personal]))
        return [
            next(found) if user is not None and each.is_personal else self._popular(each.search, each.request)
            for each, user in zip(wanted, users, strict=True)
        ]

    def bare_lists(self, profiles: Sequence[Profile], users: Vectors, request: Request) -> list[BareList]:
        """Recommend to many users who have ratings, by ids alone; see `rank`."""
        found = self._found([self.wanted(profile, request) for profile in profiles], [*users])
        return [
            BareList(self.catalogue.keys_of(hits.rows), hits.scores, self._stars_of_one(hits.rows, user))
            for hits, user in zip(found, users, strict=True)
        ]

    def _found(self, wanted: Sequence[Wanted], users: Sequence[Vectors]) -> list[Hits]:
        """Return what each user is recommended."""
        embeddings = np.stack([user.embeddings for user in users])
        found = self.search.top_many(embeddings, [each.search for each in wanted])
        return [self._chosen(hits, each.request) for hits, each in zip(found, wanted, strict=True)]

    def predict(self, profile: Profile, user: Vectors | None, movie_ids: Iterable[Id]) -> np.ndarray:
        """Predict ratings on the data set's scale, `[movies]` float32; the movies' averages for a user without ratings.

        Raises:
          UnknownIdError: A movie is unknown.
        """
        rows = self.rows(movie_ids)
        if user is None or not len(profile.rows):
            return self.catalogue.averages[rows]
        return self._stars_of_one(rows, user)

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
            raise UnknownIdError(f"no movie has the id or the title {_shown(name)!r}; search for it first")
        called = [movie for movie in found if is_called(movie.title, name)]
        if len(called) != 1 and len(found) != 1:
            raise AmbiguousTitleError(_shown(name), found)
        return (called or found)[0]

    def movie(self, movie_id: Id) -> Movie:
        """Return a movie.

        Raises:
          UnknownIdError: The movie is unknown.
        """
        return self._movies(Movie, self.rows([movie_id]))[0]

    def find_movies(self, query: str, n: int = 10) -> MovieList[Movie]:
        """Return the n movies that match a title best; see `TitleSearch.find`."""
        return self._movies(Movie, np.array(self.titles.find(query, n), np.int64))

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

    def history(self, user_id: Id, changes: Changes | None = None) -> pl.DataFrame:
        """Return a user's ratings: `movie_id`, `title`, `rating`, `timestamp`, by time; null where there is none.

        Raises:
          UnknownIdError: The user is unknown.
        """
        rows, stars, timestamps = self._ratings(user_id, changes)
        columns = {
            f.MOVIE_ID: self.catalogue.keys_of(rows),
            TITLE: self.catalogue.titles_of(rows),
            f.RATING: _plain(self._scale.given(stars)),
            f.TIMESTAMP: timestamps if self._domain.timed else [None] * len(timestamps),
        }
        key = pl.String if self._domain.text_item_ids else pl.Int64
        return pl.DataFrame(columns, {f.MOVIE_ID: key, TITLE: pl.String, f.RATING: pl.Float64, f.TIMESTAMP: pl.Int64})

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
            key = _shown(keys[int(there.argmin())])
            raise UnknownIdError(
                f"movie {key} is unknown to version {self.model_version} ({len(self._movie_ids):,} movies)"
            )
        return rows

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

    def _checked(self, request: Request) -> int:
        """Return how many movies to search for."""
        movies = len(self._movie_ids)
        if not 1 <= request.n <= movies:
            raise ValueError(f"n is {request.n}, expected 1 to {movies}, the number of movies")
        if not 0 <= request.diversity <= 1:
            raise ValueError(f"diversity is {request.diversity:g}, expected 0 to 1")
        if request.skip < 0 or (request.skip and request.diversity):
            raise ValueError("skip is 0 or more, and of the order by score alone: without diversity")
        return min(request.n * _DIVERSITY_POOL if request.diversity else request.skip + request.n, movies)

    def _allowed(self, wanted: MovieFilter, only: Sequence[Id] | None) -> np.ndarray | None:
        if wanted == MovieFilter() and only is None:
            return None
        allowed = np.full(len(self._movie_ids), only is None)
        if only is not None:
            allowed[self.rows(only)] = True
        if wanted.genres:
            allowed &= self._genres[:, [self._category(name) for name in wanted.genres]].any(axis=1)
        if wanted.year_min is not None:
            allowed &= self.catalogue.years >= wanted.year_min
        if wanted.year_max is not None:
            allowed &= self.catalogue.years <= wanted.year_max
        return allowed

    def category(self, name: str) -> int | None:
        """Return the place of the category that is meant, whatever the case of its name; None if there is none."""
        known = self._domain.categories
        places = {other.casefold(): place for place, other in reversed([*enumerate(known)])}
        return known.index(name) if name in known else places.get(name.casefold())

    def _category(self, name: str) -> int:
        place = self.category(name)
        if place is None:
            raise ValueError(f"unknown genre {_shown(name)}; expected one of {', '.join(self._domain.categories)}")
        return place

    def _popular(self, search: Search, request: Request) -> MovieList[Recommendation]:
        left = np.ones(len(self._movie_ids), bool) if search.allowed is None else search.allowed.copy()
        left[search.hidden] = False
        order = self.catalogue.by_popularity
        rows = order[left[order]][request.skip : request.skip + request.n]
        averages = _plain(self.catalogue.averages[rows])
        return self._movies(Recommendation, rows, [0.0] * len(rows), averages, [POPULAR] * len(rows))

    def _stars_of_one(self, rows: np.ndarray, user: Vectors) -> np.ndarray:
        return self._stars_of(rows, np.broadcast_to(user.rating_vectors, (len(rows), len(user.rating_vectors))))

    def _stars_of(self, rows: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Predict ratings on the data set's scale, `[n]`, of movies by users.

        Args:
          rows: `[n]` positions of the movies.
          users: `[n, dim]` rating vectors.
        """
        # Row by row: a product of matrices has other last bits for one user than for many.
        cosines = np.einsum("ij,ij->i", self._rating_vectors[rows], users)
        ratings: np.ndarray = self._scale.of_stars(np.clip(f.to_stars(cosines), f.RATING_MIN, f.RATING_MAX))
        return ratings

    def _chosen(self, hits: Hits, request: Request) -> Hits:
        """Return the page of what was found that is wanted, or a diverse choice."""
        if request.diversity:
            return self._similar.diversify(hits, request.n, request.diversity)
        return Hits(hits.rows[request.skip :], hits.scores[request.skip :])

    def _described(self, wanted: Sequence[Wanted], users: Sequence[Vectors]) -> list[MovieList[Recommendation]]:
        if not wanted:
            return []
        found = self._found(wanted, users)
        # All at once: of ten movies most of NumPy's time is that of its calls.
        ends = np.cumsum([0, *(len(hits.rows) for hits in found)])
        rows, scores = np.concatenate([hits.rows for hits in found]), np.concatenate([hits.scores for hits in found])
        vectors = np.repeat(np.stack([user.rating_vectors for user in users]), np.diff(ends), axis=0)
        stars = _plain(self._stars_of(rows, vectors))
        reasons = self._reasons(found, [each.profile for each in wanted])
        movies = self._movies(Recommendation, rows, scores.tolist(), stars, [PERSONAL] * len(rows), reasons)
        return [MovieList(movies[begin:end]) for begin, end in itertools.pairwise(ends.tolist())]

    def _reasons(self, found: Sequence[Hits], profiles: Sequence[Profile]) -> list[RatedMovie | None]:
        """Return for each user's movies the most similar one that the user liked; None where none is similar."""
        nearest = [self._nearest_liked(hits.rows, profile) for hits, profile in zip(found, profiles, strict=True)]
        rows, stars, similarity = (np.concatenate(parts) for parts in zip(*nearest, strict=True))
        facts, ratings = self.catalogue.facts(rows), _plain(self._scale.given(stars))
        return [
            RatedMovie(of.key, of.title, rating) if is_close else None
            for of, rating, is_close in zip(facts, ratings, (similarity >= _LEAST_SIMILARITY).tolist(), strict=True)
        ]

    def _nearest_liked(self, rows: np.ndarray, profile: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which movie that the user liked is the most similar to each of some, its rating, and how similar."""
        liked = np.flatnonzero(profile.stars >= self._liked_stars)
        if not len(liked):
            return rows, np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
        known, vectors = profile.rows[liked], self._similar.embeddings
        similarity = vectors.take(rows, axis=0) @ vectors.take(known, axis=0).T
        similarity *= self._genres.take(rows, axis=0) @ self._genres.take(known, axis=0).T > 0
        nearest = similarity.argmax(axis=1)
        return known[nearest], profile.stars[liked[nearest]], similarity[np.arange(len(rows)), nearest]

    def _slice(self, user_id: Id) -> slice:
        number = int(self._numbers([user_id], self._domain.text_user_ids)[0])
        place = int(np.searchsorted(self._user_ids, number))
        if place == len(self._user_ids) or self._user_ids[place] != number:
            raise UnknownIdError(
                f"user {_shown(user_id)} is unknown to version {self.model_version} ({len(self._user_ids):,} users); "
                "pass a few ratings instead"
            )
        return slice(int(self._offsets[place]), int(self._offsets[place + 1]))

    def _movies(self, kind: type[_M], rows: np.ndarray, *columns: Iterable[Any]) -> MovieList[_M]:
        """Return movies by their positions, with what their kind has beside them."""
        facts = self.catalogue.facts(rows)
        return MovieList(
            [
                kind(key, title, genres, year, *values, links=links)
                for (key, title, genres, year, links), *values in zip(facts, *columns, strict=True)
            ]
        )


def _plain(ratings: np.ndarray) -> list[float]:
    """Return ratings as people write them: 3.3, not the 3.299999952316284 that is nearest to it in 32 bits."""
    rounded: list[float] = np.round(ratings.astype(np.float64), _DIGITS).tolist()
    return rounded


def _whole_number(key: Id) -> int:
    """Read an id of a data set whose ids are whole numbers; -1 where it is none."""
    try:
        number = int(key)
    except ValueError:
        return -1
    return number if 0 <= number < 1 << 63 else -1


def _shown(key: Id) -> str:
    text = str(key)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
