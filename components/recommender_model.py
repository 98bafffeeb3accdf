"""A recommender in one SavedModel: ratings in, movies out, for those who run TensorFlow Serving and nothing else.

It holds the user tower, the formulas of its features and the movie embeddings of a published version, and finds the
exact best movies.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from schemas import features as f
from schemas import signatures as s
from schemas.user_features import FeatureConstants
from serving.catalogue import Catalogue, PreparedIndex
from serving.index import constants_of
from serving.store import ServingStore

RECOMMEND = "recommend"
"""Signature; `serving_default` is the same."""
MOVIES, RATINGS, MASKED, N, ASKED_S = "movies", "ratings", "masked_movies", "n", "asked_s"
"""Inputs: `[batch, rated]` ids as the data has them, int64 or string, the latest last, and `[batch, rated]` float32
ratings on the data's scale, 0 behind the last; `[batch, masked]` ids not to recommend beside these; `[]` int32, how
many; `[batch]` int64, the time of the user's latest rating in Unix seconds, 0 of a new user. Ids that the version does
not hold say nothing."""
FOUND, SCORES = "movie_ids", "scores"
"""Outputs: `[batch, n]` ids, best first, and `[batch, n]` float64 cosines; -inf where fewer movies are left. A user
without ratings gets the most rated movies, with a score of 0."""
_NO_ID = -1
_DIGITS = 1e12
"""Cosines are the same up to rounding: ties go to the lower movie id."""


class RecommenderModel(tf.Module):
    """See the module."""

    def __init__(
        self, tower_dir: str, catalogue: Catalogue, embeddings: np.ndarray, constants: FeatureConstants
    ) -> None:
        """Combine the parts of a version.

        Args:
          tower_dir: Local directory of the user tower's SavedModel.
          catalogue: The movies.
          embeddings: `[movies, dim]` float32.
          constants: Constants of the user features.
        """
        super().__init__()
        self.tower = tf.saved_model.load(tower_dir)
        self._scale, self._constants = constants.domain.scale, constants
        movies = len(catalogue.movie_ids)
        keys = catalogue.movie_ids if catalogue.keys is None else np.array(catalogue.keys[:], object)
        self.keys = tf.constant(keys, tf.int64 if catalogue.keys is None else tf.string)
        places = tf.lookup.KeyValueTensorInitializer(self.keys, tf.range(movies, dtype=tf.int64))
        self.rows = tf.lookup.StaticHashTable(places, movies)
        """Id -> position; one behind the last of what is none."""
        self.movie_ids = tf.constant(np.append(catalogue.movie_ids, 0))
        self.genres = tf.constant(np.pad(catalogue.genres, ((0, 1), (0, 0))), tf.float64)
        self.embeddings = tf.Variable(embeddings, trainable=False)
        popular = np.empty(movies)
        popular[catalogue.by_popularity] = np.arange(movies, 0, -1.0)
        self.popularity = tf.constant(popular)

    def recommend(
        self, movies: tf.Tensor, ratings: tf.Tensor, masked_movies: tf.Tensor, n: tf.Tensor, asked_s: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Answer; see the names above."""
        known = tf.where(ratings > 0, self.rows.lookup(movies), len(self.popularity))
        rated = known < len(self.popularity)
        stars = tf.where(rated, tf.cast(self._scale.to_stars(ratings), tf.float32), 0.0)
        user = self.tower.signatures[s.EMBED_USER](**self._features(known, rated, stars, asked_s))[s.USER_EMBEDDING]
        cosines = tf.matmul(tf.cast(user, tf.float64), tf.cast(self.embeddings, tf.float64), transpose_b=True)
        personal = tf.reduce_any(rated, axis=1, keepdims=True)
        scores = tf.where(personal, tf.round(cosines * _DIGITS) / _DIGITS, self.popularity)
        hidden = tf.concat([known, self.rows.lookup(masked_movies)], axis=1)
        best, places = tf.math.top_k(self._without(scores, hidden), tf.minimum(n, len(self.popularity)))
        left = tf.math.is_finite(best)
        nothing = tf.constant(_NO_ID if self.keys.dtype == tf.int64 else "", self.keys.dtype)
        return {
            FOUND: tf.where(left, tf.gather(self.keys, places), nothing),
            SCORES: tf.where(left & ~personal, tf.zeros_like(best), best),
        }

    def _features(
        self, rows: tf.Tensor, rated: tf.Tensor, stars: tf.Tensor, asked_s: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Compute what the tower takes, as `schemas.user_features.user_tower_inputs` does."""
        of = self._constants
        genres = tf.gather(self.genres, rows)
        count = tf.reduce_sum(genres, axis=1)
        total = tf.reduce_sum(genres * tf.cast(stars, tf.float64)[:, :, None], axis=1)
        mean = (total + of.pseudo_ratings * tf.constant(of.genre_means, tf.float64)) / (count + of.pseudo_ratings)
        # The latest come first, and what is no rating, last.
        order = tf.argsort(tf.where(rated, -tf.range(tf.shape(rows)[1]), 1), axis=1, stable=True)
        order = order[:, : f.SERVED_HISTORY_LENGTH]
        history = tf.gather(rows, order, batch_dims=1)
        padding = [[0, 0], [0, f.SERVED_HISTORY_LENGTH - tf.shape(order)[1]]]
        ids = tf.where(tf.gather(rated, order, batch_dims=1), tf.gather(self.movie_ids, history), 0)
        return {
            f.USER_GENRE_RATING: tf.cast(mean, tf.float32),
            f.USER_GENRE_COUNT: tf.cast(count, tf.float32),
            f.USER_HISTORY_MOVIES: tf.pad(ids, padding),
            f.USER_HISTORY_RATINGS: tf.pad(tf.gather(stars, order, batch_dims=1), padding),
            f.TIMESTAMP: tf.where(asked_s > 0, asked_s, tf.constant(of.latest_s, tf.int64))[:, None],
        }

    def _without(self, scores: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        user = tf.broadcast_to(tf.range(tf.shape(hidden)[0], dtype=tf.int64)[:, None], tf.shape(hidden))
        places = tf.stack([user, hidden], axis=2)
        held = tf.boolean_mask(places, hidden < len(self.popularity))
        return tf.tensor_scatter_nd_min(scores, held, tf.fill([tf.shape(held)[0]], tf.constant(-np.inf, tf.float64)))


def export_recommender(serving_dir: str, target: str, version: int | None = None) -> str:
    """Write a published version as one SavedModel.

    Args:
      serving_dir: Serving root, path or URI.
      target: Local directory of the model's versions, as TensorFlow Serving watches it; the version's own is made in
        it, and appears at once.
      version: The newest by default.

    Returns:
      The version's directory.

    Raises:
      ValueError: Nothing is published, or the version is there already.
      RuntimeError: The version is damaged.
    """
    store = ServingStore(serving_dir)
    chosen = store.resolve(version)
    directory = pathlib.Path(target) / str(chosen)
    if directory.exists():
        raise ValueError(f"{directory} is there already")
    index = PreparedIndex.read(store, chosen)
    constants = constants_of(index.manifest)
    pathlib.Path(target).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=target) as staging:
        tower_dir = store.local_copy(s.USER_TOWER, chosen, f"{staging}/tower")
        model = RecommenderModel(tower_dir, index.catalogue, index.vectors.embeddings, constants)
        key = model.keys.dtype
        function = tf.function(model.recommend).get_concrete_function(
            tf.TensorSpec([None, None], key, MOVIES),
            tf.TensorSpec([None, None], tf.float32, RATINGS),
            tf.TensorSpec([None, None], key, MASKED),
            tf.TensorSpec([], tf.int32, N),
            tf.TensorSpec([None], tf.int64, ASKED_S),
        )
        tf.saved_model.save(model, f"{staging}/model", {RECOMMEND: function, s.SERVING_DEFAULT: function})
        os.rename(f"{staging}/model", directory)
    return str(directory)
