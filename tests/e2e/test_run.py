"""The whole pipeline: what it makes, what it skips, and what a crash leaves."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import filelock
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from components.pusher.warmup import to_examples
from components.trainer.input import parse_spec
from schemas import features as f
from schemas import signatures as s
from schemas.data_spec import movielens
from schemas.ingest import IS_TRAIN
from schemas.manifest import EMBEDDING_INDEX
from serving import Recommender
from serving.store import ServingStore
from tests import forked
from tests.e2e.kills import KILLS

pytestmark = pytest.mark.e2e

COMPONENTS = [
    "PolarsExampleGen",
    "CuratedSchemaGen",
    "StatisticsGen",
    "StrictExampleValidator",
    "Transform",
    "Trainer",
    "EvaluationGate",
    "Pusher",
]


def snapshot(workspace):
    """Every file of the versions under the serving root with its time and size."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in workspace.serving.glob("*/*/**/*")
        if path.is_file()
    }


def table_rows(text):
    """Lines of a table that begin a row: a movie id, not the rest of a title that was wrapped."""
    return re.findall(r"^ *\d+  \S.*", text, re.MULTILINE)


def versions(workspace):
    return ServingStore(str(workspace.serving)).versions()


def test_a_run_ends_with_the_summary_and_ten_recommendations(finished):
    workspace, out = finished
    assert workspace.states(out) == dict.fromkeys(COMPONENTS, "done")
    assert "6,000 ratings" in out
    assert "bad rows dropped: none" in out
    for name in ("this model", "global mean", "biases", "popularity"):
        assert name in out
    assert out.count("blessed: RMSE") == 1
    assert "Total   " in out
    assert "Next    matinee serve --serving-dir " in out
    (version,) = versions(workspace)
    assert f"pushed as version {version}" in out
    table = out[out.index("Recommendations for user 1") :]
    assert len(table_rows(table)) == 10
    (log,) = (workspace.output / "logs").iterdir()
    assert "PolarsExampleGen" in log.read_text(), "the full log is in a file"
    assert "WARNING" not in out


def test_nothing_changed_hits_the_cache_everywhere(workspace):
    before = snapshot(workspace)
    os.utime(workspace.data / "ratings.csv", (1e9, 1e9))
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    assert workspace.states(done.stdout) == dict.fromkeys(COMPONENTS, "cached")
    assert snapshot(workspace) == before


@pytest.mark.parametrize(
    ("options", "message", "ran"),
    [
        (("--user", "99999"), "error --user 99999 is not in the data: 120 users, 1 to 120", 0),
        (
            ("--batch-size", "9999"),
            "error a batch has 9,999 rows and the data 6,000 ratings; choose a smaller --batch-size",
            0,
        ),
        (
            ("--index-factory", "IVF4096,Flat"),
            "error --index-factory 'IVF4096,Flat' makes no index for 300 movies: ",
            0,
        ),
        (("--index-factory", "Foo"), "error --index-factory 'Foo' makes no index: could not parse", 0),
    ],
)
def test_what_cannot_work_is_told_before_transform(workspace, options, message, ran):
    before = snapshot(workspace)
    done = workspace.run(*options)
    assert done.returncode == 2, done.stdout
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert len(workspace.states(done.stdout)) == ran
    assert snapshot(workspace) == before


def test_nothing_held_out_is_told_before_transform(workspace, sample):
    ratings = pl.read_csv(sample / "ratings.csv").group_by("userId", maintain_order=True).head(1)
    ratings.write_csv(workspace.data / "ratings.csv")
    done = workspace.run()
    assert done.returncode == 2, done.stdout
    assert "error none of the 120 users has more than 1 rating; to hold one out" in done.stdout
    assert workspace.states(done.stdout) == {}
    late = workspace.run("--eval-after-s", "2000000000", "--batch-size", "64")
    assert late.returncode == 2, late.stdout
    assert "error no rating is held out for the evaluation. Every rating is older than --eval-after-s" in late.stdout
    assert "Transform" not in workspace.states(late.stdout)


def test_a_catalogue_of_fewer_movies_than_are_listed(workspace, sample):
    """Nine movies: a run trains, pushes, ends with 0, and lists what is left."""
    few = list(range(1, 10))
    movies = pl.read_csv(sample / "movies.csv").filter(pl.col("movieId").is_in(few))
    movies.write_csv(workspace.data / "movies.csv")
    rows = [
        (user, movie, (user + movie) % 10 / 2 + 0.5, user * 1000 + movie) for user in range(1, 121) for movie in few
    ]
    ratings = pl.DataFrame(rows, schema=["userId", "movieId", "rating", "timestamp"], orient="row")
    ratings.filter((pl.col("userId") + pl.col("movieId")) % 9 > 0).write_csv(workspace.data / "ratings.csv")
    shutil.rmtree(workspace.serving)
    done = workspace.run("--eval-fraction", "0.3", "--max-rmse", "9", "--epochs", "1", "--refit-epochs", "0")
    assert done.returncode == 0, done.stdout
    assert "pushed as version" in done.stdout
    table = done.stdout[done.stdout.index("Recommendations for user 1") :]
    assert len(table_rows(table)) == 1, "each user has rated eight of the nine"


def test_an_appended_rating_runs_again_and_is_compared_with_the_served_model(workspace):
    (first,) = versions(workspace)
    with open(workspace.data / "ratings.csv", "a") as file:
        file.write("1,299,4.5,1690000000\n")
    done = workspace.run("--max-rmse-increase", "1", "--max-recall-decrease", "1")
    assert done.returncode == 0, done.stdout
    assert set(workspace.states(done.stdout).values()) == {"done"}
    assert "6,001 ratings" in done.stdout
    assert f"served {first}" in done.stdout
    assert len(versions(workspace)) == 2
    assert 299 in Recommender.load(str(workspace.serving)).history(1)[f.MOVIE_ID].to_list()


def test_an_identical_model_is_not_pushed_twice(workspace):
    before = snapshot(workspace)
    done = workspace.run("--no-cache", "--max-rmse-increase", "0")
    assert done.returncode == 0, done.stdout
    assert set(workspace.states(done.stdout).values()) == {"done"}
    assert "serves the same model and histories" in done.stdout
    assert snapshot(workspace) == before


def test_the_trainer_takes_what_the_tuner_found(workspace):
    done = workspace.run("--trials", "2", "--max-rmse-increase", "1", "--max-recall-decrease", "1")
    assert done.returncode == 0, done.stdout
    states = workspace.states(done.stdout)
    assert (states["Transform"], states["Tuner"], states["Trainer"]) == ("cached", "done", "done")
    found = re.search(r"learning_rate .*id_dropout [\d.e-]+: ([\d.]+) in eval, the given ones ([\d.]+)", done.stdout)
    assert float(found[1]) >= float(found[2])
    history = max(workspace.output.glob("artifacts/Trainer/model_run/*"), key=lambda path: int(path.name))
    trained = json.loads((history / "history.json").read_text())["val_ndcg@10"]
    assert max(trained) == pytest.approx(float(found[1]), abs=1e-4)


def test_lists_for_everybody_are_those_of_the_served_version(workspace):
    done = workspace.run("--list-movies", "5")
    assert done.returncode == 0, done.stdout
    states = workspace.states(done.stdout)
    assert states == dict.fromkeys(COMPONENTS, "cached") | {"BulkRecommender": "done"}
    recommender = Recommender.load(str(workspace.serving))
    assert f"{len(recommender.user_ids)} lists of version {recommender.model_version}" in done.stdout
    (parts,) = workspace.output.glob("artifacts/BulkRecommender/lists/*")
    rows = pl.read_parquet(f"{parts}/part-*.parquet")
    for user in recommender.user_ids[:10].tolist():
        expected = [movie.movie_id for movie in recommender.recommend(user, n=5)]
        assert rows.filter(pl.col("user_id") == user).sort("rank")["movie_id"].to_list() == expected


def test_a_deleted_serving_root_is_filled_again(workspace):
    shutil.rmtree(workspace.serving)
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    states = workspace.states(done.stdout)
    assert (states["Trainer"], states["EvaluationGate"], states["Pusher"]) == ("cached", "done", "done")
    assert len(versions(workspace)) == 1


DAMAGES = {
    "a file of the index is missing": lambda index, tower: (index / "embeddings.npy").unlink(),
    "half a manifest": lambda index, tower: os.truncate(index / "manifest.json", 300),
    "a truncated tower": lambda index, tower: os.truncate(tower / "saved_model.pb", 5_000),
    "truncated weights": lambda index, tower: os.truncate(tower / "variables" / "variables.data-00000-of-00001", 99),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_served_version_counts_as_not_served_and_is_published_again(workspace, damage):
    """The model is the same, so that the version that is there would do, were it whole."""
    (first,) = versions(workspace)
    before = Recommender.load(str(workspace.serving)).recommend(user_id=1)
    DAMAGES[damage](*(workspace.serving / kind / str(first) for kind in (EMBEDDING_INDEX, s.USER_TOWER)))
    # Another threshold, so that gate and Pusher do not come from the cache.
    done = workspace.run("--min-recall", "0.0001")
    assert done.returncode == 0, done.stdout
    states = workspace.states(done.stdout)
    assert (states["Trainer"], states["EvaluationGate"], states["Pusher"]) == ("cached", "done", "done")
    assert "nothing served yet" in done.stdout
    recommender = Recommender.load(str(workspace.serving))
    assert recommender.model_version > first
    assert recommender.recommend(user_id=1) == before


def test_a_refused_model_is_not_pushed(workspace):
    before = snapshot(workspace)
    done = workspace.run("--max-rmse", "0.1")
    assert done.returncode == 3, done.stdout
    assert "refused: RMSE" in done.stdout
    assert "not pushed: the model was not blessed" in done.stdout
    assert "The model was refused, see above; version " in done.stdout
    assert " stays served" in done.stdout
    assert snapshot(workspace) == before
    again = workspace.run("--max-rmse", "0.1")
    assert set(workspace.states(again.stdout).values()) == {"cached"}
    assert again.returncode == 3, "a refusal from the cache is one"


CHANGES = {
    "PolarsExampleGen": ("--shuffle-seed", "9"),
    "Trainer": ("--seed", "9"),
    "Pusher, between index and model": ("--index-factory", "HNSW32"),
}
"""What makes the component run again; those before it come from the cache."""


@pytest.mark.parametrize("where", KILLS)
def test_a_killed_run_leaves_what_is_served_and_the_next_succeeds(workspace, where):
    (first,) = versions(workspace)
    before = Recommender.load(str(workspace.serving)).recommend(user_id=1)
    options = (*CHANGES[where], "--max-rmse-increase", "1", "--max-recall-decrease", "1")
    killed = workspace.start(*options, fault=f"import os, signal\n{KILLS[where]}")
    out, _ = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, out
    assert workspace.states(out).keys() == set(COMPONENTS[: COMPONENTS.index(where.partition(",")[0])])
    assert versions(workspace) == [first]
    assert Recommender.load(str(workspace.serving)).recommend(user_id=1) == before
    done = workspace.run(*options)
    assert done.returncode == 0, done.stdout
    served = versions(workspace)
    assert len(served) == 2
    assert Recommender.load(str(workspace.serving)).model_version == served[-1]
    unfinished = unpublished_directories(workspace)
    assert unfinished == [], "the killed run's half-written artifacts are gone"


def unpublished_directories(workspace):
    """Artifact directories of executions that did not finish."""
    with sqlite3.connect(workspace.output / "metadata.sqlite") as db:
        complete = {row[0] for row in db.execute("select id from Execution where last_known_state = 3")}
    paths = (workspace.output / "artifacts").glob("*/*/*")
    return [str(path) for path in paths if path.name.isdigit() and int(path.name) not in complete]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_names_the_component_and_leaves_nothing(workspace, sent, tmp_path_factory):
    before, temporary = snapshot(workspace), tmp_path_factory.mktemp("temporary")
    process = workspace.start(
        "--seed",
        str(int(sent)),
        environment={**os.environ, "TMPDIR": str(temporary)},
        fault="import tempfile, time\ntempfile.tempdir = None\nfrom components.trainer import export\n"
        "export.export_model = lambda *a, **k: (print('REACHED', flush=True), time.sleep(60))",
    )
    deadline = time.time() + 240
    while time.time() < deadline and not any("REACHED" in p.read_text() for p in (workspace.output / "logs").iterdir()):
        time.sleep(0.5)
    assert list(temporary.iterdir()), "its temporary files go there"
    os.killpg(process.pid, sent)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "Stopped in Trainer. Nothing half-written was kept." in out
    assert list(temporary.iterdir()) == [], "and go with it"
    assert unpublished_directories(workspace) == []
    assert snapshot(workspace) == before


def test_bad_input_names_component_line_and_mend(workspace):
    before = snapshot(workspace)
    with open(workspace.data / "ratings.csv", "a") as file:
        file.write("1,298,9,1690000000\n")
    done = workspace.run()
    assert done.returncode == 2
    assert "error ratings.csv, line 6002: '1,298,9,1690000000' has a rating off" in done.stdout
    assert workspace.states(done.stdout) == {}
    assert "--on-bad-rows drop" in done.stdout
    assert "Traceback" not in done.stdout
    assert snapshot(workspace) == before
    dropped = workspace.run("--on-bad-rows", "drop", "--max-rmse-increase", "1", "--max-recall-decrease", "1")
    assert dropped.returncode == 0, dropped.stdout
    assert "bad rows dropped: 1 off_scale" in dropped.stdout


def test_what_only_the_pipeline_finds_names_component_line_and_mend(workspace):
    before = snapshot(workspace)
    lines = (workspace.data / "ratings.csv").read_text().splitlines()
    with open(workspace.data / "ratings.csv", "a") as file:
        file.write(f"{lines[1]}\n")
    done = workspace.run()
    assert done.returncode == 1
    assert f"PolarsExampleGen failed: ratings.csv, line 6002: '{lines[1]}' rates a movie that the same" in done.stdout
    assert "--on-bad-rows drop" in done.stdout
    assert "Traceback" not in done.stdout
    assert snapshot(workspace) == before


def test_an_anomaly_stops_the_run_before_training(workspace):
    """A bug in the features would show as values outside the schema."""
    fault = """
from schemas import features, user_features
original = user_features.leave_one_out_user_features
def wrong(*args):
    values = original(*args)
    return values | {features.USER_GENRE_RATING: values[features.USER_GENRE_RATING] + 9}
user_features.leave_one_out_user_features = wrong
"""
    process = workspace.start("--shuffle-seed", "7", fault=fault)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1, out
    failure = (
        "StrictExampleValidator failed: the examples break the schema. split train_sample, feature user_genre_rating"
    )
    assert failure in out
    assert "Trainer" not in workspace.states(out)


def test_two_runs_do_not_share_an_output(workspace):
    with filelock.FileLock(workspace.output / ".lock"):
        done = workspace.run()
    assert done.returncode == 2
    assert "another run is using" in done.stdout


def test_pushed_signatures_equal_the_trained_model(finished, session_run):
    """What was pushed answers through the session loader as the Model artifact does."""
    workspace, _ = finished
    (version,) = versions(workspace)
    recommender = Recommender.load(str(workspace.serving))
    users = recommender.user_ids[:64]
    features = {
        name: np.concatenate([recommender.user_tower_inputs(int(user))[name] for user in users])
        for name in f.USER_TOWER_INPUTS
    }
    (model_dir,) = (workspace.output / "artifacts" / "Trainer" / "model").glob("*/Format-Serving")
    expected = session_run(model_dir, s.EMBED_USER, features)[s.USER_EMBEDDING]
    tower = workspace.serving / s.USER_TOWER / str(version)
    np.testing.assert_allclose(session_run(tower, s.EMBED_USER, features)[s.USER_EMBEDDING], expected, atol=1e-5)
    examples = {s.EXAMPLES: np.array(to_examples(features), object)}
    np.testing.assert_allclose(session_run(tower, s.SERVING_DEFAULT, examples)[s.USER_EMBEDDING], expected, atol=1e-5)
    assert (tower / "assets.extra" / "tf_serving_warmup_requests").exists()

    movies = recommender.movies
    scalars = (
        f.MOVIE_ID,
        *(name for name, n in f.lengths(f.MOVIE_FEATURES, movielens().num_categories).items() if n == 1),
    )
    inputs = {name: movies[name].to_numpy()[:, None] for name in scalars}
    inputs[f.MOVIE_GENRES] = np.stack(movies[f.MOVIE_GENRES].to_numpy())
    embeddings = session_run(model_dir, s.EMBED_MOVIE, inputs)[s.MOVIE_EMBEDDING]
    index = workspace.serving / EMBEDDING_INDEX / str(version)
    np.testing.assert_allclose(np.load(index / "embeddings.npy"), embeddings, atol=1e-5)
    assert json.loads((index / "manifest.json").read_text())["version"] == version


def test_served_features_equal_the_pipelines(finished_output):
    """The features of eval examples are what serving computes from the same user's train ratings."""
    recommender = Recommender.load(str(finished_output / "serving"))
    artifacts = finished_output / "artifacts" / "PolarsExampleGen"
    histories = pl.concat([pl.read_parquet(path) for path in artifacts.glob("user_histories/*/*.parquet")])
    paths = [str(path) for path in artifacts.glob("examples/*/Split-eval/*.gz")]
    records = list(tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator())
    values = {
        name: value.numpy()
        for name, value in tf.io.parse_example(records, parse_spec(movielens().num_categories)).items()
    }
    users = np.unique(values[f.USER_ID], return_index=True)
    assert len(users[0]) > 100, "every user with eval ratings"
    for user, row in zip(*users, strict=True):
        train = histories.filter((pl.col(f.USER_ID) == user) & pl.col(IS_TRAIN))
        ratings = list(train.select(f.MOVIE_ID, f.RATING).iter_rows())
        served = recommender.features([recommender.profile(ratings=ratings)])
        for name in f.USER_FEATURES:
            np.testing.assert_array_equal(served[name][0], values[name][row])


def test_no_user_is_recommended_a_rated_movie(finished_output):
    recommender = Recommender.load(str(finished_output / "serving"))
    for user in recommender.user_ids.tolist():
        answer = [r.movie_id for r in recommender.recommend(user_id=user, n=20)]
        assert len(answer) == len(set(answer)) == 20
        assert not set(answer) & set(recommender.history(user)[f.MOVIE_ID].to_list())


def test_the_command_line_recommends(finished):
    workspace, _ = finished
    asked = ["recommend", "--serving-dir", str(workspace.serving), "-n", "5"]
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *asked]
    done = subprocess.run([*command, "--user", "42"], capture_output=True, text=True, check=True, timeout=120)
    assert len(table_rows(done.stdout)) == 5
    assert done.stderr == ""
    new = forked.run("from pipeline.cli import main; main()", *asked, "--rate", "1:5,260:4.5", timeout=120)
    assert new.returncode == 0, new.stdout
    assert len(table_rows(new.stdout)) == 5
    unknown = forked.run("from pipeline.cli import main; main()", *asked, "--user", "4242", timeout=120)
    assert unknown.returncode == 2
    assert "user 4242 is unknown" in unknown.stdout
