"""Evaluation: one model's embeddings against the held-out ratings, beside baselines and the served model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from components.dataset import Dataset
from components.evaluation_gate import baselines, metrics
from schemas import features as f
from schemas.vectors import Vectors

_USER_BINS = (20, 100, 500)
_MOVIE_BINS = (1, 10, 100)


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """A model as evaluation sees it."""

    users: Vectors
    """In the order of the data set's users."""
    movies: Vectors
    """In the order of the catalogue; rows of zeros for movies that the model lacks."""
    known: np.ndarray | None = None
    """`[movies]` bool: which movies the model has; None for all."""

    def predict(self, user: np.ndarray, movie: np.ndarray) -> np.ndarray:
        """Predict the rating of (user, movie) pairs, in stars, not clipped."""
        users, movies = self.users.rating_vectors[user], self.movies.rating_vectors[movie]
        return f.to_stars(np.einsum("ij,ij->i", users, movies))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Score every movie for users: `[users, movies]`."""
        scores = self.users.embeddings[users] @ self.movies.embeddings.T
        return scores if self.known is None else np.where(self.known, scores, -np.inf)


def evaluate(data: Dataset, model: Embeddings, max_ranking_users: int, seed: int = 0) -> dict[str, Any]:
    """Measure a model and the baselines on the eval ratings.

    Args:
      data: All ratings with their split.
      model: The model's embeddings.
      max_ranking_users: Users that the ranking looks at, at most.
      seed: Seed of their sample.

    Returns:
      `model`, `baselines` and `slices`, plain data for JSON.

    Raises:
      ValueError: There is no eval rating.
    """
    held = ~data.train
    if not held.any():
        raise ValueError("no rating is held out: every user has too few, or the cut-off is too late; see eval_fraction")
    user, movie, stars = data.user[held], data.movie[held], data.stars[held]
    predicted = model.predict(user, movie)
    task = metrics.ranking_task(
        data.user, data.movie, data.stars, data.train, data.catalog.height, max_ranking_users, seed
    )
    ranking = metrics.rank(task, lambda rows: model.scores(task.users[rows]))
    own = {**metrics.rating_error(predicted, stars), **ranking.summary(), "coverage": ranking.coverage}
    return {
        "model": own,
        "baselines": _baselines(data, task, user, movie, stars),
        "slices": _slices(data, task, ranking, user, movie, predicted, stars),
    }


def compare(data: Dataset, candidate: Embeddings, served: Embeddings, max_ranking_users: int) -> dict[str, Any]:
    """Measure a candidate and the served model on the rows that both can score.

    Returns:
      `candidate` and `served`: `rmse`, `mae`, `recall@10`, `ndcg@10`, `users`, `ratings`.
    """
    rows = ~data.train
    if served.known is not None:
        rows &= served.known[data.movie]
    user, movie, stars = data.user[rows], data.movie[rows], data.stars[rows]
    task = metrics.ranking_task(
        data.user, data.movie, data.stars, data.train, data.catalog.height, max_ranking_users, seed=0
    )
    return {
        name: {
            **metrics.rating_error(model.predict(user, movie), stars),
            **metrics.rank(task, lambda part, model=model: model.scores(task.users[part])).summary(),
        }
        for name, model in (("candidate", candidate), ("served", served))
    }


def _baselines(data: Dataset, task: metrics.RankingTask, user, movie, stars) -> dict[str, Any]:
    train = data.train
    mean, of_user, of_movie = baselines.biases(
        data.user[train], data.movie[train], data.stars[train], data.num_users, data.catalog.height
    )
    popularity = np.bincount(data.movie[train], minlength=data.catalog.height).astype(np.float32)
    ranking = metrics.rank(task, lambda rows: np.tile(popularity, (rows.stop - rows.start, 1)))
    return {
        "global mean": metrics.rating_error(np.full(len(stars), mean), stars),
        "biases": metrics.rating_error(mean + of_user[user] + of_movie[movie], stars),
        "popularity": {**ranking.summary(), "coverage": ranking.coverage},
    }


def _slices(data: Dataset, task, ranking: metrics.Ranking, user, movie, predicted, stars) -> dict[str, Any]:
    user_count = np.bincount(data.user[data.train], minlength=data.num_users)
    movie_count = np.bincount(data.movie[data.train], minlength=data.catalog.height)
    genres = data.catalog[f.MOVIE_GENRES].list.to_array(len(f.GENRES)).to_numpy()[movie] > 0
    user_bin, movie_bin = np.digitize(user_count, _USER_BINS), np.digitize(movie_count, _MOVIE_BINS)
    return {
        "user activity (train ratings)": {
            label: {
                **metrics.rating_error(predicted[rows := user_bin[user] == i], stars[rows]),
                **ranking.summary(user_bin[task.users] == i),
            }
            for i, label in enumerate(_labels(_USER_BINS))
        },
        "movie popularity (train ratings)": {
            label: metrics.rating_error(predicted[rows := movie_bin[movie] == i], stars[rows])
            for i, label in enumerate(_labels(_MOVIE_BINS))
        },
        "genre": {
            name: metrics.rating_error(predicted[genres[:, i]], stars[genres[:, i]]) for i, name in enumerate(f.GENRES)
        },
    }


def _labels(bins: tuple[int, ...]) -> list[str]:
    starts = (0, *bins)
    return [f"{a}-{b - 1}" if b - 1 > a else str(a) for a, b in zip(starts, bins, strict=False)] + [f"{bins[-1]}+"]
