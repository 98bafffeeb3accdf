"""What models are measured on: the held-out ratings of all users, and what is known of their train ratings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import polars as pl
from scipy import sparse

from components.dataset import Dataset, join_user_keys
from components.evaluation_gate import baselines
from components.evaluation_gate.baselines import Baseline
from components.ranking_metrics import RankingTask, sampled_users
from schemas.user_features import FeatureConstants


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The eval ratings, and what it takes to measure on them; how users are divided into shards leaves no trace.

    Ratings are on the data set's scale.
    """

    catalog: pl.DataFrame
    """Every movie with its features, sorted by `movie_id`."""
    constants: FeatureConstants
    """Feature constants of the train ratings."""
    user_ids: np.ndarray
    """`[users]` int64, ascending."""
    user_keys: pl.Series | None
    """`[users]` text, their ids as the data has them; None where those are numbers."""
    offsets: np.ndarray
    """`[users + 1]` user `u` has the eval ratings `offsets[u]:offsets[u + 1]`."""
    movie: np.ndarray
    """`[eval ratings]` position in the catalogue."""
    ratings: np.ndarray
    """`[eval ratings]`."""
    user_counts: np.ndarray
    """`[users]` train ratings of each user."""
    movie_counts: np.ndarray
    """`[movies]` train ratings of each movie."""
    task: RankingTask
    """Who is ranked for."""
    seen_ratings: np.ndarray
    """What they rated the movies of `task.seen`; of each user by time."""
    baselines: list[Baseline]

    @property
    def user(self) -> np.ndarray:
        """`[eval ratings]` position of the user, ascending."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))

    def user_key(self, user: int) -> int | str:
        """Return a user's id as the data has it."""
        return int(self.user_ids[user]) if self.user_keys is None else str(self.user_keys[int(user)])

    @classmethod
    def read(cls, shards: Iterable[Dataset], max_ranking_users: int, seed: int = 0) -> HeldOut:
        """Collect it from shards of users; of every train rating 8 bytes are held meanwhile.

        Args:
          shards: All ratings, in one shard at least.
          max_ranking_users: Users that are ranked for, at most.
          seed: Seed of their sample.

        Raises:
          ValueError: There is no eval rating.
        """
        parts = []
        for data in shards:
            parts.append(_Part.of(data))
            catalog, constants = data.catalog, data.constants
        ids = np.concatenate([part.user_ids for part in parts])
        order = np.argsort(ids)
        held = sparse.vstack([part.held for part in parts], "csr")[order]
        if not held.nnz:
            raise ValueError(
                "no rating is held out: every user has too few, or the cut-off is too late; see eval_fraction"
            )
        user = np.repeat(np.arange(len(ids)), np.diff(held.indptr))
        liked = held.data >= constants.domain.scale.liked
        ranked = sampled_users(user[liked], max_ranking_users, seed)
        chosen = np.zeros(len(ids), bool)
        chosen[order[ranked]] = True
        bounds = np.cumsum([0, *(len(part.user_ids) for part in parts)])
        seen = [part.train[chosen[begin:end]] for part, begin, end in zip(parts, bounds, bounds[1:], strict=False)]
        known = sparse.vstack(seen, "csr")[np.argsort(ids[chosen])]
        relevant = liked & np.isin(user, ranked)
        offsets = np.searchsorted(user[relevant], np.append(ranked, len(ids)))
        movie_counts = np.sum([np.bincount(p.train.indices, minlength=catalog.height) for p in parts], axis=0)
        recent = {name: np.sum([part.recent[name] for part in parts], axis=0) for name in parts[0].recent}
        return cls(
            catalog,
            constants,
            ids[order],
            join_user_keys([part.user_keys for part in parts], order),
            held.indptr,
            held.indices,
            held.data,
            np.concatenate([np.diff(part.train.indptr) for part in parts])[order],
            movie_counts,
            RankingTask(ranked, (known.indptr, known.indices), (offsets, held.indices[relevant]), catalog.height),
            known.data,
            baselines.fit([part.train for part in parts], order, movie_counts, recent),
        )


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is kept of a shard."""

    user_ids: np.ndarray
    user_keys: pl.Series | None
    train: sparse.csr_matrix
    """`[users, movies]` float32, each user's ratings by time."""
    held: sparse.csr_matrix
    """The same of eval ratings."""
    recent: dict[str, np.ndarray]
    """Name -> `[movies]` number of train ratings of late; empty where ratings have no time."""

    @classmethod
    def of(cls, data: Dataset) -> _Part:
        rows, constants = data.train, data.constants
        known = data.movie[rows], data.timestamp[rows], constants.latest_s, data.catalog.height
        recent = baselines.recent_popularity(*known) if constants.domain.timed else {}
        return cls(data.user_ids, data.user_keys, data.matrix(rows), data.matrix(~rows), recent)
