"""Search of the movie embeddings: exact or by FAISS, with masks, filters and a diverse choice.

Scores of the movies that come into question are computed again in double precision, so that one user alone, many
users at once and an approximate index order the same movies in the same way: by score, ties by position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import faiss
import numpy as np

_BLOCK_BYTES = 64 << 20
"""Scores that `top_many` holds at a time."""
_ROUNDING = 1e-5
"""More than single precision can move a cosine: what is this close to the n-th score is looked at again."""
_GROUP = 32
"""Movies of which the best one is looked at first."""
_LOWEST = np.finfo(np.float32).min
_MOST_PAIRS = 100_000
"""Movies and users whose cosines are computed again together."""
_LOOKED_AT = 8
"""Groups for each movie that is wanted, of each of which one cosine is computed first where the scores are bounds."""
_HEAD, _LEAST_MOVIES, _LEAST_SHARE = 31, 20_000, 0.97
"""Numbers of a head; how many movies there must be, and what share of their squares heads must have, to save time."""
_MOST_BY_HEADS = 32
"""Users at once: of many more of them a plain product is faster."""
_MIN_EF = 128
"""Least breadth of a search in an HNSW graph; benchmarks/serving.py measures its recall."""
_MIN_PROBES = 16
"""Least number of inverted lists that a search in an IVF index visits."""


@dataclasses.dataclass(frozen=True)
class Hits:
    """Movies found for a user, best first."""

    rows: np.ndarray
    """`[n]` int64 positions in the catalogue."""
    scores: np.ndarray
    """`[n]` float64 cosines."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What is looked for, for one user."""

    n: int
    """How many movies; fewer are found where fewer are left."""
    hidden: np.ndarray
    """Positions of the movies not to find."""
    allowed: np.ndarray | None = None
    """`[movies]` bool, the movies to choose from; all by default. With it a search is exact: a graph of which most is
    skipped misses what it looks for."""


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    """Movies in the directions in which they differ most: a quarter of the numbers bounds every cosine from above.

    A cosine is the product of two heads and of two rests, and that of the rests is at most that of their lengths
    (Cauchy and Schwarz). Only movies whose bound reaches the n-th best cosine have to be looked at.
    """

    rotation: np.ndarray
    """`[dim, dim]` float32, orthonormal: the principal axes of the movies, the longest first."""
    heads: np.ndarray
    """`[movies, head + 1]` float32, the movies along the first ones, and the length of what is left of each."""

    @classmethod
    def of(cls, embeddings: np.ndarray) -> Heads | None:
        """Rotate `[movies, dim]` float32 unit vectors; None where it does not help, or not enough."""
        if len(embeddings) < _LEAST_MOVIES or embeddings.shape[1] < 2 * _HEAD:
            return None
        lengths, axes = np.linalg.eigh((embeddings.T @ embeddings).astype(np.float64))
        if lengths[-_HEAD:].sum() < _LEAST_SHARE * lengths.sum():
            return None
        rotation = np.ascontiguousarray(axes[:, ::-1], np.float32)
        return cls(rotation, _headed(embeddings, rotation, _HEAD))

    def bounds(self, users: np.ndarray) -> np.ndarray:
        """Return `[movies, batch]` what the cosines are at most, of `[batch, dim]` users."""
        bounds: np.ndarray = self.heads @ _headed(users, self.rotation, self.heads.shape[1] - 1).T
        return bounds


def _headed(vectors: np.ndarray, rotation: np.ndarray, head: int) -> np.ndarray:
    rests = np.linalg.norm(vectors @ rotation[:, head:], axis=1, keepdims=True)
    return np.concatenate([vectors @ rotation[:, :head], rests], axis=1)


class MovieSearch:
    """Finds the movies with the highest cosine to a user."""

    def __init__(
        self, embeddings: np.ndarray, approximate: faiss.Index | None = None, heads: Heads | None = None
    ) -> None:
        """Wrap embeddings.

        Args:
          embeddings: `[movies, dim]` float32, L2-normalised.
          approximate: FAISS index of the same rows; without one every search is exact.
          heads: Of the same rows, by which exact searches for a few users are faster.
        """
        self.embeddings, self._approximate, self._heads = embeddings, approximate, heads

    def top(self, user: np.ndarray, search: Search) -> Hits:
        """Find the best movies for one user, `[dim]` float32, L2-normalised."""
        if self._approximate is not None and search.allowed is None:
            rows = self._near(self._approximate, user, search)
            if len(rows) == search.n:
                pairs = _Pairs(rows, np.zeros(len(rows), np.intp))
                return self._best(user[None], pairs, np.array([search.n]))[0]
        return self._best_of(user[None], [search])[0]

    def top_many(self, users: np.ndarray, searches: Sequence[Search]) -> list[Hits]:
        """Find the best movies for many users, by matrix products over blocks of them.

        Args:
          users: `[batch, dim]` float32, L2-normalised.
          searches: What is looked for, for each.
        """
        if len(users) == 1 or (self._approximate is not None and all(each.allowed is None for each in searches)):
            return [self.top(user, search) for user, search in zip(users, searches, strict=True)]
        block = max(1, _BLOCK_BYTES // max(self.embeddings.nbytes // self.embeddings.shape[1], 1))
        begins = range(0, len(users), block)
        parts = [(users[begin : begin + block], searches[begin : begin + block]) for begin in begins]
        return [hits for part in parts for hits in self._best_of(*part)]

    def diversify(self, hits: Hits, n: int, diversity: float) -> Hits:
        """Choose n of the hits that differ from each other: maximal marginal relevance.

        The next movie is the one with the highest (1 - diversity) * score - diversity * (its highest cosine to a
        chosen movie), as in Carbonell and Goldstein, SIGIR 1998. Ties go to the earlier hit.

        Args:
          hits: More hits than are wanted, best first.
          n: How many.
          diversity: 0 keeps the order of the scores, towards 1 only the difference counts.
        """
        vectors = self.embeddings[hits.rows]
        closest = np.zeros(len(hits.rows))
        left, chosen = np.ones(len(hits.rows), bool), []
        for _ in range(min(n, len(hits.rows))):
            value = (1 - diversity) * hits.scores - diversity * closest
            best = int(np.argmax(np.where(left, value, -np.inf)))
            chosen.append(best)
            left[best] = False
            similarity = vectors @ vectors[best]
            closest = similarity if len(chosen) == 1 else np.maximum(closest, similarity)
        return Hits(hits.rows[chosen], hits.scores[chosen])

    @staticmethod
    def _near(approximate: faiss.Index, user: np.ndarray, search: Search) -> np.ndarray:
        """Search the FAISS index, stepping over hidden movies; the exact search takes over where it finds too few."""
        index, n, hidden = faiss.downcast_index(approximate), search.n, search.hidden
        selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(hidden.astype(np.int64))) if len(hidden) else None
        if isinstance(index, faiss.IndexHNSW):
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(_MIN_EF, 4 * n))
        elif isinstance(index, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=max(_MIN_PROBES, index.nlist // 16))
        else:
            parameters = faiss.SearchParameters(sel=selector)
        _, found = index.search(user[None], n, params=parameters)
        return found[0][found[0] >= 0]

    def _best_of(self, users: np.ndarray, searches: Sequence[Search]) -> list[Hits]:
        """Search exactly, for all users at once: of ten movies most of NumPy's time is that of its calls.

        The best scores of groups of movies bound the n-th best score from below, and only groups whose best reaches the
        bound have to be looked into.
        """
        heads = self._heads if len(users) <= _MOST_BY_HEADS else None
        # Of a few users the product is twice as fast this way round.
        scores = heads.bounds(users) if heads else self.embeddings @ users.T
        for column, search in enumerate(searches):
            if search.allowed is not None:
                scores[~search.allowed, column] = -np.inf
            scores[search.hidden, column] = -np.inf
        numbers = np.array([search.n for search in searches])
        grouped = _Grouped.of(scores)
        least = self._least_by_cosines(grouped, users, numbers) if heads else grouped.least(numbers)
        least = np.maximum(least - np.float32(_ROUNDING), _LOWEST)  # Of hardly any movies all that are left.
        pairs = grouped.reaching(least)
        if heads:
            pairs = pairs.where(self._cosines(users, pairs) >= least[pairs.columns])
        return self._best(users, pairs, numbers)

    def _least_by_cosines(self, grouped: _Grouped, users: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return what the n-th best cosines are at least, `[batch]`, of scores that are bounds."""
        rows = grouped.best_rows(_LOOKED_AT * int(numbers.max()))
        columns = np.broadcast_to(np.arange(len(users)), rows.shape)
        cosines = self._cosines(users, _Pairs(rows.ravel(), columns.ravel())).reshape(rows.shape)
        return _nth_best(np.where(grouped.scores[rows, columns] > -np.inf, cosines, -np.inf), numbers)

    def _cosines(self, users: np.ndarray, pairs: _Pairs) -> np.ndarray:
        """Return the cosines of pairs: many users look at the same movies."""
        if len(users) == 1:
            return self.embeddings[pairs.rows] @ users[0]
        wanted, places = np.zeros(len(self.embeddings), bool), np.empty(len(self.embeddings), np.intp)
        wanted[pairs.rows] = True
        distinct = np.flatnonzero(wanted)
        places[distinct] = np.arange(len(distinct))
        cosines: np.ndarray = (self.embeddings[distinct] @ users.T)[places[pairs.rows], pairs.columns]
        return cosines

    def _best(self, users: np.ndarray, pairs: _Pairs, numbers: np.ndarray) -> list[Hits]:
        rows, columns = pairs
        if len(users) > 1 and len(rows) > _MOST_PAIRS:  # Of long lists, or where nearly all cosines are the same.
            half = len(users) // 2
            first, rest = pairs.where(columns < half), pairs.where(columns >= half)
            rest = _Pairs(rest.rows, rest.columns - half)
            return self._best(users[:half], first, numbers[:half]) + self._best(users[half:], rest, numbers[half:])
        exact = (self.embeddings[rows].astype(np.float64) * users[columns]).sum(axis=1)
        order = np.lexsort((rows, -exact, columns))
        rows, exact = rows[order], exact[order]
        begins = np.searchsorted(columns[order], np.arange(len(users) + 1))
        ends = np.minimum(begins[:-1] + numbers, begins[1:])
        parts = [slice(*both) for both in zip(begins.tolist(), ends.tolist(), strict=False)]
        return [Hits(rows[part], exact[part]) for part in parts]


class _Pairs(NamedTuple):
    """Movies and users."""

    rows: np.ndarray
    """`[pairs]` int64 positions of movies."""
    columns: np.ndarray
    """`[pairs]` int64 positions of users."""

    def where(self, kept: np.ndarray) -> _Pairs:
        """Return some of the pairs."""
        return _Pairs(self.rows[kept], self.columns[kept])


class _Grouped(NamedTuple):
    """Scores, in groups of movies whose best ones are looked at first; movie `i` is in group `i % groups`."""

    scores: np.ndarray
    """`[movies, batch]` float32, what the cosines are, or are at most; -inf where a movie may not be found."""
    grouped: np.ndarray
    """`[_GROUP, groups, batch]`, a view of them, without those that fill no group."""
    bests: np.ndarray
    """`[groups, batch]`."""

    @classmethod
    def of(cls, scores: np.ndarray) -> _Grouped:
        """Take groups."""
        groups = len(scores) // _GROUP
        grouped = scores[: groups * _GROUP].reshape(_GROUP, groups, scores.shape[1])
        return cls(scores, grouped, grouped.max(axis=0))

    def least(self, numbers: np.ndarray) -> np.ndarray:
        """Return what each user's n-th best score is at least, `[batch]`; -inf where there are not so many."""
        return _nth_best(self.bests if len(self.bests) >= numbers.max() else self.scores, numbers)

    def best_rows(self, number: int) -> np.ndarray:
        """Return the best movie of each of the best groups for each user, `[number, batch]`, or fewer of them."""
        groups, batch = self.bests.shape
        first = max(groups - number, 0)
        best = np.argpartition(self.bests, first, axis=0)[first:]
        return best + groups * self.grouped[:, best, np.arange(batch)].argmax(axis=0)

    def reaching(self, least: np.ndarray) -> _Pairs:
        """Return the pairs whose scores are at least the user's, `[batch]`."""
        groups = len(self.bests)
        of, columns = np.nonzero(self.bests >= least)
        members, places = np.divmod(np.flatnonzero(self.grouped[:, of, columns] >= least[columns]), max(len(of), 1))
        others, columns_of_others = np.nonzero(self.scores[groups * _GROUP :] >= least)
        return _Pairs(
            np.append(of[places] + groups * members, others + groups * _GROUP),
            np.append(columns[places], columns_of_others),
        )


def _nth_best(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return of each column of `[movies, batch]` scores the n-th best, `[batch]`; -inf where there are not so many."""
    places = len(scores) - numbers
    there = np.flatnonzero(places >= 0)
    found = np.full(len(numbers), -np.inf, scores.dtype)
    if len(there):
        found[there] = np.partition(scores, np.unique(places[there]), axis=0)[places[there], there]
    return found
