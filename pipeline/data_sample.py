"""A synthetic data set in MovieLens format with real structure in it.

Users have tastes over genres and latent factors, a bias and an activity; movies have genres, a year, a quality and a
popularity; ratings follow both, in half stars, in sessions over years. It is written user block by user block, so
that its size is bounded by the disk and not by memory.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas import features as f
from schemas.configuration import FROZEN
from schemas.data_spec import movielens

_FACTORS = 8
_CATEGORIES = movielens().num_categories
_BLOCK_RATINGS = 400_000
_CANDIDATES = 6
_FIRST_S, _LAST_S = 820_454_400, 1_697_068_800
"""1996-01-01 and 2023-10-12, the years of MovieLens."""
_SESSION = 25
"""Ratings in a session, about."""
_MIN_RATINGS = 20
"""MovieLens takes users with 20 ratings or more."""
_GENRE_WEIGHTS = (0.5, 11, 8, 4, 5, 24, 9, 6, 30, 5, 1, 8, 1.5, 3, 4, 12, 7, 15, 3, 1.5)
_FIRST_WORDS = (
    "Silent Crimson Last Hidden Golden Broken Midnight Electric Distant Second Winter Paper Burning Secret Blue Wild "
    "Lonely Forgotten Perfect Strange Été Señor Über Zoë's"
).split()
_SECOND_WORDS = (
    "River Empire Letter Garden Orchestra Horizon Detective Summer Machine Dancer Harbor Kingdom Shadow Journey "
    "Promise Station Island Mirror Thief Symphony Café Niño Ångström Brontë"
).split()


@dataclass(frozen=True, config=FROZEN)
class SampleConfig:
    """The size of a sample."""

    users: Annotated[int, Field(ge=1)] = 1_000
    """Users, of at least 20 ratings each."""
    movies: Annotated[int, Field(ge=100)] = 2_000
    """Movies in the catalogue."""
    ratings: Annotated[int, Field(ge=1)] = 100_000
    """Ratings, about: a user cannot rate more than half of the catalogue."""
    seed: int = 0
    """Seed; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        if self.ratings < _MIN_RATINGS * self.users:
            raise ValueError(f"{self.users} users need {_MIN_RATINGS * self.users} ratings or more, got {self.ratings}")


@dataclasses.dataclass(frozen=True)
class _Movies:
    genres: np.ndarray
    factors: np.ndarray
    quality: np.ndarray
    year: np.ndarray
    proposal: np.ndarray
    """Cumulative probability of being proposed to a user: popularity, mixed with a uniform draw."""
    correction: np.ndarray
    """Log of popularity over proposal."""


def write_sample(directory: str, config: SampleConfig, on_rows: Callable[[int], None] = lambda rows: None) -> int:
    """Write `ratings.csv` and `movies.csv`.

    Args:
      directory: Where to write; created if missing.
      config: Size and seed.
      on_rows: Called with the number of ratings of each block once it is written.

    Returns:
      The number of ratings.
    """
    rng = np.random.default_rng(config.seed)
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    movies, table = _make_movies(rng, config.movies)
    table.write_csv(path / "movies.csv")
    activity = _activity(rng, config)
    partial = path / "ratings.csv.partial"
    written = 0
    with open(partial, "wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        first = 0
        while first < len(activity):
            size = max(1, int(np.searchsorted(np.cumsum(activity[first:]), _BLOCK_RATINGS)))
            block = _rate(rng, movies, activity[first : first + size], first)
            block.write_csv(file, include_header=False, float_precision=1)
            written += block.height
            on_rows(block.height)
            first += size
    partial.replace(path / "ratings.csv")
    return written


def _activity(rng: np.random.Generator, config: SampleConfig) -> np.ndarray:
    """Draw the number of ratings of each user: 20 and a log-normal rest, as skewed as MovieLens'."""
    weights = rng.lognormal(0, 1.3, config.users)
    limit = config.movies // 2
    activity = np.full(config.users, _MIN_RATINGS)
    rest = config.ratings - activity.sum()
    while rest and (room := activity < limit).any():
        share = weights * room
        activity += rng.multinomial(rest, share / share.sum())
        rest = np.maximum(activity - limit, 0).sum()  # What is over a user's limit goes to the others.
        activity = np.minimum(activity, limit)
    return activity


def _make_movies(rng: np.random.Generator, count: int) -> tuple[_Movies, pl.DataFrame]:
    weights = np.array(_GENRE_WEIGHTS)
    # The top of a row of exponential races is a draw without replacement by weight.
    races = rng.exponential(size=(count, _CATEGORIES)) / weights
    races[:, 0] = np.inf
    number = rng.choice([1, 2, 3, 4], count, p=[0.4, 0.35, 0.19, 0.06])
    genres = (np.argsort(np.argsort(races, axis=1), axis=1) < number[:, None]).astype(np.float32)
    bare = rng.random(count) < 0.003
    genres[bare] = np.eye(_CATEGORIES, dtype=np.float32)[0]
    mixing = rng.normal(0, 1, (_CATEGORIES, _FACTORS))
    factors = genres @ mixing * 0.7 + rng.normal(0, 0.4, (count, _FACTORS))
    quality = rng.normal(0, 0.45, count)
    year = np.clip(2023 - rng.gamma(1.6, 14, count), 1915, 2023).astype(int)
    popularity = (1 + rng.permutation(count)) ** -0.75 * np.exp(0.9 * quality)
    popularity /= popularity.sum()
    # The uniform part leaves enough to choose from to users who have nearly exhausted the popular movies.
    proposal = 0.6 * popularity + 0.4 / count
    movies = _Movies(genres, factors, quality, year, np.cumsum(proposal), np.log(popularity / proposal))
    return movies, _movie_table(rng, genres, year)


def _movie_table(rng: np.random.Generator, genres: np.ndarray, year: np.ndarray) -> pl.DataFrame:
    first = rng.choice(_FIRST_WORDS, len(year))
    second = rng.choice(_SECOND_WORDS, len(year))
    form = rng.random(len(year))
    titles = []
    for i, (a, b, kind) in enumerate(zip(first, second, form, strict=True), start=1):
        title = f"{a} {b} {i}" if kind < 0.6 else f"{a} {b}, The {i}" if kind < 0.9 else f'"{a}" {b} {i}'
        titles.append(title if kind > 0.997 else f"{title} ({year[i - 1]})")
    names = ["|".join(name for name, on in zip(movielens().categories, row, strict=True) if on) for row in genres]
    return pl.DataFrame({"movieId": np.arange(1, len(year) + 1), "title": titles, "genres": names})


def _rate(rng: np.random.Generator, movies: _Movies, activity: np.ndarray, first: int) -> pl.DataFrame:
    """Let a block of users rate: candidates by popularity, of them those that suit the user best."""
    users = len(activity)
    taste = rng.normal(0, 1, (users, _FACTORS))
    bias = rng.normal(0, 0.4, users)
    generosity = rng.lognormal(0, 0.25, users)
    begin = rng.integers(_FIRST_S, _LAST_S, users)
    drawn = np.repeat(np.arange(users), activity * _CANDIDATES)
    candidate = np.searchsorted(movies.proposal, rng.random(len(drawn))).clip(max=len(movies.year) - 1)
    pairs = np.unique(drawn * np.int64(len(movies.year)) + candidate)
    user, movie = np.divmod(pairs, len(movies.year))
    affinity = np.einsum("ij,ij->i", taste[user], movies.factors[movie]) / np.sqrt(_FACTORS)
    wish = 2.0 * affinity + 0.5 * movies.quality[movie] + movies.correction[movie] + rng.gumbel(size=len(pairs))
    order = np.lexsort((-wish, user))
    user, movie, affinity = user[order], movie[order], affinity[order]
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    keep = rank < activity[user]
    user, movie, affinity = user[keep], movie[keep], affinity[keep]
    noise = rng.normal(0, 0.65, len(user))
    stars = 3.1 + bias[user] + movies.quality[movie] + 0.45 * generosity[user] * affinity + noise
    stars = np.clip(np.round(stars * 2) / 2, f.RATING_MIN, f.RATING_MAX)
    frame = pl.DataFrame({"userId": user + first + 1, "movieId": movie + 1, "rating": stars})
    frame = frame.with_columns(timestamp=_timestamps(rng, user, begin))
    return frame.sort("userId", "movieId")


def _timestamps(rng: np.random.Generator, user: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Spread each user's ratings over sessions: seconds inside one, days to months between them."""
    rows = len(user)
    new_session = rng.random(rows) < 1 / _SESSION
    gap = np.where(new_session, rng.exponential(45 * 86_400, rows), 4 + rng.exponential(20, rows))
    total = np.cumsum(gap)
    starts = np.searchsorted(user, np.arange(len(begin)))
    since = total - total[np.minimum(starts, rows - 1)][user]
    ends = np.append(starts[1:], rows) - 1
    # Who rated more than the years have room for came back sooner.
    since *= np.minimum(1, (_LAST_S - _FIRST_S) / np.maximum(since[ends], 1))[user]
    begin = np.minimum(begin, _LAST_S - since[ends])
    stamps = np.empty(rows, np.int64)
    stamps[np.lexsort((rng.random(rows), user))] = (begin[user] + since).astype(np.int64)
    return stamps
