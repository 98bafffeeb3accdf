"""What the model says to people who are new to it: probes of taste, and users of whom only a few ratings are told."""

from __future__ import annotations

import dataclasses

import numpy as np

from components.evaluation_gate import statistics
from components.evaluation_gate.evaluate import Model
from components.evaluation_gate.held_out import HeldOut
from components.ranking_metrics import Ranking, RankingTask, rank
from schemas import features as f
from schemas.user_features import user_tower_inputs
from schemas.vectors import Vectors, column_array

TOLD = (1, 3, 5, 10, 20)
_MOST_USERS = 1_000
_PROBED = 12
_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class NewUsers:
    """Lists for users of whom so many ratings are told."""

    told: int
    users: int
    ndcg: tuple[float, float, float]
    """NDCG@10 and its 95 % interval."""


@dataclasses.dataclass(frozen=True)
class Taste:
    """The list of somebody who loves a few well-known movies of a category and is known for nothing else."""

    category: str
    share: float
    """Of the top ten, those of the category."""
    usual: float
    """The same of the most rated movies, as many as there are in a list."""


def new_users(held: HeldOut, model: Model, seed: int = 0) -> list[NewUsers]:
    """Rank for users who are ranked for anyway, by their first ratings alone; the model has learned from the others."""
    offsets, movies = held.task.seen
    chosen = np.sort(np.random.default_rng(seed).permutation(len(held.task.users))[:_MOST_USERS])
    found = []
    for told in TOLD:
        users = chosen[offsets[chosen + 1] - offsets[chosen] >= told]
        if len(users) < 2:
            continue
        places = (offsets[users][:, None] + np.arange(told)).ravel()
        bounds = told * np.arange(len(users) + 1)
        liked = [held.task.relevant[1][held.task.relevant[0][u] : held.task.relevant[0][u + 1]] for u in users]
        relevant = np.cumsum([0, *map(len, liked)]), np.concatenate(liked)
        task = RankingTask(held.task.users[users], (bounds, movies[places]), relevant, held.task.num_movies)
        vectors = _told(held, model, bounds, movies[places], held.seen_ratings[places])
        ndcg = _ranked(task, model, vectors).ndcg
        low, high = statistics.interval(np.mean, ndcg)
        found.append(NewUsers(told, len(users), (float(ndcg.mean()), float(low), float(high))))
    return found


def tastes(held: HeldOut, model: Model) -> list[Taste]:
    """Ask for somebody who has given the best rating to the most rated movies of one category."""
    genres = column_array(held.catalog[f.MOVIE_GENRES]) > 0
    famous = np.argsort(-held.movie_counts, kind="stable")
    names, scale = held.constants.domain.categories, held.constants.domain.scale
    common = [place for place in np.argsort(-genres.sum(axis=0), kind="stable") if place][:_PROBED]
    found = []
    for place in common:
        loved = famous[genres[famous, place]][:_EXAMPLES]
        if len(loved) < _EXAMPLES:
            continue
        bounds, ratings = np.array([0, len(loved)]), np.full(len(loved), scale.max, np.float32)
        task = RankingTask(np.array([0]), (bounds, loved), (np.array([0, 1]), loved[:1]), held.task.num_movies)
        vectors = _told(held, model, bounds, loved, ratings)
        top = _ranked(task, model, vectors).top[0]
        shown = top[top >= 0]
        usual = famous[~np.isin(famous, loved)][: len(shown)]
        found.append(Taste(names[place], float(genres[shown, place].mean()), float(genres[usual, place].mean())))
    return found


def _ranked(task: RankingTask, model: Model, users: Vectors) -> Ranking:
    return rank(task, lambda rows: users.embeddings[rows] @ model.movies.embeddings.T)


def _told(held: HeldOut, model: Model, bounds: np.ndarray, movies: np.ndarray, ratings: np.ndarray) -> Vectors:
    """Embed users of whom these ratings are told, each user's by time; `ratings` on the data set's scale."""
    ids = held.catalog[f.MOVIE_ID].to_numpy()[movies]
    genres = column_array(held.catalog[f.MOVIE_GENRES])[movies]
    stars = model.constants.domain.scale.to_stars(ratings)
    asked_s = np.full(len(bounds) - 1, model.constants.latest_s)
    return model.embed_users(user_tower_inputs(bounds, ids, genres, stars, asked_s, model.constants))
