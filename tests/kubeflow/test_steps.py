"""The compiled pipeline, step by step in processes of their own, to a pushed version."""

import json

import pytest

from serving import Recommender
from serving.store import ServingStore
from tests.kubeflow_launcher import Launcher, StepFailed

pytestmark = pytest.mark.e2e


def test_the_steps_end_with_a_pushed_version_and_the_cache_skips_what_has_not_changed(sample, compile_file, tmp_path):
    serving = tmp_path / "serving"
    launcher = Launcher(compile_file(str(sample), str(serving)).path, str(tmp_path / "root"), tmp_path / "work")
    first = launcher.run("first", epochs=1)
    assert first["Pusher"].artifacts["pushed_model"]["metadata"]["reason"].startswith("pushed as version")
    history = json.loads((tmp_path / "root/first/Trainer/model_run/history.json").read_text())
    assert len(history["loss"]) == 1  # The run-time parameter, not the compiled default of 2.
    recommender = Recommender.load(str(serving))
    found = recommender.recommend(user_id=int(recommender.user_ids[0]))
    assert len({movie.movie_id for movie in found}) == 10

    again = launcher.run("again", epochs=1)
    assert {name for name, step in again.items() if not step.cached} == {"EvaluationGate", "Pusher"}
    assert "serves the same model" in again["Pusher"].artifacts["pushed_model"]["metadata"]["reason"]
    assert len(ServingStore(str(serving)).versions()) == 1


def test_bad_data_stops_the_first_step_with_its_own_error(compile_file, write_data, tmp_path):
    data = write_data("userId,movieId,rating,timestamp\n1,1,7.5,3\n")
    launcher = Launcher(compile_file(retries=0).path, str(tmp_path / "root"), tmp_path / "work")
    with pytest.raises(StepFailed, match=r"ratings.csv.*7\.5") as failure:
        launcher.run("bad", data=str(data), serving_dir=str(tmp_path / "serving"))
    assert failure.value.step == "PolarsExampleGen"
    assert not (tmp_path / "serving").exists()
