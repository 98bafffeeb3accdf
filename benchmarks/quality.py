"""Quality beside peers: rating error and top-10 ranking on the same held-out ratings.

    python -m benchmarks.quality --data DIR [--seeds 3] [--work DIR]

Each user's last tenth of ratings by time is held out. Matinee runs its whole pipeline on the rest with the default
configuration, once a seed, and is asked through `serving.Recommender`; every peer is fitted on the same rest, with the
setting that is best by NDCG@10 on an inner split of it. Intervals: 95 %, bootstrap over users. Without --data, the
synthetic sample at the given number of ratings.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
from typing import Annotated

import numpy as np
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import heldout, peers
from components.ranking_metrics import TOP_N
from pipeline.artifacts import SERVING_FOLDER
from pipeline.data_sample import SampleConfig, write_sample
from schemas import features as f
from serving import Recommender
from serving.answers import Profile

_LOG = Console(stderr=True)


def run_pipeline(data: pathlib.Path, output: pathlib.Path, seed: int) -> Recommender:
    """Run the pipeline with its default configuration, what is done already from the cache, and load what it pushed."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run"]
    command += ["--data", str(data), "--output", str(output), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Recommender.load(str(output / SERVING_FOLDER))


def score_profiles(held: heldout.HeldOut, recommender: Recommender) -> heldout.Scored:
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


def score_recommender(held: heldout.HeldOut, recommender: Recommender) -> heldout.Scored:
    """Score what the recommender answers for known users."""
    rows = np.flatnonzero(~held.train)
    predicted = np.empty(len(rows))
    for user in np.unique(held.user[rows]):
        at = held.user[rows] == user
        movies = held.movie_ids[held.movie[rows[at]]].tolist()
        predicted[at] = recommender.predict_ratings(user_id=int(held.user_ids[user]), movie_ids=movies)

    def scores_of(users: np.ndarray) -> np.ndarray:
        scores = np.full((len(users), len(held.movie_ids)), -np.inf, np.float32)
        answers = recommender.recommend_many(held.user_ids[users].tolist(), n=TOP_N)
        for row, answer in zip(scores, answers, strict=True):
            row[np.searchsorted(held.movie_ids, [r.movie_id for r in answer])] = np.arange(len(answer), 0, -1)
        return scores

    return heldout.score(held, predicted, scores_of)


def score_peers(held: heldout.HeldOut) -> dict[str, tuple[str, heldout.Scored]]:
    """Score every peer with the setting that is best on an inner split: name -> setting, score."""
    inner = held.inner()
    results = {name: ("", heldout.score(held, stars)) for name, stars in peers.raters(held, held).items()}
    for name, (setting, model) in peers.best_rankers(held, inner, inner, _LOG.print).items():
        results[name] = setting, heldout.score(held, None, model(held))
    return results


def main(
    data: Annotated[
        pathlib.Path | None, typer.Option(help="MovieLens directory; the synthetic sample without.")
    ] = None,
    ratings: Annotated[int, typer.Option(help="Ratings of the sample.")] = 100_000,
    seeds: Annotated[int, typer.Option(help="How many seeds Matinee is trained with.")] = 3,
    work: Annotated[pathlib.Path | None, typer.Option(help="Keep the runs here and go on from them.")] = None,
) -> None:
    """Print the table of peers as Markdown."""
    with tempfile.TemporaryDirectory(prefix="matinee-") as temporary:
        root = work or pathlib.Path(temporary)
        if data is None:
            data = root / "sample"
            write_sample(
                str(data), SampleConfig(users=ratings // 100, movies=max(2_000, ratings // 100), ratings=ratings)
            )
        held = heldout.split(data)
        train = root / "train"
        held.write_train(data / "movies.csv", train)
        scored = []
        for seed in range(seeds):
            scored.append(score_recommender(held, run_pipeline(train, root / f"seed{seed}", seed)))
            _LOG.print(f"seed {seed}: {' | '.join(scored[-1].cells())}")
        results = {
            f"**Matinee**, mean of {seeds} seeds": ("default", heldout.mean_of(scored)),
            **score_peers(held),
        }
    table = Table(box=rich.box.MARKDOWN)
    for column in ("", "setting", "RMSE", "recall@10", "NDCG@10", "coverage"):
        table.add_column(column, no_wrap=True)
    for name, (setting, result) in results.items():
        table.add_row(name, setting, *result.cells())
    console = Console(width=200)
    console.print(table)
    task = held.task
    console.print(
        f"{len(held.stars):,} ratings, {(~held.train).sum():,} held out; {len(task.users):,} of "
        f"{len(held.user_ids):,} users are ranked for among {len(held.movie_ids):,} movies"
    )


if __name__ == "__main__":
    typer.run(main)
