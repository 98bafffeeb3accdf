"""The recommender: a published index and a user tower of the same version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from schemas.manifest import EMBEDDING_INDEX
from schemas.vectors import Vectors
from serving.answers import Id, MovieFilter, MovieList, Profile, Recommendation, Request, SimilarMovie
from serving.catalogue import PreparedIndex
from serving.index import EmbeddingIndex, read_index
from serving.profiles import Ratings
from serving.ranker import BareList, Ranker
from serving.store import ServingStore
from serving.user_tower import UserEmbedder, tower_of


class Recommender(Ranker):
    """Recommends unseen movies to known users and to new ones with a few ratings."""

    def __init__(self, index: EmbeddingIndex, user_tower: UserEmbedder) -> None:
        """Combine an index with the user tower of its version; see `load`."""
        super().__init__(PreparedIndex.of(index))
        self.movies = index.movies
        """The catalogue, sorted by `movie_id`."""
        self._tower = user_tower

    @classmethod
    def load(cls, serving_dir: str, version: int | None = None, user_tower: UserEmbedder | None = None) -> Recommender:
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
        chosen = store.resolve(version)
        while True:
            try:
                index = read_index(store.directory(EMBEDDING_INDEX, chosen), chosen)
                return cls(index, user_tower or tower_of(store, chosen))
            except (OSError, RuntimeError, ValueError):
                # It may have been pruned while it was read; what came after it is there.
                before, chosen = chosen, store.resolve(version)
                if chosen == before:
                    raise

    def __repr__(self) -> str:
        """Name the version and its size."""
        counts = ", ".join(f"{name}={number:,}" for name, number in self.manifest.counts.items())
        return f"Recommender(version={self.model_version}, {counts})"

    def profile(self, user_id: Id | None = None, ratings: Ratings | None = None) -> Profile:
        """As `Profiles.profile`; a movie may be named by its title."""
        if ratings is not None:
            pairs = ratings.items() if isinstance(ratings, Mapping) else ratings
            ratings = [(self._id_of(movie), rating) for movie, rating in pairs]
        return super().profile(user_id, ratings)

    def similar_movies(self, movie_id: Id, n: int = 10) -> MovieList[SimilarMovie]:
        """As `Lookup.similar_movies`; the movie may be named by its title."""
        return super().similar_movies(self._id_of(movie_id), n)

    def _id_of(self, name: Id) -> Id:
        """Only text may be a title."""
        return self.movie_called(name).movie_id if isinstance(name, str) else name

    def recommend(
        self,
        user_id: Id | None = None,
        ratings: Ratings | None = None,
        n: int = 10,
        exclude_movie_ids: Iterable[Id] = (),
        filter: MovieFilter | None = None,
        diversity: float = 0.0,
    ) -> MovieList[Recommendation]:
        """Recommend the n unseen movies with the highest scores; ties go to the lower movie id.

        Args:
          user_id: A known user.
          ratings: Instead, those of a new user, latest last: movie -> rating, or pairs of both, movies by id or title;
            without any, the popularity list.
          n: How many, from 1 to the number of movies. Fewer come back where fewer are left unseen.
          exclude_movie_ids: Movies not to recommend beside the rated ones.
          filter: Genres and years to choose from.
          diversity: 0 orders by score alone; up to 1, movies like the ones above them are passed over.

        Raises:
          ValueError: Neither or both of user_id and ratings are given, a rating is off the scale, or n or diversity is
            out of range; of the kind `UnknownIdError`, a user or movie is unknown.
        """
        request = Request(n, tuple(exclude_movie_ids), filter or MovieFilter(), diversity)
        profile = self.profile(user_id, ratings)
        return self.rank(profile, self._embed(profile), request)

    def recommend_many(
        self,
        user_ids: Sequence[Id],
        n: int = 10,
        exclude_movie_ids: Iterable[Id] = (),
        filter: MovieFilter | None = None,
        diversity: float = 0.0,
    ) -> list[MovieList[Recommendation]]:
        """Recommend to many known users in one pass; each answer equals that of `recommend`.

        Raises:
          ValueError: As `recommend`.
        """
        request = Request(n, tuple(exclude_movie_ids), filter or MovieFilter(), diversity)
        profiles = [self.profile(user) for user in user_ids]
        if not profiles:
            return []
        wanted = [self.wanted(profile, request) for profile in profiles]
        return self.rank_many(wanted, [*self._tower.embed(self.features(profiles))])

    def lists(self, user_ids: Sequence[Id], request: Request) -> list[BareList]:
        """Return the movies of `recommend_many` by their ids alone, without reasons: what a table of millions holds."""
        profiles = [self.profile(user) for user in user_ids]
        return self.bare_lists(profiles, self._tower.embed(self.features(profiles)), request) if profiles else []

    def predict_ratings(
        self,
        user_id: Id | None = None,
        ratings: Ratings | None = None,
        movie_ids: Sequence[Id] = (),
    ) -> np.ndarray:
        """Predict a user's ratings of movies.

        Args:
          user_id: A known user.
          ratings: Instead, those of a new user, as for `recommend`; without any, the movies' averages.
          movie_ids: Movies to predict.

        Returns:
          `[movies]` float32, on the data set's scale.

        Raises:
          ValueError: As `recommend`.
        """
        profile = self.profile(user_id, ratings)
        return self.predict(profile, self._embed(profile), movie_ids)

    def user_tower_inputs(self, user_id: Id) -> dict[str, np.ndarray]:
        """Return what the user tower takes for a known user, `[1, n]` each.

        Raises:
          ValueError: The user is unknown.
        """
        return self.features([self.profile(user_id)])

    def _embed(self, profile: Profile) -> Vectors | None:
        return self._tower.embed(self.features([profile]))[0] if len(profile.rows) else None
