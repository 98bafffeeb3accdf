"""Cold start: users of whom little is known, and movies that nobody has rated.

    python -m benchmarks.cold_start --data DIR [--work DIR]

Users: everyone with held-out ratings is asked for as a new user, with their latest 0, 1, 3, 5 or 20 train ratings and
all of them; the model has seen all of their ratings while training, but has no memory of a user. Beside it the
popularity list, and for the stars the movies' smoothed averages. Movies: the ratings of a random tenth of the movies
are left out of everything; a second run of the pipeline places them by genres and year alone.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Annotated

import numpy as np
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import heldout
from benchmarks.quality import run_pipeline
from components.evaluation_gate.statistics import rating_error
from schemas import features as f
from serving import Recommender
from serving.answers import Profile

_KNOWN = (0, 1, 3, 5, 20, None)
"""Numbers of known ratings; None for all."""
_COLD_SHARE = 0.1


def with_latest(held: heldout.HeldOut, count: int | None) -> heldout.HeldOut:
    """Leave every user their latest `count` train ratings."""
    if count is None:
        return held
    number = np.bincount(held.user[held.train], minlength=len(held.user_ids))
    starts = np.searchsorted(held.user, np.arange(len(held.user_ids)))
    rank = np.arange(len(held.user)) - starts[held.user]
    return held.select(~held.train | (rank >= number[held.user] - count))


def score_new_users(held: heldout.HeldOut, recommender: Recommender) -> heldout.Scored:
    """Score the recommender when it is given the train ratings of the split and no user id, at their time."""
    places = recommender.rows(held.movie_ids)
    users = np.arange(len(held.user_ids))
    starts, stops = (np.searchsorted(held.user[held.train], users, side) for side in ("left", "right"))
    movie, stars = places[held.movie[held.train]], held.stars[held.train].astype(np.float32)
    # Of the first held-out rating; a user without one is not scored.
    asked_s = held.timestamp[~held.train].take(np.searchsorted(held.user[~held.train], users), mode="clip")
    profiles = [Profile(movie[a:b], stars[a:b], at) for a, b, at in zip(starts, stops, asked_s, strict=True)]
    vectors = recommender._tower.embed(recommender.features(profiles))
    user, target = held.user[~held.train], places[held.movie[~held.train]]
    rated = vectors.rating_vectors[user] * recommender._rating_vectors[target]
    predicted = f.to_stars(rated.sum(axis=1))
    nothing = stops[user] == starts[user]  # The product answers the movies' averages then, and the popularity list.
    predicted[nothing] = recommender.movies[f.MOVIE_AVERAGE_RATING].to_numpy()[target[nothing]]
    popularity = recommender.movies[f.MOVIE_NUM_RATINGS].to_numpy()[places]

    def scores_of(rows: np.ndarray) -> np.ndarray:
        scores = vectors.embeddings[rows] @ recommender.embeddings[places].T
        return np.where((stops[rows] == starts[rows])[:, None], popularity, scores)

    return heldout.score(held, predicted, scores_of)


def score_popularity(held: heldout.HeldOut, recommender: Recommender) -> heldout.Scored:
    """Score the popularity list, and the movies' averages."""
    movies = recommender.movies[recommender.rows(held.movie_ids)]
    counts = movies[f.MOVIE_NUM_RATINGS].to_numpy()
    average = movies[f.MOVIE_AVERAGE_RATING].to_numpy()
    return heldout.score(held, average[held.movie[~held.train]], lambda users: np.tile(counts, (len(users), 1)))


def without_movies(held: heldout.HeldOut, seed: int = 0) -> tuple[heldout.HeldOut, np.ndarray]:
    """Leave a random tenth of the rated movies out of train; return the rest and which they are."""
    rated = np.unique(held.movie[~held.train])
    cold = np.random.default_rng(seed).choice(rated, int(len(rated) * _COLD_SHARE), replace=False)
    return held.select(~held.train | ~np.isin(held.movie, cold)), cold


def cold_movies(held: heldout.HeldOut, cold: np.ndarray, recommender: Recommender) -> dict[str, float]:
    """Measure stars and order of the cold movies alone.

    Returns:
      RMSE over their held-out ratings, that of the global mean, and the mean share of the other cold movies that a
      movie that was liked is ranked above (0.5 by chance).
    """
    rows = ~held.train & np.isin(held.movie, cold)
    places = recommender.rows(held.movie_ids)
    profiles = [recommender.profile(user_id=int(user)) for user in held.user_ids]
    vectors = recommender._tower.embed(recommender.features(profiles))
    user, movie, stars = held.user[rows], places[held.movie[rows]], held.stars[rows]
    predicted = f.to_stars((vectors.rating_vectors[user] * recommender._rating_vectors[movie]).sum(axis=1))
    liked = stars >= f.LIKED_RATING
    scores = vectors.embeddings[user[liked]] @ recommender.embeddings[places[cold]].T
    own = (vectors.embeddings[user[liked]] * recommender.embeddings[movie[liked]]).sum(axis=1)
    mean = held.stars[held.train].mean()
    above = (scores < own[:, None]).sum(axis=1) / (len(cold) - 1)
    return {
        "movies": len(cold),
        "held-out ratings": len(stars),
        "RMSE": rating_error(predicted, stars).rmse,
        "RMSE of the global mean": rating_error(np.full(len(stars), mean), stars).rmse,
        "ranked above": float(above.mean()),
    }


def main(
    data: Annotated[pathlib.Path, typer.Option(help="MovieLens directory.")],
    work: Annotated[pathlib.Path | None, typer.Option(help="Keep the runs here and go on from them.")] = None,
) -> None:
    """Print both tables as Markdown."""
    console = Console(width=200)
    with tempfile.TemporaryDirectory(prefix="matinee-") as temporary:
        root = work or pathlib.Path(temporary)
        held = heldout.split(data)
        held.write_train(data / "movies.csv", root / "train")
        recommender = run_pipeline(root / "train", root / "seed0", 0)
        table = Table(box=rich.box.MARKDOWN)
        for column in (
            "known ratings",
            "RMSE",
            "recall@10",
            "NDCG@10",
            "popularity: recall@10",
            "NDCG@10",
            "averages: RMSE",
        ):
            table.add_column(column, no_wrap=True)
        for count in _KNOWN:
            part = with_latest(held, count)
            own, popular = score_new_users(part, recommender).cells(), score_popularity(part, recommender).cells()
            table.add_row("all" if count is None else str(count), *own[:3], *popular[1:3], popular[0])
        console.print(table)
        rest, cold = without_movies(held)
        rest.write_train(data / "movies.csv", root / "train-cold")
        found = cold_movies(rest, cold, run_pipeline(root / "train-cold", root / "cold", 0))
        console.print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    typer.run(main)
