"""Baselines on the same rows: global mean, user and movie biases, popularity at all times and of late."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import sparse

from components import rating_biases
from schemas.evaluation import BIASES, GLOBAL_MEAN, POPULARITY, RECENT_POPULARITY

_DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A fitted baseline: what predicts ratings, or what ranks movies."""

    name: str
    """In an evaluation."""
    title: str
    """For people."""
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Positions of users and of movies, `[n]` each -> `[n]` ratings."""
    scores: np.ndarray | None = None
    """`[movies]` what all users' movies are ranked by."""


def fit(
    blocks: Sequence[sparse.csr_matrix], order: np.ndarray, popularity: np.ndarray, recent: Mapping[str, np.ndarray]
) -> list[Baseline]:
    """Fit every baseline.

    Args:
      blocks: `[users, movies]` each, float32 train ratings: users of their own, and the same movies.
      order: `[users]` the users of the blocks in the order of their positions.
      popularity: `[movies]` number of train ratings.
      recent: Name -> `[movies]` number of train ratings of late.
    """
    mean, of_user, of_movie = rating_biases.fit(blocks)
    of_user = of_user[order]
    # What nobody has rated lately comes by its popularity at all times.
    last = popularity / (popularity.max() + 1)
    rankings = {POPULARITY: popularity} | {name: counts + last for name, counts in recent.items()}
    return [
        Baseline(GLOBAL_MEAN, "global mean", predict=lambda users, movies: np.full(len(users), mean)),
        Baseline(
            BIASES,
            "user and movie biases",
            predict=lambda users, movies: mean + of_user[users] + of_movie[movies],
        ),
        *(Baseline(name, name, scores=scores) for name, scores in rankings.items()),
    ]


def recent_popularity(
    movie: np.ndarray, timestamp: np.ndarray, latest_s: int, num_movies: int
) -> dict[str, np.ndarray]:
    """Count the ratings of the last days before the latest one, for `fit`.

    Args:
      movie: `[n]` position of the movie.
      timestamp: `[n]` Unix seconds.
      latest_s: The latest.
      num_movies: Number of movies.
    """
    days_ago = (latest_s - timestamp) / _DAY_S
    return {name: np.bincount(movie[days_ago < days], minlength=num_movies) for days, name in RECENT_POPULARITY.items()}
