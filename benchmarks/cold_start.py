"""Cold start of movies: those that nobody has rated.

    python -m benchmarks.cold_start --data DIR [--work DIR]

The ratings of a random tenth of the movies are left out of everything; a run of the pipeline places them by genres and
year alone. For new users there is benchmarks/protocols.py.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks import heldout
from benchmarks.quality import run_pipeline
from components.evaluation_gate.statistics import rating_error
from schemas import features as f
from schemas.data_spec import movielens
from serving import Recommender

_COLD_SHARE = 0.1


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
    liked = stars >= movielens().scale.liked
    scores = vectors.embeddings[user[liked]] @ recommender.embeddings[places[cold]].T
    own = (vectors.embeddings[user[liked]] * recommender.embeddings[movie[liked]]).sum(axis=1)
    mean = held.stars[held.train].mean()
    above = (scores < own[:, None]).sum(axis=1) / (len(cold) - 1)
    return {
        "movies": len(cold),
        "held-out ratings": len(stars),
        "RMSE": rating_error(predicted, stars, movielens().scale).rmse,
        "RMSE of the global mean": rating_error(np.full(len(stars), mean), stars, movielens().scale).rmse,
        "ranked above": float(above.mean()),
    }


def main(
    data: Annotated[pathlib.Path, typer.Option(help="MovieLens directory.")],
    work: Annotated[pathlib.Path | None, typer.Option(help="Keep the runs here and go on from them.")] = None,
) -> None:
    """Print the measures."""
    console = Console(width=200)
    with tempfile.TemporaryDirectory(prefix="matinee-") as temporary:
        root = work or pathlib.Path(temporary)
        held = heldout.split(data)
        rest, cold = without_movies(held)
        rest.write_train(data / "movies.csv", root / "train-cold")
        found = cold_movies(rest, cold, run_pipeline(root / "train-cold", root / "cold", 0))
        console.print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    typer.run(main)
