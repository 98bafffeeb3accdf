"""Metrics of top-N ranking, over arrays, in blocks of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from schemas.evaluation import RankedList, RankingQuality

TOP_N = 10
_FAMOUS = 100
_GROUPS = 1024
"""Groups of columns whose maxima are compared before the scores are."""
_BLOCK_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class RankingTask:
    """Which users are ranked for, what they have seen and what they liked later."""

    users: np.ndarray
    """`[users]` positions of the users, ascending, each with at least one relevant movie."""
    seen: tuple[np.ndarray, np.ndarray]
    """`[users + 1]` offsets and the movie positions that each user rated in train."""
    relevant: tuple[np.ndarray, np.ndarray]
    """`[users + 1]` offsets and the movie positions that each user liked in eval."""
    num_movies: int
    """Size of the catalogue: every unseen movie is a candidate."""


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Top-N metrics per user."""

    recall: np.ndarray
    """`[users]` hits among the top 10 / min(relevant, 10)."""
    ndcg: np.ndarray
    """`[users]` sum of 1 / log2(rank + 1) over hits / the same of the best possible list."""
    coverage: float
    """Share of the catalogue in at least one top 10."""
    top: np.ndarray
    """`[users, 10]` int32 positions of the recommended movies, best first; -1 where there are no more."""

    def summary(self, rows: np.ndarray | slice = slice(None)) -> RankingQuality:
        """Average over (some of) the users; 0 if there is none."""
        recall, ndcg = self.recall[rows], self.ndcg[rows]
        return RankingQuality(
            recall=float(recall.mean()) if len(recall) else 0.0,
            ndcg=float(ndcg.mean()) if len(ndcg) else 0.0,
            users=len(recall),
        )

    def famous_share(self, famous: np.ndarray) -> float:
        """Return the share of the recommended movies that are famous; `famous`: `[movies]` bool."""
        shown = self.top[self.top >= 0]
        return float(famous[shown].mean()) if len(shown) else 0.0

    def ranked_list(self, famous: np.ndarray) -> RankedList:
        """Average over all users, with the coverage and the share of famous movies; `famous`: `[movies]` bool."""
        return RankedList(**dict(self.summary()), coverage=self.coverage, famous=self.famous_share(famous))


def most_rated(counts: np.ndarray) -> np.ndarray:
    """Return which movies are among the 100 that were rated most often, `[movies]` bool.

    Args:
      counts: `[movies]` number of ratings.
    """
    famous = np.zeros(len(counts), bool)
    famous[np.argsort(-counts, kind="stable")[:_FAMOUS]] = True
    return famous & (counts > 0)


def ranking_task(
    user: np.ndarray,
    movie: np.ndarray,
    stars: np.ndarray,
    train: np.ndarray,
    num_movies: int,
    max_users: int,
    seed: int,
    liked: float,
) -> RankingTask:
    """Collect the users with relevant movies, a seeded sample of at most `max_users` of them.

    Args:
      user: `[ratings]` position of the user, ascending.
      movie: `[ratings]` position of the movie.
      stars: `[ratings]` ratings.
      train: `[ratings]` whether the rating is train.
      num_movies: Size of the catalogue.
      max_users: Most users to rank for.
      seed: Seed of the sample.
      liked: From which rating on a movie is relevant.
    """
    relevant = ~train & (stars >= liked)
    users = sampled_users(user[relevant], max_users, seed)
    chosen = np.zeros(int(user[-1]) + 1 if len(user) else 0, bool)
    chosen[users] = True

    def by_user(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = rows & chosen[user]
        counts = np.searchsorted(user[rows], users, "right") - np.searchsorted(user[rows], users)
        return np.concatenate([[0], np.cumsum(counts)]), movie[rows]

    return RankingTask(users, by_user(train), by_user(relevant), num_movies)


def sampled_users(user: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return the users of some ratings, ascending, or a seeded sample of at most so many of them."""
    users = np.unique(user)
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False))


def rank(task: RankingTask, scores_of: Callable[[slice], np.ndarray]) -> Ranking:
    """Rank all unseen movies for every user of a task.

    Ties are broken by the movie's position, so that the result does not depend on the block size.

    Args:
      task: The task.
      scores_of: Function of a slice of the task's users -> a new array `[users, num_movies]` of scores.
    """
    block = max(1, _BLOCK_BYTES // (4 * task.num_movies))
    top = np.full((len(task.users), TOP_N), -1, np.int32)
    for begin in range(0, len(task.users), block):
        rows = slice(begin, min(begin + block, len(task.users)))
        scores = np.asarray(scores_of(rows), np.float32)
        offsets, seen = task.seen
        inside = slice(offsets[rows.start], offsets[rows.stop])
        owner = np.repeat(np.arange(len(scores)), np.diff(offsets[rows.start : rows.stop + 1]))
        scores[owner, seen[inside]] = -np.inf
        best = top_n(scores, TOP_N)
        valid = np.take_along_axis(scores, best, 1) > -np.inf
        top[rows, : best.shape[1]] = np.where(valid, best, -1)
    return _measured(task, top)


def rank_alike(task: RankingTask, scores: np.ndarray) -> Ranking:
    """Rank all unseen movies by the same scores for every user, as `rank` would.

    Args:
      task: The task.
      scores: `[movies]` finite.
    """
    order = np.argsort(-scores.astype(np.float32), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    offsets, seen = task.seen
    owner = np.repeat(np.arange(len(task.users)), np.diff(offsets))
    places = place[seen][np.lexsort((place[seen], owner))]
    # How many unseen movies come before each seen one, user by user ascending.
    key = owner * (len(order) + 1) + places - (np.arange(len(seen)) - offsets[:-1][owner])
    wanted = np.arange(min(TOP_N, len(order)))
    before = np.searchsorted(key, np.arange(len(task.users))[:, None] * (len(order) + 1) + wanted, "right")
    found = wanted + before - offsets[:-1, None]
    top = np.full((len(task.users), TOP_N), -1, np.int32)
    top[:, : len(wanted)] = np.where(found < len(order), order[np.minimum(found, len(order) - 1)], -1)
    return _measured(task, top)


def _measured(task: RankingTask, top: np.ndarray) -> Ranking:
    """Measure lists, `[users, 10]` positions; -1 where there are no more."""
    hits = _is_relevant(task, top)
    discounts = 1 / np.log2(np.arange(2, TOP_N + 2))
    ideal = np.concatenate([[0], np.cumsum(discounts)])
    best = np.minimum(np.diff(task.relevant[0]), TOP_N)
    shown = np.zeros(task.num_movies, bool)
    shown[top[top >= 0]] = True
    coverage = float(shown.mean()) if task.num_movies else 0.0
    return Ranking(hits.sum(1) / best, (hits * discounts).sum(1) / ideal[best], coverage, top)


def top_n(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the columns of each row's n highest scores, best first, ties by column.

    Args:
      scores: `[rows, columns]`.
      n: How many; fewer where there are fewer columns.
    """
    rows, columns = scores.shape
    n = min(n, columns)
    # n groups of columns hold a score of at least the n-th highest maximum of groups. All such scores are sorted.
    groups = min(columns, max(n, _GROUPS))
    maxima = scores[:, : columns - columns % groups].reshape(rows, -1, groups).max(1)
    least = np.partition(maxima, groups - n, axis=1)[:, groups - n, None]
    row, column = np.divmod(np.flatnonzero(scores >= least), columns)
    order = np.lexsort((column, -scores[row, column], row))
    starts = np.searchsorted(row, np.arange(rows))
    return column[order[starts[:, None] + np.arange(n)]]


def _is_relevant(task: RankingTask, top: np.ndarray) -> np.ndarray:
    offsets, movies = task.relevant
    owner = np.repeat(np.arange(len(top)), np.diff(offsets))
    relevant = owner * np.int64(task.num_movies) + movies
    listed = np.arange(len(top))[:, None] * np.int64(task.num_movies) + top
    return np.isin(listed, relevant) & (top >= 0)
