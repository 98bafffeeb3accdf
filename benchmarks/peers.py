"""The models that Matinee is compared with, each with the few settings that are tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from scipy import sparse

from benchmarks.heldout import HeldOut
from components.evaluation_gate import baselines

Scores = Callable[[np.ndarray], np.ndarray]
"""Positions of users -> `[users, movies]`."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A model with one setting, fitted."""

    name: str
    setting: str
    predicted: np.ndarray | None
    """`[held-out ratings]` in stars."""
    scores_of: Scores | None


def matrix(held: HeldOut) -> sparse.csr_matrix:
    """Return who rated what in train, `[users, movies]` of 1 and 0."""
    rows = held.train
    shape = len(held.user_ids), len(held.movie_ids)
    return sparse.csr_matrix((np.ones(rows.sum(), np.float32), (held.user[rows], held.movie[rows])), shape)


def baselines_of(held: HeldOut) -> list[baselines.Baseline]:
    """Fit the gate's own baselines."""
    rows = held.train
    user, movie, stars, timestamp = (values[rows] for values in (held.user, held.movie, held.stars, held.timestamp))
    return baselines.fit(user, movie, stars, timestamp, len(held.user_ids), len(held.movie_ids))


def rating_peers(held: HeldOut) -> Iterator[Peer]:
    """Fit what predicts ratings: the global mean, user and movie biases."""
    user, movie = held.user[~held.train], held.movie[~held.train]
    for baseline in baselines_of(held):
        if baseline.predict:
            yield Peer(baseline.title, "", baseline.predict(user, movie), None)


def ranking_peers(held: HeldOut) -> Iterator[Peer]:
    """Fit what ranks, every setting of each; of each the best on an inner split is what counts."""
    seen = matrix(held)
    for baseline in baselines_of(held):
        if baseline.scores:
            yield Peer(baseline.title, "", None, baseline.scores)
    for penalty in (100, 200, 400, 800, 1600, 3200):
        yield Peer("EASE", f"lambda {penalty}", None, _times(seen, ease(seen, penalty)))
    for factors in (32, 64, 128):
        for alpha in (1.0, 10.0):
            model = AlternatingLeastSquares(
                factors, regularization=0.05, alpha=alpha, iterations=20, random_state=0, num_threads=0
            )
            model.fit(seen, show_progress=False)
            yield Peer("iALS", f"{factors} factors, alpha {alpha:g}", None, _factors(model))
    for name, kind in (("item-kNN, cosine", CosineRecommender), ("item-kNN, BM25", BM25Recommender)):
        for neighbours in (20, 50, 200):
            model = kind(K=neighbours)
            model.fit(seen, show_progress=False)
            yield Peer(name, f"{neighbours} neighbours", None, _times(seen, model.similarity))


def ease(seen: sparse.csr_matrix, penalty: float) -> np.ndarray:
    """Fit EASE (Steck, WWW 2019): the item-item weights `[movies, movies]`, zero on the diagonal."""
    gram = (seen.T @ seen).toarray()
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def _factors(model: AlternatingLeastSquares) -> Scores:
    return lambda users: model.user_factors[users] @ model.item_factors.T


def _times(seen: sparse.csr_matrix, weights: np.ndarray | sparse.spmatrix) -> Scores:
    def scores(users: np.ndarray) -> np.ndarray:
        product = seen[users] @ weights
        return product.toarray() if sparse.issparse(product) else product

    return scores
