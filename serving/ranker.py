"""What a published index answers once a user's embedding is known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from schemas import features as f
from schemas.vectors import Vectors
from serving.answers import PERSONAL, POPULAR, Id, MovieFilter, MovieList, Profile, RatedMovie, Recommendation, Request
from serving.catalogue import PreparedIndex
from serving.profiles import Profiles, plain
from serving.search import Hits, MovieSearch, Search

_LEAST_SIMILARITY = 0.2
"""Cosine from which on a movie that the user liked is a reason for another one."""
_DIVERSITY_POOL = 10
"""A diverse choice of n is made among the best n times this many movies."""


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


class Ranker(Profiles):
    """Ranks the movies of one version."""

    def __init__(self, index: PreparedIndex) -> None:
        """Rank the movies of a version's index."""
        super().__init__(index)
        self.search = MovieSearch(index.vectors.embeddings, index.faiss_index, index.heads)
        self._rating_vectors = index.vectors.rating_vectors

    @property
    def embeddings(self) -> np.ndarray:
        """`[movies, dim]` float32, L2-normalised, in the order of the catalogue."""
        return self.search.embeddings

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

    def predict(self, profile: Profile, user: Vectors | None, movie_ids: Iterable[Id]) -> np.ndarray:
        """Predict ratings on the data set's scale, `[movies]` float32; the movies' averages for a user without ratings.

        Raises:
          UnknownIdError: A movie is unknown.
        """
        rows = self.rows(movie_ids)
        if user is None or not len(profile.rows):
            return self.catalogue.averages[rows]
        return self._stars_of_one(rows, user)

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

    def _found(self, wanted: Sequence[Wanted], users: Sequence[Vectors]) -> list[Hits]:
        """Return what each user is recommended."""
        embeddings = np.stack([user.embeddings for user in users])
        found = self.search.top_many(embeddings, [each.search for each in wanted])
        return [self._chosen(hits, each.request) for hits, each in zip(found, wanted, strict=True)]

    def _chosen(self, hits: Hits, request: Request) -> Hits:
        """Return the page of what was found that is wanted, or a diverse choice."""
        if request.diversity:
            return self._similar.diversify(hits, request.n, request.diversity)
        return Hits(hits.rows[request.skip :], hits.scores[request.skip :])

    def _popular(self, search: Search, request: Request) -> MovieList[Recommendation]:
        left = np.ones(len(self._movie_ids), bool) if search.allowed is None else search.allowed.copy()
        left[search.hidden] = False
        order = self.catalogue.by_popularity
        rows = order[left[order]][request.skip : request.skip + request.n]
        averages = plain(self.catalogue.averages[rows])
        return self._movies(Recommendation, rows, [0.0] * len(rows), averages, [POPULAR] * len(rows))

    def _described(self, wanted: Sequence[Wanted], users: Sequence[Vectors]) -> list[MovieList[Recommendation]]:
        if not wanted:
            return []
        found = self._found(wanted, users)
        # All at once: of ten movies most of NumPy's time is that of its calls.
        ends = np.cumsum([0, *(len(hits.rows) for hits in found)])
        rows, scores = np.concatenate([hits.rows for hits in found]), np.concatenate([hits.scores for hits in found])
        vectors = np.repeat(np.stack([user.rating_vectors for user in users]), np.diff(ends), axis=0)
        stars = plain(self._stars_of(rows, vectors))
        reasons = self._reasons(found, [each.profile for each in wanted])
        movies = self._movies(Recommendation, rows, scores.tolist(), stars, [PERSONAL] * len(rows), reasons)
        return [MovieList(movies[begin:end]) for begin, end in itertools.pairwise(ends.tolist())]

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

    def _reasons(self, found: Sequence[Hits], profiles: Sequence[Profile]) -> list[RatedMovie | None]:
        """Return for each user's movies the most similar one that the user liked; None where none is similar."""
        nearest = [self._nearest_liked(hits.rows, profile) for hits, profile in zip(found, profiles, strict=True)]
        rows, stars, similarity = (np.concatenate(parts) for parts in zip(*nearest, strict=True))
        facts, ratings = self.catalogue.facts(rows), plain(self._scale.given(stars))
        return [
            RatedMovie(of.key, of.title, rating) if is_close else None
            for of, rating, is_close in zip(facts, ratings, (similarity >= _LEAST_SIMILARITY).tolist(), strict=True)
        ]

    def _nearest_liked(self, rows: np.ndarray, profile: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which movie that the user liked is the most similar to each of some, its rating, and how similar."""
        liked = np.flatnonzero(profile.stars >= self._scale.liked_stars)
        if not len(liked):
            return rows, np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
        known, vectors = profile.rows[liked], self._similar.embeddings
        similarity = vectors.take(rows, axis=0) @ vectors.take(known, axis=0).T
        similarity *= self._genres.take(rows, axis=0) @ self._genres.take(known, axis=0).T > 0
        nearest = similarity.argmax(axis=1)
        return known[nearest], profile.stars[liked[nearest]], similarity[np.arange(len(rows)), nearest]
