"""Held-out ratings: the split, the metrics and their intervals, the same for every model that is compared."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from components import ranking_metrics
from components.evaluation_gate import statistics
from schemas import features as f
from schemas.data_spec import movielens


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Ratings by user and time, the last tenth of each user's held out."""

    user_ids: np.ndarray
    """`[users]` ascending."""
    movie_ids: np.ndarray
    """`[movies]` ascending, every movie of the movies table."""
    user: np.ndarray
    """`[ratings]` position of the user."""
    movie: np.ndarray
    """`[ratings]` position of the movie."""
    stars: np.ndarray
    """`[ratings]`."""
    timestamp: np.ndarray
    """`[ratings]` Unix seconds."""
    train: np.ndarray
    """`[ratings]` bool."""

    @property
    def task(self) -> ranking_metrics.RankingTask:
        """Ranking for every user with a held-out rating of 4 stars or more, over all unseen movies."""
        return ranking_metrics.ranking_task(
            self.user, self.movie, self.stars, self.train, len(self.movie_ids), 10**9, 0, movielens().scale.liked
        )

    def matrix(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Return some of the ratings as `[users, movies]` float32; `rows`: `[ratings]` bool."""
        shape = len(self.user_ids), len(self.movie_ids)
        return sparse.csr_matrix((self.stars[rows].astype(np.float32), (self.user[rows], self.movie[rows])), shape)

    def inner(self) -> HeldOut:
        """Split the train ratings again, to choose settings without a look at what is held out."""
        known = self.select(self.train)
        return dataclasses.replace(known, train=_first_of_each(known.user, 0.9))

    def select(self, rows: np.ndarray) -> HeldOut:
        """Return the split with some of its ratings alone; `rows`: `[ratings]` bool."""
        names = ("user", "movie", "stars", "timestamp", "train")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})

    def write_train(self, movies_csv: pathlib.Path, directory: pathlib.Path) -> None:
        """Write the train ratings as a MovieLens data set."""
        directory.mkdir(parents=True, exist_ok=True)
        rows = self.train
        pl.DataFrame(
            {
                "userId": self.user_ids[self.user[rows]],
                "movieId": self.movie_ids[self.movie[rows]],
                "rating": self.stars[rows],
                "timestamp": self.timestamp[rows],
            }
        ).write_csv(directory / "ratings.csv")
        (directory / "movies.csv").write_bytes(movies_csv.read_bytes())


def split(data: pathlib.Path) -> HeldOut:
    """Read a MovieLens directory and hold out each user's last 10 % of ratings by time, ties by movie."""
    return read(data).inner()


def read(data: pathlib.Path) -> HeldOut:
    """Read a MovieLens directory, each user's ratings by time, ties by movie; nothing is held out."""
    ratings = pl.read_csv(data / "ratings.csv").sort("userId", "timestamp", "movieId")
    movie_ids = np.sort(pl.read_csv(data / "movies.csv", columns=["movieId"])["movieId"].to_numpy())
    user_ids, user = np.unique(ratings["userId"].to_numpy(), return_inverse=True)
    return HeldOut(
        user_ids=user_ids,
        movie_ids=movie_ids,
        user=user,
        movie=np.searchsorted(movie_ids, ratings["movieId"].to_numpy()),
        stars=ratings["rating"].to_numpy(),
        timestamp=ratings["timestamp"].to_numpy(),
        train=np.ones(len(user), bool),
    )


def places(user: np.ndarray) -> np.ndarray:
    """Return the place of each rating among its user's, from 0; `user`: `[ratings]`, ascending."""
    return np.arange(len(user)) - np.searchsorted(user, user)


def _first_of_each(user: np.ndarray, share: float) -> np.ndarray:
    return places(user) < np.ceil(np.bincount(user)[user] * share)


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a model reaches, per user; several seeds are averaged."""

    squared_error: np.ndarray | None
    """`[users]` sum over the user's held-out ratings; None for a model that predicts none."""
    ratings: np.ndarray
    """`[users]` held-out ratings."""
    recall: np.ndarray | None
    """`[ranked users]` recall@10; None for a model that does not rank."""
    ndcg: np.ndarray | None
    """`[ranked users]` NDCG@10."""
    coverage: float = 0.0
    """Share of the movies in at least one list."""

    def cells(self) -> list[str]:
        """Return RMSE, recall@10, NDCG@10 with their 95 % bootstrap intervals over users, and the coverage."""
        rmse, asked = "-", self.ratings > 0  # A draw of users without any rating has no error.
        if self.squared_error is not None:
            rmse = _cell(statistics.root_mean_square, self.squared_error[asked], self.ratings[asked])
        rank = ["-"] * 3
        if self.recall is not None and self.ndcg is not None:
            rank = [_cell(np.mean, self.recall), _cell(np.mean, self.ndcg), f"{self.coverage:.3f}"]
        return [rmse, *rank]


def mean_of(seeds: list[Scored]) -> Scored:
    """Average seeds per user; of squared errors, too, so that the RMSE is that of the mean squared error."""

    def mean(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
        found = [value for value in values if value is not None]
        return np.mean(found, axis=0) if found else None

    return Scored(
        mean([s.squared_error for s in seeds]),
        seeds[0].ratings,
        mean([s.recall for s in seeds]),
        mean([s.ndcg for s in seeds]),
        float(np.mean([s.coverage for s in seeds])),
    )


def score(
    held: HeldOut, predicted: np.ndarray | None, scores_of: Callable[[np.ndarray], np.ndarray] | None = None
) -> Scored:
    """Score a model.

    Args:
      held: The split.
      predicted: `[held-out ratings]` in stars, in the order of the split; None for none.
      scores_of: Function of positions of users -> `[users, movies]` scores; None for no ranking.
    """
    user, stars = held.user[~held.train], held.stars[~held.train]
    users = len(held.user_ids)
    squared = None
    if predicted is not None:
        error = np.clip(predicted, f.RATING_MIN, f.RATING_MAX) - stars
        squared = np.bincount(user, error**2, users)
    ranking = None
    if scores_of:
        task = held.task
        ranking = ranking_metrics.rank(task, lambda rows: scores_of(task.users[rows]))
    return Scored(
        squared,
        np.bincount(user, minlength=users),
        ranking.recall if ranking else None,
        ranking.ndcg if ranking else None,
        ranking.coverage if ranking else 0.0,
    )


def _cell(statistic: Callable[..., Any], *samples: np.ndarray) -> str:
    low, high = statistics.interval(statistic, *samples)
    return f"{statistic(*samples):.4f} ({low:.3f} to {high:.3f})"
