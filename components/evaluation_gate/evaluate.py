"""Evaluation: one model's embeddings against the held-out ratings, beside baselines and the served model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from components.dataset import Dataset
from components.evaluation_gate import baselines, metrics
from schemas import features as f
from schemas.vectors import Vectors

MODEL, BIASES, GLOBAL_MEAN, POPULARITY = "model", "biases", "global mean", "popularity"
"""What is measured."""

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


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model and the baselines on the eval ratings, per rating and per user."""

    user: np.ndarray
    """`[eval ratings]` position of the user."""
    movie: np.ndarray
    """`[eval ratings]` position in the catalogue."""
    stars: np.ndarray
    """`[eval ratings]`."""
    predicted: dict[str, np.ndarray]
    """`[eval ratings]` stars, not clipped, of `MODEL`, `BIASES` and `GLOBAL_MEAN`."""
    task: metrics.RankingTask
    ranking: dict[str, metrics.Ranking]
    """Of `MODEL` and `POPULARITY`."""


def measure(data: Dataset, model: Embeddings, max_ranking_users: int, seed: int = 0) -> Measurement:
    """Measure a model and the baselines on the eval ratings.

    Args:
      data: All ratings with their split.
      model: The model's embeddings.
      max_ranking_users: Users that the ranking looks at, at most.
      seed: Seed of their sample.

    Raises:
      ValueError: There is no eval rating.
    """
    train, held, movies = data.train, ~data.train, data.catalog.height
    if not held.any():
        raise ValueError("no rating is held out: every user has too few, or the cut-off is too late; see eval_fraction")
    user, movie, stars = data.user[held], data.movie[held], data.stars[held]
    mean, of_user, of_movie = baselines.biases(
        data.user[train], data.movie[train], data.stars[train], data.num_users, movies
    )
    popularity = np.bincount(data.movie[train], minlength=movies).astype(np.float32)
    task = metrics.ranking_task(data.user, data.movie, data.stars, train, movies, max_ranking_users, seed)
    return Measurement(
        user,
        movie,
        stars,
        {
            MODEL: model.predict(user, movie),
            BIASES: mean + of_user[user] + of_movie[movie],
            GLOBAL_MEAN: np.full(len(stars), mean),
        },
        task,
        {
            MODEL: metrics.rank(task, lambda rows: model.scores(task.users[rows])),
            POPULARITY: metrics.rank(task, lambda rows: np.tile(popularity, (rows.stop - rows.start, 1))),
        },
    )


def evaluate(data: Dataset, model: Embeddings, max_ranking_users: int, seed: int = 0) -> dict[str, Any]:
    """Measure and summarise; see both."""
    return summarise(data, measure(data, model, max_ranking_users, seed))


def summarise(data: Dataset, found: Measurement) -> dict[str, Any]:
    """Return `model`, `baselines` and `slices`, plain data for JSON."""
    errors = {name: metrics.rating_error(predicted, found.stars) for name, predicted in found.predicted.items()}
    ranks = {name: {**ranking.summary(), "coverage": ranking.coverage} for name, ranking in found.ranking.items()}
    return {
        "model": errors[MODEL] | ranks[MODEL],
        "baselines": {
            GLOBAL_MEAN: errors[GLOBAL_MEAN],
            BIASES: errors[BIASES],
            POPULARITY: ranks[POPULARITY],
        },
        "slices": _slices(data, found),
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


def _slices(data: Dataset, found: Measurement) -> dict[str, Any]:
    user, movie, stars, task = found.user, found.movie, found.stars, found.task
    predicted, ranking = found.predicted[MODEL], found.ranking[MODEL]
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
