"""The recommender: a published index and a user tower of the same version."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from components.polars_example_gen.features import user_features
from components.pusher.index import EmbeddingIndex, read_index
from components.pusher.store import ServingStore
from schemas import features as f
from schemas.manifest import EMBEDDING_INDEX
from schemas.signatures import USER_TOWER
from serving.user_tower import InProcessUserTower, UserTower

PERSONAL = "personal"
"""`Recommendation.source`: ranked for this user."""
POPULAR = "popular"
"""`Recommendation.source`: nothing is known of the user, so that the movies with most ratings are listed."""


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One recommended movie."""

    movie_id: int
    title: str
    genres: tuple[str, ...]
    year: int | None
    score: float
    """Cosine of user and movie in [-1, 1]; of a popularity list, 0."""
    predicted_rating: float
    """Stars in [0.5, 5]; of a popularity list, the movie's smoothed average."""
    source: str = PERSONAL
    """`personal` or `popular`."""


@dataclasses.dataclass(frozen=True)
class SimilarMovie:
    """A movie close to another one."""

    movie_id: int
    title: str
    genres: tuple[str, ...]
    year: int | None
    score: float
    """Cosine of the two movies in [-1, 1]."""


class Recommender:
    """Recommends unseen movies to known users and to new ones with a few ratings.

    A user's features come from every rating that is known of him, so that a known user and a new one with the same
    ratings get the same answer.
    """

    def __init__(self, index: EmbeddingIndex, user_tower: UserTower) -> None:
        """Combine an index with the user tower of its version; see `load`."""
        self._index, self._tower = index, user_tower
        self._movie_ids = index.movies[f.MOVIE_ID].to_numpy()
        self._genres = index.movies[f.MOVIE_GENRES].list.to_array(len(f.GENRES)).to_numpy()
        count = index.movies[f.MOVIE_NUM_RATINGS].to_numpy()
        self._average = index.movies[f.MOVIE_AVERAGE_RATING].to_numpy()
        self._by_popularity = np.argsort(-count, kind="stable")
        histories = index.histories
        self._user_ids, starts = np.unique(histories[f.USER_ID].to_numpy(), return_index=True)
        self._offsets = np.append(starts, histories.height)
        self._rated = np.searchsorted(self._movie_ids, histories[f.MOVIE_ID].to_numpy()).astype(np.int32)
        self._stars = histories[f.RATING].to_numpy()

    @classmethod
    def load(cls, serving_dir: str, version: int | None = None, user_tower: UserTower | None = None) -> Recommender:
        """Load a published version and verify its digests.

        Args:
          serving_dir: Serving root, path or URI.
          version: Version to load; the newest complete one by default.
          user_tower: Where embeddings come from, which must be of the same version; the tower in this process by
            default.

        Raises:
          ValueError: Nothing is published there, or not this version.
          RuntimeError: The version is damaged.
        """
        store = ServingStore(str(serving_dir))
        versions = store.versions()
        if not versions:
            raise ValueError(f"no model is published under {serving_dir}; run the pipeline first (matinee run)")
        if version is None:
            version = versions[-1]
        elif version not in versions:
            raise ValueError(f"version {version} is not published under {serving_dir}; there are {versions}")
        index = read_index(store.directory(EMBEDDING_INDEX, version))
        return cls(index, user_tower or InProcessUserTower(store.directory(USER_TOWER, version)))

    @property
    def model_version(self) -> int:
        """The version of index and tower."""
        return self._index.manifest.version

    @property
    def user_ids(self) -> np.ndarray:
        """`[users]` int64: every known user, ascending."""
        return self._user_ids

    @property
    def movies(self) -> pl.DataFrame:
        """The catalogue, sorted by `movie_id`."""
        return self._index.movies

    def history(self, user_id: int) -> pl.DataFrame:
        """Return a known user's ratings: `movie_id`, `title`, `rating`, `timestamp`, by time.

        Raises:
          ValueError: The user is unknown.
        """
        start, stop = self._slice(user_id)
        rows = self._index.histories[start:stop]
        titles = self._index.movies[self._rated[start:stop]]["title"]
        return rows.select(f.MOVIE_ID, f.RATING, f.TIMESTAMP).insert_column(1, titles)

    def recommend(
        self,
        user_id: int | None = None,
        ratings: Iterable[tuple[int, float]] | None = None,
        n: int = 10,
        exclude_movie_ids: Iterable[int] = (),
    ) -> list[Recommendation]:
        """Recommend the n unseen movies with the highest scores; ties go to the lower movie id.

        Args:
          user_id: A known user.
          ratings: Instead, the (movie_id, stars) pairs of a new user; without any, the popularity list.
          n: How many, from 1 to the number of movies. Fewer come back where fewer are left unseen.
          exclude_movie_ids: Movies not to recommend beside the rated ones.

        Raises:
          ValueError: Neither or both of user_id and ratings are given, a user or movie is unknown, a rating is off the
            scale or n is out of range.
        """
        if not 1 <= n <= len(self._movie_ids):
            raise ValueError(f"n is {n}, expected 1 to {len(self._movie_ids)}, the number of movies")
        rated, stars = self._ratings_of(user_id, ratings)
        hidden = np.zeros(len(self._movie_ids), bool)
        hidden[rated] = True
        hidden[self._rows(exclude_movie_ids)] = True
        if not len(rated):
            rows = self._by_popularity[~hidden[self._by_popularity]][:n]
            return [self._recommendation(row, 0.0, float(self._average[row]), POPULAR) for row in rows]
        scores = self._scores(rated, stars)
        rows = _top(np.where(hidden, -np.inf, scores), min(n, int((~hidden).sum())))
        return [self._recommendation(row, float(scores[row]), _clip(f.to_stars(scores[row])), PERSONAL) for row in rows]

    def predict_ratings(
        self,
        user_id: int | None = None,
        ratings: Iterable[tuple[int, float]] | None = None,
        movie_ids: Sequence[int] = (),
    ) -> np.ndarray:
        """Predict a user's ratings of movies.

        Args:
          user_id: A known user.
          ratings: Instead, the (movie_id, stars) pairs of a new user; without any, the movies' averages.
          movie_ids: Movies to predict.

        Returns:
          `[movies]` float32, stars in [0.5, 5].

        Raises:
          ValueError: As `recommend`.
        """
        rated, stars = self._ratings_of(user_id, ratings)
        rows = self._rows(movie_ids)
        if not len(rated):
            return self._average[rows]
        return np.clip(f.to_stars(self._scores(rated, stars)[rows]), f.RATING_MIN, f.RATING_MAX)

    def similar_movies(self, movie_id: int, n: int = 10) -> list[SimilarMovie]:
        """Return the n movies closest to a movie by cosine.

        Raises:
          ValueError: The movie is unknown or n is out of range.
        """
        if not 1 <= n < len(self._movie_ids):
            raise ValueError(f"n is {n}, expected 1 to {len(self._movie_ids) - 1}, the number of other movies")
        (row,) = self._rows([movie_id])
        scores = self._index.embeddings @ self._index.embeddings[row]
        scores[row] = -np.inf
        return [SimilarMovie(*self._describe(other), float(scores[other])) for other in _top(scores, n)]

    def user_features(self, user_id: int) -> dict[str, np.ndarray]:
        """Return the features of a known user, as the user tower takes them: `[1, 20]` float32 each.

        Raises:
          ValueError: The user is unknown.
        """
        return self._features(*self._ratings_of(user_id, None))

    def _scores(self, rated: np.ndarray, stars: np.ndarray) -> np.ndarray:
        return self._index.embeddings @ self._tower.embed(self._features(rated, stars))[0]

    def _features(self, rated: np.ndarray, stars: np.ndarray) -> dict[str, np.ndarray]:
        values = user_features(np.array([0, len(rated)]), self._genres[rated], stars, self._index.constants)
        return dict(zip(f.USER_FEATURES, values, strict=True))

    def _ratings_of(self, user_id: int | None, ratings) -> tuple[np.ndarray, np.ndarray]:
        if (user_id is None) == (ratings is None):
            raise ValueError("pass either user_id or ratings")
        if user_id is not None:
            start, stop = self._slice(user_id)
            return self._rated[start:stop], self._stars[start:stop]
        pairs = list(ratings)
        rows = self._rows([movie for movie, _ in pairs])
        stars = np.array([stars for _, stars in pairs], np.float32)
        if len(set(rows.tolist())) < len(rows):
            raise ValueError("a movie is rated twice; pass each movie once")
        off = ~((stars >= f.RATING_MIN) & (stars <= f.RATING_MAX))
        if off.any():
            raise ValueError(
                f"a rating of {stars[off][0]:g} is off the scale, expected {f.RATING_MIN} to {f.RATING_MAX:g}"
            )
        return rows, stars

    def _slice(self, user_id: int) -> tuple[int, int]:
        place = int(np.searchsorted(self._user_ids, user_id))
        if place == len(self._user_ids) or self._user_ids[place] != user_id:
            raise ValueError(
                f"user {user_id} is unknown to version {self.model_version} ({len(self._user_ids):,} users); "
                "pass a few ratings instead"
            )
        return int(self._offsets[place]), int(self._offsets[place + 1])

    def _rows(self, movie_ids: Iterable[int]) -> np.ndarray:
        ids = np.array(list(movie_ids), np.int64)
        rows = np.minimum(np.searchsorted(self._movie_ids, ids), len(self._movie_ids) - 1)
        unknown = self._movie_ids[rows] != ids
        if unknown.any():
            raise ValueError(
                f"movie {ids[unknown][0]} is unknown to version {self.model_version} ({len(self._movie_ids):,} movies)"
            )
        return rows

    def _describe(self, row: int) -> tuple[int, str, tuple[str, ...], int | None]:
        movie = self._index.movies.row(int(row), named=True)
        return movie[f.MOVIE_ID], movie["title"], tuple(movie["genres"]), movie["year"]

    def _recommendation(self, row: int, score: float, stars: float, source: str) -> Recommendation:
        return Recommendation(*self._describe(row), score, stars, source)


def _top(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the positions of the n highest scores, best first, ties by position."""
    if not n:
        return np.empty(0, np.int64)
    threshold = np.partition(scores, len(scores) - n)[len(scores) - n]
    above, equal = np.flatnonzero(scores > threshold), np.flatnonzero(scores == threshold)
    rows = np.concatenate([above, equal[: n - len(above)]])
    return rows[np.lexsort((rows, -scores[rows]))]


def _clip(stars: float) -> float:
    return float(np.clip(stars, f.RATING_MIN, f.RATING_MAX))
