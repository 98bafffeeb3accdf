"""Histories while training: what every user had rated by the time of a row, looked up by user and time.

In the examples they would be repeated in every row of the user; as a table they take 13 bytes a rating.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import polars as pl
import tensorflow as tf

from components import dataset
from schemas import features as f
from schemas.data_spec import movielens
from schemas.domain import Domain
from schemas.ids import places_of
from schemas.ingest import IS_TRAIN

USER_ROW = "user_row"
"""A row's user, by their place in the table."""
BEHIND = "behind"
"""The rating in the table behind the last one that the user had given by the time of the row."""


@dataclasses.dataclass(frozen=True)
class HistoryTable:
    """Every user's ratings, by user and time."""

    user_ids: np.ndarray
    """`[users]` int64, in any order."""
    offsets: np.ndarray
    """`[users + 1]` int64; user `u` gave the ratings `offsets[u]:offsets[u + 1]`."""
    movies: np.ndarray
    """`[ratings]` int32, places in the vocabulary from 1; 0 for a movie that it lacks."""
    steps: np.ndarray
    """`[ratings]` uint8, ratings in steps of the scale, from 1 on."""
    timestamps: np.ndarray
    """`[ratings]` int64, Unix seconds."""
    vocabulary: np.ndarray
    """`[movies]` int64, the movie ids in the order of the vocabulary."""
    domain: Domain = dataclasses.field(default_factory=movielens)
    """What the data set is about."""

    @classmethod
    def of(
        cls,
        ratings: pl.DataFrame,
        vocabulary: np.ndarray,
        domain: Domain | None = None,
    ) -> HistoryTable:
        """Make the table of ratings.

        Args:
          ratings: `user_id`, `movie_id`, `rating` in stars, `timestamp`; by user, time and movie.
          vocabulary: `[movies]` int64, the movie ids in the order of the vocabulary.
          domain: What the data set is about; as MovieLens' data by default.
        """
        domain = domain or movielens()
        users = ratings[f.USER_ID].rle().struct.unnest()
        order = np.argsort(vocabulary)
        place = places_of(ratings[f.MOVIE_ID].to_numpy(), vocabulary[order])
        # One before the first place is the last token: the unknown movie's.
        tokens = np.append(order + 1, 0).astype(np.int32)
        return cls(
            users["value"].to_numpy(),
            np.append(0, np.cumsum(users["len"].to_numpy())).astype(np.int64),
            tokens[place],
            domain.scale.steps_of_stars(ratings[f.RATING].to_numpy()),
            ratings[f.TIMESTAMP].to_numpy(),
            vocabulary,
            domain,
        )

    @classmethod
    def joined(cls, tables: Sequence[HistoryTable]) -> HistoryTable:
        """Join tables of different users, in the same vocabulary."""
        rows = np.cumsum([0, *(len(table.movies) for table in tables)])
        offsets = [table.offsets[:-1] + begin for table, begin in zip(tables, rows, strict=False)]
        arrays = ("user_ids", "movies", "steps", "timestamps")
        joined = {name: np.concatenate([getattr(table, name) for table in tables]) for name in arrays}
        return dataclasses.replace(tables[0], offsets=np.concatenate([*offsets, rows[-1:]]), **joined)

    def find(self, user_id: tf.Tensor, movie_id: tf.Tensor, timestamp: tf.Tensor) -> dict[str, tf.Tensor]:
        """Find the users and movies of a batch of rows, and where in the table what was rated by then ends.

        Args:
          user_id: `[batch, 1]` int64.
          movie_id: `[batch, 1]` int64, the row's movie.
          timestamp: `[batch, 1]` int64, when it was rated, Unix seconds.

        Returns:
          `[batch, 1]` int64 each: `USER_ROW`, `BEHIND` and `movie_token`, the movie's place in the vocabulary from 1,
          or 0 for one that it lacks. Of a user whom the table lacks there is nothing in front of `BEHIND`.
        """
        tables = self._tensors
        place = tf.minimum(tf.searchsorted(tables["user_ids"], user_id[:, 0]), len(self.user_ids) - 1)
        known, row = tf.gather(tables["user_ids"], place) == user_id[:, 0], tf.gather(tables["user_rows"], place)
        since = tf.clip_by_value(timestamp[:, 0] - self._first_s, 0, self._span_s - 1)
        key = tf.cast(row, tf.int64) * self._span_s + since
        behind = tf.searchsorted(tables["keys"], key, side="right", out_type=tf.int64)
        place = tf.minimum(tf.searchsorted(tables["movie_ids"], movie_id[:, 0]), len(self.vocabulary) - 1)
        token = tf.where(tf.gather(tables["movie_ids"], place) == movie_id[:, 0], tf.gather(tables["tokens"], place), 0)
        found = {
            USER_ROW: row,
            BEHIND: tf.where(known, behind, tf.gather(tables["offsets"], row)),
            f.MOVIE_TOKEN: token,
        }
        # Not int32, of which tensors stay in the host's memory.
        return {name: tf.cast(values, tf.int64)[:, None] for name, values in found.items()}

    def latest(
        self, found: dict[str, tf.Tensor], first: tf.Tensor | None = None, part: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Return the histories of a batch of rows: what their users had rated by then, but for the rows' own movies.

        Args:
          found: What `find` returned.
          first: `[batch, 1]` int64, so many of the first ratings at most that the user ever gave; all by default.
          part: `[batch, 1]` float32 in (0, 1], the part of them that is looked at, from the first on; all by default.

        Returns:
          `user_history_tokens` int32 and `user_history_ratings` float32 in stars, `[batch, HISTORY_LENGTH + 1]` each,
          the latest first; 0 where there is none.
        """
        tables = self._tensors
        behind = found[BEHIND][:, 0]
        begin = tf.gather(tables["offsets"], found[USER_ROW][:, 0])
        if part is not None:
            looked_at = tf.math.ceil(tf.cast(behind - begin, tf.float32) * part[:, 0])
            behind = begin + tf.cast(looked_at, tf.int64)
        if first is not None:
            behind = tf.minimum(behind, begin + first[:, 0])
        places = behind[:, None] - 1 - tf.range(f.HISTORY_LENGTH + 1, dtype=tf.int64)
        there = places >= begin[:, None]
        places = tf.maximum(places, 0)
        tokens = tf.where(there, tf.gather(tables["movies"], places), 0)
        own = tf.cast(found[f.MOVIE_TOKEN], tokens.dtype)
        rating = self.domain.scale.stars_of_steps(tf.cast(tf.gather(tables["steps"], places), tf.float32))
        return {
            f.USER_HISTORY_TOKENS: tokens,
            f.USER_HISTORY_RATINGS: tf.where(there & (tokens != own), rating, 0.0),
        }

    @property
    def users_of_ratings(self) -> np.ndarray:
        """`[ratings]` int64: the row of each rating's user."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))

    @property
    def stars(self) -> np.ndarray:
        """`[ratings]` float64 in stars."""
        stars: np.ndarray = self.domain.scale.stars_of_steps(self.steps.astype(np.float64))
        return stars

    @property
    def liked(self) -> np.ndarray:
        """`[ratings]` bool: the likes of movies of the vocabulary."""
        return (self.steps >= self.domain.scale.liked_step) & (self.movies > 0)

    @property
    def likes(self) -> np.ndarray:
        """`[vocabulary + 1]` int64: how many users liked each movie."""
        return np.bincount(self.movies[self.liked], minlength=len(self.vocabulary) + 1)

    @functools.cached_property
    def _first_s(self) -> int:
        return int(self.timestamps.min())

    @functools.cached_property
    def _span_s(self) -> int:
        """Seconds by which the keys of two users lie apart, at least."""
        return int(self.timestamps.max()) - self._first_s + 2

    @functools.cached_property
    def _tensors(self) -> dict[str, tf.Tensor]:
        """The tables, made outside of any graph: a graph may not hold what is larger than 2 GB."""
        order, users = np.argsort(self.vocabulary), np.argsort(self.user_ids)
        with tf.init_scope():
            return {
                "movie_ids": tf.constant(self.vocabulary[order]),
                "tokens": tf.constant(order.astype(np.int32) + 1),
                "user_ids": tf.constant(self.user_ids[users]),
                "user_rows": tf.constant(users),
                "offsets": tf.constant(self.offsets, tf.int64),
                "keys": tf.constant(self.users_of_ratings * self._span_s + self.timestamps - self._first_s),
                "movies": tf.constant(self.movies),
                "steps": tf.constant(self.steps),
            }


def load(histories_uri: str, vocabulary: np.ndarray, domain: Domain, with_eval: bool = False) -> HistoryTable:
    """Build the table of train ratings, or that of all ratings.

    Args:
      histories_uri: URI of the UserHistories artifact.
      vocabulary: `[movies]` int64, the movie ids in the order of the vocabulary.
      domain: What the data set is about.
      with_eval: Whether eval ratings are in it, too.
    """
    tables = []
    for path in dataset.history_shards(histories_uri):  # One after the other: a shard has users of its own.
        ratings = dataset.read_parquet(path)
        tables.append(HistoryTable.of(ratings if with_eval else ratings.filter(IS_TRAIN), vocabulary, domain))
    return HistoryTable.joined(tables)
