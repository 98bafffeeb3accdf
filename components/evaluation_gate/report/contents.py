"""What the report says, as plain data: computed here, drawn in `figures`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import time
import warnings

import numpy as np
from sklearn.manifold import TSNE

from components.evaluation_gate import statistics
from components.evaluation_gate.evaluate import Answers, Measurement, Slice, slices_of
from components.evaluation_gate.held_out import HeldOut
from components.evaluation_gate.report.probes import NewUsers, Taste, new_users, tastes
from components.ranking_metrics import Ranking
from schemas.domain import Scale
from schemas.evaluation import MODEL
from schemas.ingest import GENRE_NAMES, TITLE
from serving.titles import as_written

_CALIBRATION_BINS = 20
_POPULARITY_GROUPS = 10
_MAP_MOVIES = 1000
_MAP_STEPS, _NEIGHBOURS, _FEWEST_MAPPED = 300, 30.0, 5
_SLICE_GROUPS = 2_000
"""`statistics.MOST_GROUPS` of slices, of which there are many."""
_EXAMPLES = 10
_LIST = 10


@dataclasses.dataclass(frozen=True)
class Row:
    """A model's line in the table: value and 95 % interval of each metric that it has."""

    name: str
    rmse: tuple[float, float, float] | None = None
    recall: tuple[float, float, float] | None = None
    ndcg: tuple[float, float, float] | None = None
    coverage: float | None = None
    famous: float | None = None


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """The model on a part of the held-out ratings."""

    name: str
    ratings: int
    rmse: tuple[float, float, float]
    """Value and 95 % interval."""
    users: int = 0
    """Who are ranked for."""
    ndcg: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Predicted and given ratings, of held-out ratings in bins of equal size by prediction."""

    predicted: np.ndarray
    """`[bins]` mean prediction."""
    given: np.ndarray
    """`[bins]` mean rating."""
    scale: Scale


@dataclasses.dataclass(frozen=True)
class Popularity:
    """Shares of movies by popularity: group 0 is the tenth of the train ratings with the most rated movies."""

    movies: np.ndarray
    """`[groups]` how many movies a group has."""
    liked: np.ndarray
    """`[groups]` share of the held-out ratings that are likes."""
    recommended: np.ndarray
    """`[groups]` share of the recommendations."""

    @property
    def in_words(self) -> str:
        """The first group, in one sentence."""
        some, movies = self.movies[0], self.movies.sum()
        return (
            f"The {some:,} most rated of {movies:,} movies have a tenth of the train ratings. They are "
            f"{self.recommended[0]:.0%} of what is recommended, and {self.liked[0]:.0%} of what users liked afterwards."
        )


@dataclasses.dataclass(frozen=True)
class MovieMap:
    """The most rated movies in a plane, in which neighbours are neighbours by their embeddings (t-SNE)."""

    xy: np.ndarray
    """`[movies, 2]`."""
    titles: list[str]
    genres: list[str]
    """The first genre of each."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A user's latest ratings, what they are recommended, and what of it they liked later."""

    user_id: int | str
    rated: list[tuple[str, float]]
    recommended: list[tuple[str, float, bool]]
    """Title, predicted rating, whether it was liked in the held-out ratings."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """Everything that the report shows, beside the gate's own evaluation."""

    table: list[Row]
    slices: dict[str, list[SliceRow]]
    """Kind of slice -> those that have ratings."""
    calibration: Calibration
    popularity: Popularity
    movie_map: MovieMap
    examples: list[Example]
    new_users: list[NewUsers]
    tastes: list[Taste]


def collect(held: HeldOut, answers: Answers, found: Measurement, seed: int = 0) -> Contents:
    """Compute the contents.

    Args:
      held: The eval ratings.
      answers: What the model says of them.
      found: What was measured of it.
      seed: Seed of the choice of examples.
    """
    ranking, scale, user = found.ranking[MODEL], held.constants.domain.scale, held.user
    predicted = {
        name: np.clip(values, scale.min, scale.max).astype(np.float64) for name, values in found.predicted.items()
    }
    errors = dict(zip(predicted, _rmse(user, np.stack(list(predicted.values())) - held.ratings), strict=True))
    names = {MODEL: "this model"} | {baseline.name: baseline.title for baseline in held.baselines}
    return Contents(
        [Row(title, errors.get(name), *_ranks(found.ranking.get(name), found.famous)) for name, title in names.items()],
        _slices(held, predicted[MODEL] - held.ratings, ranking),
        _calibration(predicted[MODEL], held.ratings, scale),
        _popularity(held.movie_counts, ranking.top, held.movie[held.ratings >= scale.liked]),
        _movie_map(held, answers.model.movies.embeddings),
        _examples(held, answers, ranking, seed),
        new_users(held, answers.model),
        tastes(held, answers.model),
    )


def describe(held: HeldOut, trained: str, served: int | None) -> dict[str, str]:
    """Return the first lines of the model card: what the model was made of, and when."""
    domain, train = held.constants.domain, int(held.user_counts.sum())
    scale = domain.scale
    data = (
        f"{train + len(held.ratings):,} ratings ({train:,} train, {len(held.ratings):,} held out) by "
        f"{len(held.user_ids):,} users; {held.catalog.height:,} movies"
    )
    found = {"Data": data, "Scale": f"{scale.min:g} to {scale.max:g}, liked from {scale.liked:g}"}
    if domain.timed:
        found["Latest train rating"] = _day(held.constants.latest_s)
    found["Evaluated"] = f"{_day(time.time())}, Matinee {importlib.metadata.version('matinee')}"
    if trained:
        found["Training"] = trained
    return found | {"Served before": "nothing" if served is None else f"version {served}"}


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")


def _slices(held: HeldOut, errors: np.ndarray, ranking: Ranking) -> dict[str, list[SliceRow]]:
    def row(name: str, part: Slice) -> SliceRow:
        (rmse,) = _rmse(held.user[part.ratings], errors[None, part.ratings], _SLICE_GROUPS)
        ranked = ranking.ndcg[:0] if part.ranked is None else ranking.ndcg[part.ranked]
        return SliceRow(name, int(part.ratings.sum()), rmse, len(ranked), _mean(ranked) if len(ranked) > 1 else None)

    return {
        kind: [row(name, part) for name, part in parts.items() if part.ratings.any()]
        for kind, parts in slices_of(held).items()
    }


def _rmse(
    user: np.ndarray, errors: np.ndarray, groups: int = statistics.MOST_GROUPS
) -> list[tuple[float, float, float]]:
    """Return value and interval of each model's RMSE; `errors`: `[models, ratings]`."""
    _, place = np.unique(user, return_inverse=True)
    group = place % groups
    squared, ratings = np.stack([np.bincount(group, error**2) for error in errors]), np.bincount(group)
    values = statistics.root_mean_square(squared, ratings)
    lows, highs = statistics.interval(statistics.root_mean_square, squared, ratings)
    return [(float(value), float(low), float(high)) for value, low, high in zip(values, lows, highs, strict=True)]


_Cell = tuple[float, float, float] | None


def _ranks(ranking: Ranking | None, famous: np.ndarray) -> tuple[_Cell, _Cell, float | None, float | None]:
    """Return the cells of recall@10 and NDCG@10, the coverage and the share of famous movies."""
    if ranking is None:
        return None, None, None, None
    shares = ranking.coverage, ranking.famous_share(famous)
    if len(ranking.recall) < 2:  # There is nothing to draw from.
        return None, None, *shares
    return _mean(ranking.recall), _mean(ranking.ndcg), *shares


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    low, high = statistics.interval(np.mean, values)
    return float(values.mean()), float(low), float(high)


def _calibration(predicted: np.ndarray, ratings: np.ndarray, scale: Scale) -> Calibration:
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(_CALIBRATION_BINS, len(ratings)))
    mean_of, mean_given = (np.array([values[part].mean() for part in parts]) for values in (predicted, ratings))
    return Calibration(mean_of, mean_given, scale)


def _popularity(counts: np.ndarray, top: np.ndarray, liked: np.ndarray) -> Popularity:
    order = np.argsort(-counts, kind="stable")
    group = np.empty(len(counts), np.int64)
    before = np.cumsum(counts[order]) - counts[order]
    group[order] = np.minimum(before * _POPULARITY_GROUPS // max(counts.sum(), 1), _POPULARITY_GROUPS - 1)

    def share(movies: np.ndarray) -> np.ndarray:
        return np.bincount(group[movies], minlength=_POPULARITY_GROUPS) / max(len(movies), 1)

    return Popularity(np.bincount(group, minlength=_POPULARITY_GROUPS), share(liked), share(top[top >= 0]))


def _movie_map(held: HeldOut, embeddings: np.ndarray) -> MovieMap:
    rows = np.argsort(-held.movie_counts, kind="stable")[:_MAP_MOVIES]
    movies = held.catalog[rows]
    genres = [names[0] if len(names) else held.constants.domain.none for names in movies[GENRE_NAMES].to_list()]
    return MovieMap(_plane(embeddings[rows]), [as_written(title) for title in movies[TITLE]], genres)


def _plane(embeddings: np.ndarray) -> np.ndarray:
    """Lay vectors out in a plane, `[n, 2]`."""
    if len(embeddings) < _FEWEST_MAPPED:
        return np.zeros((len(embeddings), 2), np.float32)
    perplexity = min(_NEIGHBOURS, (len(embeddings) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", max_iter=_MAP_STEPS, random_state=0)
    with warnings.catch_warnings():
        # joblib counts cores by a program that a small container lacks, and says so.
        warnings.filterwarnings("ignore", "Could not find the number of physical cores")
        plane: np.ndarray = layout.fit_transform(embeddings)
    return plane


def _examples(held: HeldOut, answers: Answers, ranking: Ranking, seed: int) -> list[Example]:
    task, scale = held.task, held.constants.domain.scale

    def title(movie: int) -> str:
        return as_written(held.catalog[TITLE][int(movie)])

    chosen = np.random.default_rng(seed).permutation(len(task.users))[:_EXAMPLES]
    examples = []
    for row in np.sort(chosen):
        offsets, seen = task.seen
        latest = range(offsets[row + 1] - 1, max(offsets[row], offsets[row + 1] - _LIST) - 1, -1)
        top = ranking.top[row][ranking.top[row] >= 0]
        relevant = task.relevant[1][task.relevant[0][row] : task.relevant[0][row + 1]]
        users = np.repeat(answers.users.rating_vectors[row : row + 1], len(top), axis=0)
        expected = np.clip(answers.model.predict(users, top), scale.min, scale.max)
        examples.append(
            Example(
                held.user_key(task.users[row]),
                [(title(seen[i]), float(held.seen_ratings[i])) for i in latest],
                [(title(m), float(s), bool(m in relevant)) for m, s in zip(top, expected, strict=True)],
            )
        )
    return examples
