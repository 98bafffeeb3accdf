"""A day's ratings more: the run goes on from the served model."""

import json
import signal

import polars as pl
import pytest

from schemas.manifest import EMBEDDING_INDEX
from serving import Recommender
from serving.store import ServingStore
from tests.e2e.kills import KILLS

pytestmark = pytest.mark.e2e

LATER_S = 2_000_000_000
WARM = ("--warm-start", "--continue-steps", "40", "--max-recall-decrease", "1", "--max-rmse-increase", "9")
"""Of so few ratings a model from the start may be worse by chance than one that goes on."""


def state(workspace):
    """The training state of the newest version."""
    version = ServingStore(str(workspace.serving)).latest()
    file = workspace.serving / EMBEDDING_INDEX / str(version) / "evaluated/assets.extra/training.json"
    return version, json.loads(file.read_text())


def append(workspace, rows, movies=""):
    """Append ratings, and movies."""
    with (workspace.data / "ratings.csv").open("a") as file:
        file.writelines(f"{user},{movie},{rating},{LATER_S + i}\n" for i, (user, movie, rating) in enumerate(rows))
    if movies:
        with (workspace.data / "movies.csv").open("a") as file:
            file.write(movies)


def test_new_ratings_go_on_from_the_served_model(workspace):
    first, before = state(workspace)
    assert (before["continued"], before["due"]) == (0, "")
    rated = pl.read_csv(workspace.data / "ratings.csv").filter(pl.col("userId") == 1)["movieId"].to_list()
    unseen = [movie for movie in range(1, 301) if movie not in rated][:8]
    new = [(1, movie, 4.5) for movie in unseen] + [(777, movie, 5) for movie in (9999, *range(1, 13))]
    append(workspace, new, "9999,Brand New (2020),Drama\n")
    done = workspace.run(*WARM, "--user", "777")
    assert done.returncode == 0, done.stdout
    states = workspace.states(done.stdout)
    assert states["WarmStart"] == states["Trainer"] == states["Pusher"] == "done"
    assert f"goes on from version {first}" in done.stdout
    assert "train 40 steps, refit " in done.stdout
    version, after = state(workspace)
    assert version > first
    assert (after["continued"], after["trained_s"], after["new_movies"]) == (1, before["trained_s"], 1)
    assert after["vocabulary"] == [*before["vocabulary"], 9999]
    assert len(Recommender.load(str(workspace.serving)).recommend(user_id=777, n=10)) == 10

    again = workspace.run(*WARM)
    assert again.returncode == 0, again.stdout
    assert f"goes on from version {version}" in again.stdout, "what is served has changed, and the data has not"

    anew = workspace.run(*WARM, "--max-age-days", "0")
    assert anew.returncode == 0, anew.stdout
    assert "from the start: the last training from the start is 0 days old" in anew.stdout
    assert state(workspace)[1]["continued"] == 0


@pytest.mark.parametrize("where", ["Trainer", "Pusher, between index and model"])
def test_a_killed_run_leaves_what_is_served_and_the_next_goes_on_from_it(workspace, where):
    first, _ = state(workspace)
    before = Recommender.load(str(workspace.serving)).recommend(user_id=1)
    append(workspace, [(777, movie, 5) for movie in range(1, 13)])
    killed = workspace.start(*WARM, fault=f"import os, signal\n{KILLS[where]}")
    out, _ = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, out
    assert f"goes on from version {first}" in out
    assert ServingStore(str(workspace.serving)).versions() == [first]
    assert Recommender.load(str(workspace.serving)).recommend(user_id=1) == before
    done = workspace.run(*WARM)
    assert done.returncode == 0, done.stdout
    assert f"goes on from version {first}" in done.stdout
    assert state(workspace)[1]["continued"] == 1


def test_what_is_due_is_said_and_done_next_time(workspace):
    movies = range(9001, 9031)
    append(workspace, [(777, movie, 4) for movie in movies], "".join(f"{m},New (2020),Drama\n" for m in movies))
    done = workspace.run(*WARM, "--max-new-movie-share", "0.001")
    assert done.returncode == 0, done.stdout
    assert "a training from the start is due: 0.5%" in done.stdout
    again = workspace.run(*WARM)
    assert again.returncode == 0, again.stdout
    assert "of the train ratings are of movies that came after the last one" in again.stdout
    assert "from the start: " in again.stdout
    assert state(workspace)[1]["due"] == ""


def test_spans_of_a_day_each(workspace, tmp_path):
    spans = tmp_path / "spans"
    (spans / "1").mkdir(parents=True)
    for name in ("ratings.csv", "movies.csv"):
        (workspace.data / name).rename(spans / "1" / name)
    (spans / "2").mkdir()
    (spans / "2/ratings.csv").write_text(f"userId,movieId,rating,timestamp\n5,1,4.5,{LATER_S}\n888,2,3,{LATER_S}\n")
    done = workspace.run("--data", f"{spans}/{{SPAN}}", *WARM)
    assert done.returncode == 0, done.stdout
    assert "6,00" in done.stdout
    assert "goes on from version" in done.stdout
    assert workspace.run("--data", f"{spans}/{{SPAN}}", *WARM, "--span-window", "1").returncode == 2
