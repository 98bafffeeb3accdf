"""Quality by several protocols, so that none of them decides alone.

    python -m benchmarks.protocols --data DIR [--only WORDS] [--work DIR] [--seed 0]

Matinee runs its whole pipeline once for each set of ratings that a protocol shows, with its default configuration, and
is asked for every user by what is known of them, without an id. Each peer is fitted on the same ratings, with the
setting that has the highest NDCG@10 by the same protocol inside them. In parentheses the 95 % bootstrap interval over
users; the last column is that of the paired difference in NDCG@10, user by user, of Matinee and the peer.

Ratings of a user are in the order of time, ties in that of the movie ids: a quarter of MovieLens' are given in the same
second as another one of the user's.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Annotated

import numpy as np
import rich.box
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import heldout, peers
from benchmarks.heldout import HeldOut, Scored
from benchmarks.quality import run_pipeline, score_profiles
from components.evaluation_gate import statistics
from schemas.data_spec import movielens

_LOG = Console(stderr=True)
_FEW = (1, 3, 5, 10, 20)
"""Numbers of known ratings."""
_LATE_SHARE = 0.1
"""Share of all ratings behind the global point in time."""
_NEW_USERS = 5
"""Every fifth user is new."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What models may see, and whom they are asked for."""

    fitted: HeldOut
    """Its train ratings are what models are fitted on."""
    asked: dict[str, HeldOut]
    """Kind of question -> users with what is known of them (train) and what is to be found (the rest)."""
    run: str
    """Name of the pipeline's run; protocols that show the same ratings share it."""


def last_tenth(ratings: HeldOut) -> Protocol:
    """Each user's last tenth is to be found."""
    held = ratings.inner()
    return Protocol(held, {"": held}, "last-tenth")


def leave_one_out(ratings: HeldOut) -> Protocol:
    """Each user's last like is to be found; what came after it is gone."""
    order = np.arange(len(ratings.user))
    last = np.full(len(ratings.user_ids), -1)
    liked = np.flatnonzero(ratings.stars >= movielens().scale.liked)
    last[ratings.user[liked]] = liked  # The last one stays.
    kept = order <= last[ratings.user]
    held = dataclasses.replace(ratings, train=order < last[ratings.user]).select(kept)
    return Protocol(held, {"": held}, "leave-one-out")


def after_a_date(ratings: HeldOut) -> Protocol:
    """What was rated after a point in time is to be found, of users who had rated before."""
    date = np.quantile(ratings.timestamp, 1 - _LATE_SHARE)
    held = dataclasses.replace(ratings, train=ratings.timestamp < date)
    known = np.bincount(held.user[held.train], minlength=len(held.user_ids)) > 0
    held = held.select(known[held.user])
    return Protocol(held, {"": held}, "after-a-date")


def unseen_users(ratings: HeldOut) -> Protocol:
    """Every fifth user is in no training; their first ratings are known, all later ones are to be found."""
    _, place = np.unique(ratings.user, return_inverse=True)
    new = (place + 1) % _NEW_USERS == 0
    theirs = ratings.select(new)
    place = heldout.places(theirs.user)
    return Protocol(
        ratings.select(~new),
        {f"first {count}": dataclasses.replace(theirs, train=place < count) for count in _FEW},
        "unseen-users",
    )


def few_latest(ratings: HeldOut) -> Protocol:
    """As the last tenth, but of each user the latest few ratings alone are known."""
    held = ratings.inner()
    number = np.bincount(held.user[held.train], minlength=len(held.user_ids))
    left = number[held.user] - heldout.places(held.user)
    return Protocol(held, {f"latest {n}": held.select(~held.train | (left <= n)) for n in _FEW}, "last-tenth")


PROTOCOLS: dict[str, Callable[[HeldOut], Protocol]] = {
    "last tenth": last_tenth,
    "leave one out": leave_one_out,
    "after a date": after_a_date,
    "unseen users": unseen_users,
    "few ratings": few_latest,
}


def run(name: str, ratings: HeldOut, data: pathlib.Path, work: pathlib.Path, seed: int) -> Table:
    """Run a protocol and lay out what every model reaches.

    Args:
      name: Of the protocol.
      ratings: All ratings, each of them in train.
      data: MovieLens directory, for its movies.
      work: Where the pipeline's runs go, and stay.
      seed: Of the pipeline.
    """
    protocol = PROTOCOLS[name](ratings)
    folder = work / protocol.run
    protocol.fitted.write_train(data / "movies.csv", folder / "train")
    recommender = run_pipeline(folder / "train", folder / f"seed{seed}", seed)
    inner = PROTOCOLS[name](protocol.fitted.select(protocol.fitted.train))
    table = Table(title=name, title_justify="left", box=rich.box.MARKDOWN)
    for column in ("known", "model", "setting", "RMSE", "recall@10", "NDCG@10", "Matinee's lead"):
        table.add_column(column, no_wrap=True)
    # The middle question decides on a peer's setting.
    middle = list(inner.asked.values())[len(inner.asked) // 2]
    fitted = peers.best_rankers(protocol.fitted, inner.fitted, middle, _LOG.print)
    for question, asked in protocol.asked.items():
        own = score_profiles(asked, recommender)
        _add(table, question, "**Matinee**", f"seed {seed}", own, "")
        for title, stars in peers.raters(protocol.fitted, asked).items():
            _add(table, question, title, "", heldout.score(asked, stars), "")
        for title, (setting, model) in fitted.items():
            scored = heldout.score(asked, None, model(asked))
            _add(table, question, title, setting, scored, _lead(own, scored))
    return table


def _add(table: Table, question: str, title: str, setting: str, scored: Scored, lead: str) -> None:
    table.add_row(question, title, setting, *scored.cells()[:3], lead)


def _lead(own: Scored, other: Scored) -> str:
    if own.ndcg is None or other.ndcg is None:
        return ""
    difference = own.ndcg - other.ndcg
    low, high = statistics.interval(np.mean, difference)
    return f"{difference.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def main(
    data: Annotated[pathlib.Path, typer.Option(help="MovieLens directory.")],
    only: Annotated[str, typer.Option(help="Protocols whose name contains this.")] = "",
    work: Annotated[pathlib.Path | None, typer.Option(help="Keep the runs here and go on from them.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the pipeline.")] = 0,
) -> None:
    """Print a table a protocol as Markdown."""
    ratings = heldout.read(data)
    with tempfile.TemporaryDirectory(prefix="matinee-") as temporary:
        for name in PROTOCOLS:
            if only in name:
                Console(width=250).print(run(name, ratings, data, work or pathlib.Path(temporary), seed))


if __name__ == "__main__":
    typer.run(main)
