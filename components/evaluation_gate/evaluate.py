"""Evaluation: one model's embeddings against the held-out ratings, beside baselines and the served model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from components.dataset import Dataset
from components.evaluation_gate import baselines
from components.evaluation_gate.baselines import Baseline
from components.evaluation_gate.statistics import rating_error
from components.ranking_metrics import Ranking, RankingTask, most_rated, rank, ranking_task
from schemas import features as f
from schemas.domain import Scale
from schemas.evaluation import MODEL, Comparison, Measures, ModelQuality, Quality, RatingError
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
    scale: Scale = dataclasses.field(default_factory=Scale)
    """The data set's."""

    def predict(self, user: np.ndarray, movie: np.ndarray) -> np.ndarray:
        """Predict the rating of (user, movie) pairs, not clipped."""
        users, movies = self.users.rating_vectors[user], self.movies.rating_vectors[movie]
        predicted: np.ndarray = self.scale.of_stars(f.to_stars(np.einsum("ij,ij->i", users, movies)))
        return predicted

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Score every movie for users: `[users, movies]`."""
        scores = self.users.embeddings[users] @ self.movies.embeddings.T
        return scores if self.known is None else np.where(self.known, scores, -np.inf)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model and the baselines on the eval ratings, per rating and per user; ratings on the data set's scale."""

    scale: Scale

    user: np.ndarray
    """`[eval ratings]` position of the user."""
    movie: np.ndarray
    """`[eval ratings]` position in the catalogue."""
    ratings: np.ndarray
    """`[eval ratings]`."""
    baselines: list[Baseline]
    predicted: dict[str, np.ndarray]
    """`[eval ratings]`, not clipped, of `MODEL` and of the baselines that predict."""
    famous: np.ndarray
    """`[movies]` bool: the 100 with the most train ratings."""
    task: RankingTask
    ranking: dict[str, Ranking]
    """Of `MODEL` and of the baselines that rank."""


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
    scale, given = data.constants.domain.scale, data.ratings
    user, movie, ratings = data.user[held], data.movie[held], given[held]
    known = data.user[train], data.movie[train], given[train], data.timestamp[train]
    fitted = baselines.fit(*known, data.num_users, movies, data.constants.domain.timed)
    task = ranking_task(data.user, data.movie, given, train, movies, max_ranking_users, seed, scale.liked)
    predictions = {MODEL: model.predict, **{b.name: b.predict for b in fitted if b.predict}}
    scores = {MODEL: model.scores, **{b.name: b.scores for b in fitted if b.scores}}
    return Measurement(
        scale,
        user,
        movie,
        ratings,
        fitted,
        {name: predict(user, movie) for name, predict in predictions.items()},
        most_rated(data.movie[train], movies),
        task,
        {name: _ranked(task, of) for name, of in scores.items()},
    )


def _ranked(task: RankingTask, scores_of: Callable[[np.ndarray], np.ndarray]) -> Ranking:
    return rank(task, lambda rows: scores_of(task.users[rows]))


def evaluate(data: Dataset, model: Embeddings, max_ranking_users: int, seed: int = 0) -> Measures:
    """Measure and summarise; see both."""
    return summarise(data, measure(data, model, max_ranking_users, seed))


def summarise(data: Dataset, found: Measurement) -> Measures:
    """Average what was measured, over all rows and by slice."""
    errors = {name: rating_error(predicted, found.ratings, found.scale) for name, predicted in found.predicted.items()}
    ranks = {name: ranking.ranked_list(found.famous) for name, ranking in found.ranking.items()}
    return Measures(
        model=ModelQuality(**dict(errors.pop(MODEL)), **dict(ranks.pop(MODEL))),
        baselines={b.name: errors[b.name] if b.name in errors else ranks[b.name] for b in found.baselines},
        slices=_slices(data, found),
    )


def compare(data: Dataset, candidate: Embeddings, served: Embeddings, max_ranking_users: int) -> Comparison:
    """Measure a candidate and the served model on the rows that both can score."""
    rows = ~data.train
    if served.known is not None:
        rows &= served.known[data.movie]
    scale = data.constants.domain.scale
    user, movie, ratings = data.user[rows], data.movie[rows], data.ratings[rows]
    task = ranking_task(
        data.user, data.movie, data.ratings, data.train, data.catalog.height, max_ranking_users, 0, scale.liked
    )

    def quality(model: Embeddings) -> Quality:
        error = rating_error(model.predict(user, movie), ratings, scale)
        return Quality(**dict(error), **dict(_ranked(task, model.scores).summary()))

    return Comparison(candidate=quality(candidate), served=quality(served))


def _slices(data: Dataset, found: Measurement) -> dict[str, dict[str, Quality | RatingError]]:
    user, movie, ratings, task = found.user, found.movie, found.ratings, found.task
    predicted, ranking = found.predicted[MODEL], found.ranking[MODEL]
    user_count = np.bincount(data.user[data.train], minlength=data.num_users)
    movie_count = np.bincount(data.movie[data.train], minlength=data.catalog.height)
    genres = data.genres[movie] > 0
    user_bin, movie_bin = np.digitize(user_count, _USER_BINS), np.digitize(movie_count, _MOVIE_BINS)

    def error(rows: np.ndarray) -> RatingError:
        return rating_error(predicted[rows], ratings[rows], found.scale)

    return {
        "user activity (train ratings)": {
            label: Quality(**dict(error(user_bin[user] == i)), **dict(ranking.summary(user_bin[task.users] == i)))
            for i, label in enumerate(_labels(_USER_BINS))
        },
        "movie popularity (train ratings)": {
            label: error(movie_bin[movie] == i) for i, label in enumerate(_labels(_MOVIE_BINS))
        },
        "genre": {name: error(genres[:, i]) for i, name in enumerate(data.constants.domain.categories)},
    }


def _labels(bins: tuple[int, ...]) -> list[str]:
    starts = (0, *bins)
    return [f"{a}-{b - 1}" if b - 1 > a else str(a) for a, b in zip(starts, bins, strict=False)] + [f"{bins[-1]}+"]
