"""Evaluation: models on the held-out ratings, beside baselines and each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from components import progress
from components.dataset import Dataset
from components.evaluation_gate.held_out import HeldOut
from components.evaluation_gate.statistics import NDCG, NUM_RATINGS, RECALL, SQUARED_ERROR, rating_error
from components.ranking_metrics import Ranking, most_rated, rank, rank_alike
from components.threads import in_threads
from schemas import features as f
from schemas.evaluation import MODEL, Comparison, Measures, ModelQuality, Quality, RatingError
from schemas.user_features import FeatureConstants
from schemas.vectors import Vectors, column_array

_USER_BINS = (20, 100, 500)
_MOVIE_BINS = (1, 10, 100)
_THREADS = 2
"""That embed users, while a third one computes features."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as evaluation sees it."""

    embed_users: Callable[[Mapping[str, np.ndarray]], Vectors]
    """`schemas.features.USER_TOWER_INPUTS` -> the users' vectors."""
    movies: Vectors
    """In the order of the catalogue; rows of zeros for movies that the model lacks."""
    constants: FeatureConstants
    """That its user features are computed with."""
    known: np.ndarray | None = None
    """`[movies]` bool: which movies the model has; None for all."""

    def embed(self, data: Dataset) -> Vectors:
        """Embed the users of a shard."""
        # TensorFlow's graphs have little to do at once.
        return Vectors.concatenate(in_threads(self.embed_users, data.user_blocks(self.constants), _THREADS))

    def predict(self, users: np.ndarray, movie: np.ndarray) -> np.ndarray:
        """Predict the ratings of pairs, not clipped.

        Args:
          users: `[n, dim]` rating vectors.
          movie: `[n]` positions of movies.
        """
        cosine = np.einsum("ij,ij->i", users, self.movies.rating_vectors[movie])
        predicted: np.ndarray = self.constants.domain.scale.of_stars(f.to_stars(cosine))
        return predicted


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of the held-out ratings."""

    model: Model
    predicted: np.ndarray
    """`[eval ratings]` not clipped."""
    users: Vectors
    """Of those who are ranked for."""

    def scores(self, rows: slice) -> np.ndarray:
        """Score every movie for some of those who are ranked for: `[users, movies]`."""
        scores: np.ndarray = self.users.embeddings[rows] @ self.model.movies.embeddings.T
        if self.model.known is not None:
            scores[:, ~self.model.known] = -np.inf
        return scores


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model and the baselines on the eval ratings, per rating and per user; ratings on the data set's scale."""

    predicted: dict[str, np.ndarray]
    """`[eval ratings]`, not clipped, of `MODEL` and of the baselines that predict."""
    famous: np.ndarray
    """`[movies]` bool: the 100 with the most train ratings."""
    ranking: dict[str, Ranking]
    """Of `MODEL` and of the baselines that rank."""


def ask(shards: Iterable[Dataset], held: HeldOut, models: Sequence[Model]) -> list[Answers]:
    """Ask models of the same data about the held-out ratings, a shard of users at a time.

    Args:
      shards: Those that `held` was read from.
      held: What is asked about.
      models: The models.
    """
    predicted = [np.zeros(len(held.movie), np.float32) for _ in models]
    ranked: list[list[Vectors]] = [[] for _ in models]
    numbers = []
    for data in shards:
        place = np.searchsorted(held.user_ids, data.user_ids)
        counts = held.offsets[place + 1] - held.offsets[place]
        begin = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(held.offsets[place] - begin, counts)
        owner = np.repeat(np.arange(len(place)), counts)
        chosen = np.flatnonzero(np.isin(place, held.task.users))
        numbers.append(place[chosen])
        for number, model in enumerate(models):
            users = model.embed(data)
            predicted[number][rows] = model.predict(users.rating_vectors[owner], held.movie[rows])
            ranked[number].append(users[chosen])
            progress.advance("embed", data.num_users, "users", len(models) * len(held.user_ids))
    order = np.argsort(np.concatenate(numbers))
    return [
        Answers(model, values, Vectors.concatenate(parts)[order])
        for model, values, parts in zip(models, predicted, ranked, strict=True)
    ]


def measure(held: HeldOut, answers: Answers) -> Measurement:
    """Measure a model and the baselines."""
    user, task = held.user, held.task
    predicted = {b.name: b.predict(user, held.movie) for b in held.baselines if b.predict}
    rankings = {b.name: rank_alike(task, b.scores) for b in held.baselines if b.scores is not None}
    return Measurement(
        {MODEL: answers.predicted} | predicted,
        most_rated(held.movie_counts),
        {MODEL: rank(task, answers.scores)} | rankings,
    )


def summarise(held: HeldOut, found: Measurement) -> Measures:
    """Average what was measured, over all rows and by slice."""
    scale = held.constants.domain.scale
    errors = {name: rating_error(predicted, held.ratings, scale) for name, predicted in found.predicted.items()}
    ranks = {name: ranking.ranked_list(found.famous) for name, ranking in found.ranking.items()}
    return Measures(
        model=ModelQuality(**dict(errors.pop(MODEL)), **dict(ranks.pop(MODEL))),
        baselines={b.name: errors[b.name] if b.name in errors else ranks[b.name] for b in held.baselines},
        slices=_slices(held, found),
    )


def evaluate(shards: Sequence[Dataset], model: Model, max_ranking_users: int) -> Measures:
    """Measure and summarise a model on shards of users."""
    held = HeldOut.read(shards, max_ranking_users)
    return summarise(held, measure(held, *ask(shards, held, [model])))


def compare(held: HeldOut, found: Measurement, served: Answers) -> Comparison:
    """Hold a candidate that was measured against the served model, on the ratings of movies that both have."""
    known = served.model.known
    rows = slice(None) if known is None else known[held.movie]
    ranking = {"candidate": found.ranking[MODEL], "served": rank(held.task, served.scores)}
    predicted = {"candidate": found.predicted[MODEL], "served": served.predicted}
    return Comparison(
        **{
            name: Quality(
                **dict(rating_error(predicted[name][rows], held.ratings[rows], held.constants.domain.scale)),
                **dict(ranking[name].summary()),
            )
            for name in ranking
        }
    )


class Slice(NamedTuple):
    """A part of the eval ratings; of users, also of those who are ranked for."""

    ratings: np.ndarray
    """`[eval ratings]` bool."""
    ranked: np.ndarray | None = None
    """`[users ranked for]` bool; None of a slice of movies, which the lists are not divided by."""


def slices_of(held: HeldOut) -> dict[str, dict[str, Slice]]:
    """Return kind of slice -> name of the slice -> what belongs to it."""
    genres = column_array(held.catalog[f.MOVIE_GENRES])[held.movie] > 0
    user_bin, movie_bin = np.digitize(held.user_counts, _USER_BINS), np.digitize(held.movie_counts, _MOVIE_BINS)
    return {
        "user activity (train ratings)": {
            label: Slice(user_bin[held.user] == i, user_bin[held.task.users] == i)
            for i, label in enumerate(_labels(_USER_BINS))
        },
        "movie popularity (train ratings)": {
            label: Slice(movie_bin[held.movie] == i) for i, label in enumerate(_labels(_MOVIE_BINS))
        },
        "genre": {name: Slice(genres[:, i]) for i, name in enumerate(held.constants.domain.categories)},
    }


def _slices(held: HeldOut, found: Measurement) -> dict[str, dict[str, Quality | RatingError]]:
    predicted, ranking, scale = found.predicted[MODEL], found.ranking[MODEL], held.constants.domain.scale

    def quality(part: Slice) -> Quality | RatingError:
        error = rating_error(predicted[part.ratings], held.ratings[part.ratings], scale)
        return error if part.ranked is None else Quality(**dict(error), **dict(ranking.summary(part.ranked)))

    return {kind: {name: quality(part) for name, part in parts.items()} for kind, parts in slices_of(held).items()}


def per_user(held: HeldOut, found: Measurement) -> pl.DataFrame:
    """Return what was measured of the model user by user, for `statistics.paired`."""
    scale, user = held.constants.domain.scale, held.user
    error = np.clip(found.predicted[MODEL], scale.min, scale.max).astype(np.float64) - held.ratings
    users = len(held.user_ids)
    frame = pl.DataFrame(
        {
            f.USER_ID: held.user_ids,
            SQUARED_ERROR: np.bincount(user, error**2, minlength=users),
            NUM_RATINGS: np.bincount(user, minlength=users),
        }
    ).filter(pl.col(NUM_RATINGS) > 0)
    ranking = found.ranking[MODEL]
    ranked = pl.DataFrame(
        {f.USER_ID: held.user_ids[held.task.users], RECALL: ranking.recall, NDCG: ranking.ndcg},
        schema_overrides={RECALL: pl.Float64, NDCG: pl.Float64},
    )
    return frame.join(ranked, on=f.USER_ID, how="left")


def _labels(bins: tuple[int, ...]) -> list[str]:
    starts = (0, *bins)
    return [f"{a}-{b - 1}" if b - 1 > a else str(a) for a, b in zip(starts, bins, strict=False)] + [f"{bins[-1]}+"]
