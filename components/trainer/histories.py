"""Histories while training: every user's latest ratings, looked up by user.

In the examples they would be repeated in every row of the user; as a table they take 5 bytes a rating and at most
`HISTORY_LENGTH` + 1 ratings a user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import polars as pl
import tensorflow as tf

from components import dataset
from schemas import features as f
from schemas.ingest import IS_TRAIN
from schemas.user_features import user_history


@dataclasses.dataclass(frozen=True)
class HistoryTable:
    """The latest ratings of every user, the latest first."""

    user_ids: np.ndarray
    """`[users]` int64, ascending."""
    movies: np.ndarray
    """`[users, HISTORY_LENGTH + 1]` int32, places in the vocabulary from 1; 0 for a movie that it lacks."""
    half_stars: np.ndarray
    """`[users, HISTORY_LENGTH + 1]` uint8, ratings in steps of half a star; 0 where there is none."""
    vocabulary: np.ndarray
    """`[movies]` int64, the movie ids in the order of the vocabulary."""

    def lookup(self, user_id: tf.Tensor, movie_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the histories of a batch of rows without the rows' own movies.

        Args:
          user_id: `[batch, 1]` int64.
          movie_id: `[batch, 1]` int64, the row's movie.

        Returns:
          `user_history_tokens` int32 and `user_history_ratings` float32 in stars, `[batch, HISTORY_LENGTH + 1]` each.
        """
        user_ids = tf.constant(self.user_ids)
        row = tf.minimum(tf.searchsorted(user_ids, user_id[:, 0]), len(self.user_ids) - 1)
        index = tf.gather(tf.constant(self.movies), row)
        rating = tf.cast(tf.gather(tf.constant(self.half_stars), row), tf.float32) * f.RATING_STEP
        known = tf.gather(user_ids, row)[:, None] == user_id
        return {
            f.USER_HISTORY_TOKENS: index,
            f.USER_HISTORY_RATINGS: tf.where(known & (index != self._tokens(movie_id)), rating, 0.0),
        }

    def _tokens(self, movie_id: tf.Tensor) -> tf.Tensor:
        """Return places in the vocabulary from 1, int32; 0 for a movie that it lacks."""
        order = np.argsort(self.vocabulary)
        ids, tokens = tf.constant(self.vocabulary[order]), tf.constant(order.astype(np.int32) + 1)
        place = tf.minimum(tf.searchsorted(ids, movie_id[:, 0]), len(order) - 1)
        return tf.where(tf.gather(ids, place) == movie_id[:, 0], tf.gather(tokens, place), 0)[:, None]


def load(histories_uri: str, vocabulary: np.ndarray) -> tuple[HistoryTable, HistoryTable]:
    """Build the table of train ratings and that of all ratings, shard by shard.

    Args:
      histories_uri: URI of the UserHistories artifact.
      vocabulary: `[movies]` int64, the movie ids in the order of the vocabulary.
    """
    places = pl.DataFrame({f.MOVIE_ID: vocabulary, f.MOVIE_TOKEN: np.arange(1, len(vocabulary) + 1, dtype=np.int32)})
    shards = (dataset.read_parquet(path) for path in dataset.history_shards(histories_uri))
    parts = [(_table(shard.filter(IS_TRAIN), places), _table(shard, places)) for shard in shards]
    train, every = (_joined(tables) for tables in zip(*parts, strict=True))
    return train, every


def _joined(parts: Sequence[HistoryTable]) -> HistoryTable:
    user_ids, movies, half_stars = (
        np.concatenate(columns)
        for columns in zip(*((part.user_ids, part.movies, part.half_stars) for part in parts), strict=True)
    )
    order = np.argsort(user_ids)
    return HistoryTable(user_ids[order], movies[order], half_stars[order], parts[0].vocabulary)


def _table(shard: pl.DataFrame, places: pl.DataFrame) -> HistoryTable:
    latest = (
        shard.sort(f.USER_ID, f.TIMESTAMP, f.MOVIE_ID)
        .group_by(f.USER_ID, maintain_order=True)
        .tail(f.HISTORY_LENGTH + 1)
        .join(places, on=f.MOVIE_ID, how="left", maintain_order="left")
    )
    users, starts = np.unique(latest[f.USER_ID].to_numpy(), return_index=True)
    index = latest[f.MOVIE_TOKEN].fill_null(0).to_numpy()
    history = user_history(
        np.append(starts, latest.height), index, latest[f.RATING].to_numpy(), length=f.HISTORY_LENGTH + 1
    )
    half_stars = (history[1] / f.RATING_STEP).astype(np.uint8)
    return HistoryTable(users, history[0], half_stars, places[f.MOVIE_ID].to_numpy())
