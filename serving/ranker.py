"""What a published index answers once a user's embedding is known, and what the user tower needs to give it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from schemas import features as f
from schemas.ingest import GENRE_NAMES, TITLE, YEAR
from schemas.user_features import no_ratings, user_tower_inputs
from schemas.vectors import Vectors, column_array
from serving.answers import (
    PERSONAL,
    POPULAR,
    Movie,
    MovieFilter,
    Profile,
    RatedMovie,
    Recommendation,
    Request,
    SimilarMovie,
    UnknownIdError,
)
from serving.index import EmbeddingIndex
from serving.search import Hits, MovieSearch
from serving.starter import most_telling
from serving.titles import TitleSearch

_LEAST_SIMILARITY = 0.2
"""Cosine from which on a movie that the user liked is a reason for another one."""
_MOST_STARTERS = 100
_DIVERSITY_POOL = 10
"""A diverse choice of n is made among the best n times this many movies."""


class Ranker:
    """Ranks the movies of one version.

    A user's features come from every rating that is known of them, so that a known user and a new one with the same
    ratings get the same answer.
    """

    def __init__(self, index: EmbeddingIndex) -> None:
        """Prepare a version's index."""
        self.manifest, self.movies = index.manifest, index.movies
        self.search = MovieSearch(index.vectors.embeddings, index.faiss_index)
        self._similar = MovieSearch(index.similarity)
        self._rating_vectors = index.vectors.rating_vectors
        self._constants, self._histories = index.constants, index.histories
        self._movie_ids = index.movies[f.MOVIE_ID].to_numpy()
        self._genres = column_array(index.movies[f.MOVIE_GENRES])
        # Python's own lists: a frame takes half a millisecond to look ten movies up. Most movies share their genres.
        self._title, self._years = index.movies[TITLE].to_list(), index.movies[YEAR].to_list()
        joined = index.movies[GENRE_NAMES].list.join("|")
        sets = joined.unique(maintain_order=True)
        self._genre_sets = [tuple(filter(None, text.split("|"))) for text in sets]
        self._genre_set = joined.replace_strict(sets, pl.int_range(len(sets), eager=True)).to_list()
        self._year = index.movies[YEAR].to_numpy().astype(np.float64)  # Null is nan, which no bound lets through.
        self._average = index.movies[f.MOVIE_AVERAGE_RATING].to_numpy()
        self._by_popularity = np.argsort(-index.movies[f.MOVIE_NUM_RATINGS].to_numpy(), kind="stable")
        self._titles = TitleSearch(index.movies)
        self._user_ids, self._offsets = index.histories.user_ids, index.histories.offsets

    @property
    def model_version(self) -> int:
        """The version of index and tower."""
        return self.manifest.version

    @property
    def user_ids(self) -> np.ndarray:
        """`[users]` int64: every known user, ascending."""
        return self._user_ids

    @property
    def embeddings(self) -> np.ndarray:
        """`[movies, dim]` float32, L2-normalised, in the order of `movies`."""
        return self.search.embeddings

    def profile(self, user_id: int | None = None, ratings: Iterable[tuple[int, float]] | None = None) -> Profile:
        """Look up a known user, or take a new one's (movie_id, stars) pairs.

        Raises:
          ValueError: Neither or both are given, a movie is rated twice, or a rating is off the scale.
          UnknownIdError: The user or a movie is unknown.
        """
        if user_id is not None and ratings is None:
            rows, stars, timestamps = self._histories[self._slice(user_id)]
            return Profile(rows, stars, int(timestamps[-1]))
        if user_id is not None or ratings is None:
            raise ValueError("pass either user_id or ratings")
        pairs = list(ratings)
        rows = self.rows([movie for movie, _ in pairs])
        stars = np.array([stars for _, stars in pairs], np.float32)
        if len(set(rows.tolist())) < len(rows):
            raise ValueError("a movie is rated twice; pass each movie once")
        off = ~((stars >= f.RATING_MIN) & (stars <= f.RATING_MAX))
        if off.any():
            raise ValueError(
                f"a rating of {stars[off][0]:g} is off the scale, expected {f.RATING_MIN} to {f.RATING_MAX:g}"
            )
        return Profile(rows, stars, self._constants.latest_s)

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

    def rank(self, profile: Profile, user: Vectors | None, request: Request) -> list[Recommendation]:
        """Recommend unseen movies, best first; ties go to the lower movie id.

        Args:
          profile: What is known of the user; without ratings, the popularity list is the answer.
          user: The user's vectors; None for the popularity list.
          request: What is wanted.

        Raises:
          ValueError: The request is out of range.
          UnknownIdError: A movie to exclude is unknown.
        """
        hidden, allowed, wanted = self._checked(profile, request)
        if user is None or not len(profile.rows):
            return self._popular(hidden, allowed, request.n)
        return self._described(self.search.top(user.embeddings, wanted, hidden, allowed), user, profile, request)

    def rank_many(self, profiles: Sequence[Profile], users: Vectors, request: Request) -> list[list[Recommendation]]:
        """Recommend to many users at once; see `rank`."""
        checked = [self._checked(profile, request) for profile in profiles]
        if not checked:
            return []
        _, allowed, wanted = checked[0]
        found = self.search.top_many(users.embeddings, wanted, [hidden for hidden, _, _ in checked], allowed)
        return [
            self._described(hits, user, profile, request)
            if len(profile.rows)
            else self._popular(hidden, allowed, request.n)
            for hits, user, profile, (hidden, _, _) in zip(found, users, profiles, checked, strict=True)
        ]

    def predict(self, profile: Profile, user: Vectors | None, movie_ids: Iterable[int]) -> np.ndarray:
        """Predict stars in [0.5, 5], `[movies]` float32; the movies' averages for a user without ratings.

        Raises:
          UnknownIdError: A movie is unknown.
        """
        rows = self.rows(movie_ids)
        if user is None or not len(profile.rows):
            return self._average[rows]
        return self._stars_of(rows, user)

    def similar_movies(self, movie_id: int, n: int = 10) -> list[SimilarMovie]:
        """Return the n movies most similar to a movie: by who liked them, genres and title.

        Raises:
          ValueError: n is out of range.
          UnknownIdError: The movie is unknown.
        """
        if not 1 <= n < len(self._movie_ids):
            raise ValueError(f"n is {n}, expected 1 to {len(self._movie_ids) - 1}, the number of other movies")
        row = self.rows([movie_id])
        hits = self._similar.top(self._similar.embeddings[row[0]], n, row)
        return [
            SimilarMovie(*movie, float(score))
            for movie, score in zip(self._movies(hits.rows), hits.scores, strict=True)
        ]

    def movie(self, movie_id: int) -> Movie:
        """Return a movie.

        Raises:
          UnknownIdError: The movie is unknown.
        """
        return Movie(*self._movies(self.rows([movie_id]))[0])

    def find_movies(self, query: str, n: int) -> list[Movie]:
        """Return the n movies that match a title best; see `TitleSearch.find`."""
        return [Movie(*movie) for movie in self._movies(self._titles.find(query, n))]

    def starter_movies(self, n: int = 24) -> list[Movie]:
        """Return the n movies to ask a new user about first: well known, and each says something new; 100 at most."""
        return [Movie(*movie) for movie in self._movies(self._starter[:n])]

    @functools.cached_property
    def _starter(self) -> np.ndarray:
        counts = self.movies[f.MOVIE_NUM_RATINGS].to_numpy()
        return most_telling(self._similar.embeddings, counts, _MOST_STARTERS)

    def history(self, user_id: int) -> pl.DataFrame:
        """Return a known user's ratings: `movie_id`, `title`, `rating`, `timestamp`, by time.

        Raises:
          UnknownIdError: The user is unknown.
        """
        rows, stars, timestamps = self._histories[self._slice(user_id)]
        rated = self.movies.select(f.MOVIE_ID, TITLE)[rows]
        return rated.with_columns(pl.Series(f.RATING, stars), pl.Series(f.TIMESTAMP, timestamps))

    def known(self, movie_ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Part a list of movies into those that the version holds and those that it does not, in their order.

        Raises:
          UnknownIdError: It holds none of them, and there are some.
        """
        ids = np.array(movie_ids, np.int64)
        held = np.isin(ids, self._movie_ids)
        if len(ids) and not held.any():
            self.rows(movie_ids)
        return ids[held].tolist(), ids[~held].tolist()

    def rows(self, movie_ids: Iterable[int]) -> np.ndarray:
        """Return the catalogue positions of movies.

        Raises:
          UnknownIdError: A movie is unknown.
        """
        ids = np.array(list(movie_ids), np.int64)
        rows = np.minimum(np.searchsorted(self._movie_ids, ids), len(self._movie_ids) - 1)
        unknown = self._movie_ids[rows] != ids
        if unknown.any():
            raise UnknownIdError(
                f"movie {ids[unknown][0]} is unknown to version {self.model_version} ({len(self._movie_ids):,} movies)"
            )
        return rows

    def _checked(self, profile: Profile, request: Request) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Return the hidden positions, the allowed movies and how many to search for."""
        movies = len(self._movie_ids)
        if not 1 <= request.n <= movies:
            raise ValueError(f"n is {request.n}, expected 1 to {movies}, the number of movies")
        if not 0 <= request.diversity <= 1:
            raise ValueError(f"diversity is {request.diversity:g}, expected 0 to 1")
        hidden = profile.rows
        if request.exclude_movie_ids:
            hidden = np.union1d(hidden, self.rows(request.exclude_movie_ids))
        wanted = request.n * _DIVERSITY_POOL if request.diversity else request.n
        return hidden, self._allowed(request.filter), min(wanted, movies)

    def _allowed(self, wanted: MovieFilter) -> np.ndarray | None:
        if wanted == MovieFilter():
            return None
        allowed = np.ones(len(self._movie_ids), bool)
        if wanted.genres:
            allowed &= self._genres[:, [f.GENRES.index(name) for name in wanted.genres]].any(axis=1)
        if wanted.year_min is not None:
            allowed &= self._year >= wanted.year_min
        if wanted.year_max is not None:
            allowed &= self._year <= wanted.year_max
        return allowed

    def _popular(self, hidden: np.ndarray, allowed: np.ndarray | None, n: int) -> list[Recommendation]:
        left = np.ones(len(self._movie_ids), bool) if allowed is None else allowed.copy()
        left[hidden] = False
        rows = self._by_popularity[left[self._by_popularity]][:n]
        return [
            Recommendation(*movie, 0.0, float(self._average[row]), POPULAR)
            for row, movie in zip(rows, self._movies(rows), strict=True)
        ]

    def _stars_of(self, rows: np.ndarray, user: Vectors) -> np.ndarray:
        return np.clip(f.to_stars(self._rating_vectors[rows] @ user.rating_vectors), f.RATING_MIN, f.RATING_MAX)

    def _described(self, hits: Hits, user: Vectors, profile: Profile, request: Request) -> list[Recommendation]:
        if request.diversity:
            hits = self._similar.diversify(hits, request.n, request.diversity)
        reasons = self._reasons(hits.rows, profile)
        return [
            Recommendation(*movie, float(score), float(expected), PERSONAL, reason)
            for movie, score, expected, reason in zip(
                self._movies(hits.rows), hits.scores, self._stars_of(hits.rows, user), reasons, strict=True
            )
        ]

    def _reasons(self, rows: np.ndarray, profile: Profile) -> list[RatedMovie | None]:
        """Return for each movie the most similar one that the user liked; None where none is similar."""
        liked = profile.stars >= f.LIKED_RATING
        known, stars = profile.rows[liked], profile.stars[liked]
        if not len(known) or not len(rows):
            return [None] * len(rows)
        similarity = self._similar.embeddings[rows] @ self._similar.embeddings[known].T
        similarity[self._genres[rows] @ self._genres[known].T == 0] = 0.0
        nearest = similarity.argmax(axis=1)
        return [
            RatedMovie(int(self._movie_ids[known[near]]), self._title[known[near]], float(stars[near]))
            if similarity[place, near] >= _LEAST_SIMILARITY
            else None
            for place, near in enumerate(nearest)
        ]

    def _slice(self, user_id: int) -> slice:
        place = int(np.searchsorted(self._user_ids, user_id))
        if place == len(self._user_ids) or self._user_ids[place] != user_id:
            raise UnknownIdError(
                f"user {user_id} is unknown to version {self.model_version} ({len(self._user_ids):,} users); "
                "pass a few ratings instead"
            )
        return slice(int(self._offsets[place]), int(self._offsets[place + 1]))

    def _movies(self, rows: Iterable[int]) -> list[tuple[int, str, tuple[str, ...], int | None]]:
        return [
            (int(self._movie_ids[row]), self._title[row], self._genre_sets[self._genre_set[row]], self._years[row])
            for row in rows
        ]
