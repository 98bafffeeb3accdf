"""The models that Matinee is compared with, each with the few settings that are tried.

All answer for users by what is known of them, whether they were fitted on these users or not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender
from scipy import sparse

from benchmarks.heldout import HeldOut, score
from components import rating_biases
from components.evaluation_gate import baselines
from schemas.data_spec import movielens

_MOST_MOVIES = 12_000
"""EASE inverts a matrix of so many movies at most, those with the most ratings; others get no score."""

Scores = Callable[[np.ndarray], np.ndarray]
"""Positions of users -> `[users, movies]`."""
Model = Callable[[HeldOut], Scores]
"""What is fitted: users, whose train ratings are known, -> their scores."""
Fit = Callable[[HeldOut], Model]
"""What fits a model on the train ratings."""


def rankers(fitted: HeldOut) -> dict[str, dict[str, Fit]]:
    """Return the models that rank: name -> setting -> how to fit it on the train ratings of `fitted`."""
    found: dict[str, dict[str, Fit]] = {}
    for baseline in _baselines(fitted):
        if baseline.scores is not None:
            found[baseline.title] = {"": functools.partial(_the_same, scores=baseline.scores)}
    for liked, of in ((True, f"ratings of {movielens().scale.liked:g} and more"), (False, "all ratings")):
        found[f"EASE, {of}"] = {
            f"lambda {penalty}": functools.partial(_ease, liked=liked, penalty=penalty)
            for penalty in (100, 200, 400, 1000, 3200)
        }
        found[f"iALS, {of}"] = {
            f"{factors} factors, alpha {alpha}": functools.partial(_ials, liked=liked, factors=factors, alpha=alpha)
            for factors in (32, 64, 128)
            for alpha in (1, 10)
        }
        for name, kind in (("cosine", CosineRecommender), ("BM25", BM25Recommender)):
            found[f"item-kNN, {name}, {of}"] = {
                f"{neighbours} neighbours": functools.partial(_knn, liked=liked, kind=kind, neighbours=neighbours)
                for neighbours in (20, 50, 200)
            }
    return found


def best_rankers(
    fitted: HeldOut, inner: HeldOut, inner_asked: HeldOut, log: Callable[[str], None]
) -> dict[str, tuple[str, Model]]:
    """Fit every model with the setting that has the highest NDCG@10 on an inner split.

    Args:
      fitted: Whose train ratings the models see.
      inner: Whose train ratings they see while the setting is chosen.
      inner_asked: Users that they are asked for then.
      log: Told every choice.

    Returns:
      Name -> setting and fitted model.
    """
    found = {}
    for name, settings in rankers(fitted).items():
        quality = {"": 0.0}
        if len(settings) > 1:
            quality = {setting: _ndcg(inner_asked, fit(inner)(inner_asked)) for setting, fit in settings.items()}
            log(f"{name}: NDCG@10 on the inner split {', '.join(f'{s} {q:.4f}' for s, q in quality.items())}")
        best = max(quality, key=quality.__getitem__)
        found[name] = best, settings[best](fitted)
    return found


def _ndcg(asked: HeldOut, scores_of: Scores) -> float:
    found = score(asked, None, scores_of).ndcg
    return 0.0 if found is None or not len(found) else float(np.mean(found))


def raters(fitted: HeldOut, asked: HeldOut) -> dict[str, np.ndarray]:
    """Fit what predicts ratings, and predict the held-out ones of the users asked for: name -> stars."""
    mean, _, of_movie = rating_biases.fit([fitted.matrix(fitted.train)])
    known, held = asked.train, ~asked.train
    rest = asked.stars[known] - mean - of_movie[asked.movie[known]]
    total, count = (np.bincount(asked.user[known], weights, len(asked.user_ids)) for weights in (rest, None))
    of_user = total / (count + rating_biases.PSEUDO_RATINGS)
    return {
        "global mean": np.full(held.sum(), mean),
        "user and movie biases": mean + of_user[asked.user[held]] + of_movie[asked.movie[held]],
    }


def _baselines(held: HeldOut) -> list[baselines.Baseline]:
    """Fit the gate's own baselines."""
    movie, timestamp, movies = held.movie[held.train], held.timestamp[held.train], len(held.movie_ids)
    recent = baselines.recent_popularity(movie, timestamp, timestamp.max(), movies)
    popularity = np.bincount(movie, minlength=movies)
    return baselines.fit([held.matrix(held.train)], np.arange(len(held.user_ids)), popularity, recent)


def _the_same(fitted: HeldOut, scores: np.ndarray) -> Model:
    del fitted
    return lambda asked: lambda users: np.tile(scores.astype(np.float32), (len(users), 1))


def _ease(fitted: HeldOut, liked: bool, penalty: float) -> Model:
    """Fit EASE (Steck, WWW 2019): item-item weights, zero on the diagonal."""
    seen = _matrix(fitted, liked)
    counts = np.asarray(seen.sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-counts, kind="stable")[: min(_MOST_MOVIES, int((counts > 0).sum()))])
    gram = (seen[:, kept].T @ seen[:, kept]).toarray()
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)

    def scores_of(asked: HeldOut) -> Scores:
        known = _known(asked, liked)[:, kept]

        def scores(users: np.ndarray) -> np.ndarray:
            found = np.zeros((len(users), len(counts)), np.float32)
            found[:, kept] = known[users] @ weights
            return found

        return scores

    return scores_of


def _ials(fitted: HeldOut, liked: bool, factors: int, alpha: float) -> Model:
    """Fit `implicit`'s alternating least squares; users are folded in."""
    model = AlternatingLeastSquares(
        factors, regularization=0.05, alpha=alpha, iterations=20, random_state=0, num_threads=0
    )
    model.fit(_matrix(fitted, liked), show_progress=False)

    def scores_of(asked: HeldOut) -> Scores:
        known = _known(asked, liked)
        return lambda users: model.recalculate_user(users, known[users]) @ model.item_factors.T

    return scores_of


def _knn(fitted: HeldOut, liked: bool, kind: type[ItemItemRecommender], neighbours: int) -> Model:
    model = kind(K=neighbours)
    model.fit(_matrix(fitted, liked), show_progress=False)

    def scores_of(asked: HeldOut) -> Scores:
        known = _known(asked, liked)
        return lambda users: (known[users] @ model.similarity).toarray()

    return scores_of


def _matrix(held: HeldOut, liked: bool) -> sparse.csr_matrix:
    """Return who rated what in train, or liked it, `[users, movies]` of 1 and 0."""
    rows = held.train & (held.stars >= movielens().scale.liked) if liked else held.train
    found = held.matrix(rows)
    found.data[:] = 1
    return found


def _known(asked: HeldOut, liked: bool) -> sparse.csr_matrix:
    """Return the same of the users asked for; of whom no like is known, what they rated has to do."""
    known = _matrix(asked, liked)
    without = np.asarray(known.sum(axis=1)).ravel() == 0
    return (known + sparse.diags(without.astype(np.float32)) @ _matrix(asked, False)).tocsr() if liked else known
