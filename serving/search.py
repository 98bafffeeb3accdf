"""Search of the movie embeddings: exact or by FAISS, with masks, filters and a diverse choice.

Scores of the movies that come into question are computed again in double precision, so that one user alone, many
users at once and an approximate index order the same movies in the same way: by score, ties by position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import faiss
import numpy as np

_BLOCK_BYTES = 64 << 20
"""Scores that `top_many` holds at a time."""
_ROUNDING = 1e-5
"""More than single precision can move a cosine: what is this close to the n-th score is looked at again."""
_GROUP = 32
"""Movies of which the best one is looked at first."""
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


class MovieSearch:
    """Finds the movies with the highest cosine to a user."""

    def __init__(self, embeddings: np.ndarray, approximate: faiss.Index | None = None) -> None:
        """Wrap embeddings.

        Args:
          embeddings: `[movies, dim]` float32, L2-normalised.
          approximate: FAISS index of the same rows; without one every search is exact.
        """
        self.embeddings, self._approximate = embeddings, approximate

    def top(self, user: np.ndarray, search: Search) -> Hits:
        """Find the best movies for one user, `[dim]` float32, L2-normalised."""
        if self._approximate is not None and search.allowed is None:
            rows = self._near(self._approximate, user, search)
            if len(rows) == search.n:
                return self._best(user, rows, search.n)
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
        # Of a few users the product is twice as fast this way round.
        scores = self.embeddings @ users.T
        for column, search in enumerate(searches):
            if search.allowed is not None:
                scores[~search.allowed, column] = -np.inf
            scores[search.hidden, column] = -np.inf
        found = zip(users, _candidates(scores, [search.n for search in searches]), searches, strict=True)
        return [self._best(user, rows, search.n) for user, rows, search in found]

    def _best(self, user: np.ndarray, rows: np.ndarray, n: int) -> Hits:
        exact = (self.embeddings[rows].astype(np.float64) * user).sum(axis=1)
        order = np.lexsort((rows, -exact))[:n]
        return Hits(rows[order], exact[order])


def _candidates(scores: np.ndarray, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return the positions that may be among each user's n best; masked scores are -inf and never among them.

    The best scores of groups of movies bound the n-th best score from below, and only groups whose best reaches the
    bound have to be looked into.
    """
    movies = len(scores)
    groups = movies // _GROUP
    begin = groups * _GROUP
    best = scores[:begin].reshape(_GROUP, groups, -1).max(axis=0) if groups else scores[:0]
    found = []
    for column, n in enumerate(numbers):
        if groups < n:
            found.append(_least(scores[:, column], n))
            continue
        bests = np.ascontiguousarray(best[:, column])
        threshold = np.partition(bests, groups - n)[groups - n] - _ROUNDING
        if threshold == -np.inf:  # Hardly anything is left.
            found.append(np.flatnonzero(scores[:, column] > -np.inf))
            continue
        members = np.flatnonzero(bests >= threshold)[:, None] + np.arange(_GROUP) * groups
        rows = np.append(members.ravel(), np.arange(begin, movies))
        found.append(rows[scores[rows, column] >= threshold])
    return found


def _least(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the same for one user, by all scores."""
    if n >= len(scores):
        return np.flatnonzero(scores > -np.inf)
    threshold = np.partition(scores, len(scores) - n)[len(scores) - n] - _ROUNDING
    return np.flatnonzero(scores >= threshold if threshold > -np.inf else scores > -np.inf)
