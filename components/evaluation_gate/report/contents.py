"""What the report says, as plain data: computed here, drawn in `figures`."""

from __future__ import annotations

import dataclasses

import numpy as np

from components.dataset import Dataset
from components.evaluation_gate import statistics
from components.evaluation_gate.evaluate import Embeddings, Measurement
from components.ranking_metrics import Ranking, RankingTask
from schemas.domain import Scale
from schemas.evaluation import MODEL
from schemas.ingest import GENRE_NAMES, TITLE

_CALIBRATION_BINS = 20
_POPULARITY_GROUPS = 10
_MAP_MOVIES = 3000
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


@dataclasses.dataclass(frozen=True)
class MovieMap:
    """The most rated movies on the two main axes of their embeddings."""

    xy: np.ndarray
    """`[movies, 2]`."""
    titles: list[str]
    genres: list[str]
    """The first genre of each."""
    explained: float
    """Share of the embeddings' variance in the two axes."""


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
    calibration: Calibration
    popularity: Popularity
    movie_map: MovieMap
    examples: list[Example]


def collect(data: Dataset, model: Embeddings, found: Measurement, seed: int = 0) -> Contents:
    """Compute the contents.

    Args:
      data: All ratings with their split.
      model: The model's embeddings.
      found: What was measured of it.
      seed: Seed of the choice of examples.
    """
    ranking, scale = found.ranking[MODEL], found.scale
    predicted = {
        name: np.clip(values, scale.min, scale.max).astype(np.float64) for name, values in found.predicted.items()
    }
    errors = {name: _rmse(found.user, values - found.ratings) for name, values in predicted.items()}
    counts = np.bincount(data.movie[data.train], minlength=data.catalog.height)
    names = {MODEL: "this model"} | {baseline.name: baseline.title for baseline in found.baselines}
    return Contents(
        [Row(title, errors.get(name), *_ranks(found.ranking.get(name), found.famous)) for name, title in names.items()],
        _calibration(predicted[MODEL], found.ratings, scale),
        _popularity(counts, ranking.top, found.movie[found.ratings >= scale.liked]),
        _movie_map(data, model.movies.embeddings, counts),
        _examples(data, model, found.task, ranking, seed),
    )


def _rmse(user: np.ndarray, error: np.ndarray) -> tuple[float, float, float]:
    _, place = np.unique(user, return_inverse=True)
    squared, ratings = np.bincount(place, error**2), np.bincount(place)
    value = float(statistics.root_mean_square(squared, ratings))
    return value, *statistics.interval(statistics.root_mean_square, squared, ratings)


_Cell = tuple[float, float, float] | None


def _ranks(ranking: Ranking | None, famous: np.ndarray) -> tuple[_Cell, _Cell, float | None, float | None]:
    """Return the cells of recall@10 and NDCG@10, the coverage and the share of famous movies."""
    if ranking is None:
        return None, None, None, None
    shares = ranking.coverage, ranking.famous_share(famous)
    if len(ranking.recall) < 2:  # There is nothing to draw from.
        return None, None, *shares
    recall, ndcg = ((float(x.mean()), *statistics.interval(np.mean, x)) for x in (ranking.recall, ranking.ndcg))
    return recall, ndcg, *shares


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


def _movie_map(data: Dataset, embeddings: np.ndarray, counts: np.ndarray) -> MovieMap:
    rows = np.argsort(-counts, kind="stable")[:_MAP_MOVIES]
    centred = embeddings[rows] - embeddings[rows].mean(axis=0)
    u, singular, _ = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    movies = data.catalog[rows]
    genres = [names[0] if len(names) else data.constants.domain.none for names in movies[GENRE_NAMES].to_list()]
    explained = float(variance[:2].sum() / max(variance.sum(), 1e-12))
    return MovieMap(u[:, :2] * singular[:2], movies[TITLE].to_list(), genres, explained)


def _examples(data: Dataset, model: Embeddings, task: RankingTask, ranking: Ranking, seed: int) -> list[Example]:
    titles = data.catalog[TITLE]
    chosen = np.random.default_rng(seed).permutation(len(task.users))[:_EXAMPLES]
    examples = []
    for row in np.sort(chosen):
        user = task.users[row]
        start, stop = np.searchsorted(data.user, [user, user + 1])
        train = np.flatnonzero(data.train[start:stop])[::-1][:_LIST] + start
        top = ranking.top[row][ranking.top[row] >= 0]
        relevant = task.relevant[1][task.relevant[0][row] : task.relevant[0][row + 1]]
        scale = data.constants.domain.scale
        expected = np.clip(model.predict(np.full(len(top), user), top), scale.min, scale.max)
        examples.append(
            Example(
                data.user_key(user),
                [(titles[int(data.movie[i])], float(data.ratings[i])) for i in train],
                [(titles[int(m)], float(s), bool(m in relevant)) for m, s in zip(top, expected, strict=True)],
            )
        )
    return examples
