"""The compiled pipeline, step by step in processes of their own, to a pushed version that the service reads.

Data, artifacts and served versions are on an S3-compatible store.
"""

import importlib.util
import json

import fsspec
import pytest

from schemas.configuration import to_json
from serving import Recommender
from serving.store import ServingStore
from tests.kubeflow_launcher import REAL, Launcher, StepFailed
from tests.s3 import s3_server
from tests.serving.harness import serving
from tests.workspace import free_ports

pytestmark = pytest.mark.e2e
BUCKET = "s3://matinee"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    (port,) = free_ports()
    with s3_server(tmp_path_factory.mktemp("s3") / "s3.log", port) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("matinee")
        yield server


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow_io"), reason="tensorflow-io is for Python 3.10")
def test_the_steps_push_to_the_store_the_cache_skips_what_has_not_changed_and_the_service_reads(
    store, sample, compile_file, tmp_path
):
    s3 = fsspec.filesystem("s3")
    s3.put(str(sample), "matinee/data", recursive=True)
    compiled = compile_file(f"{BUCKET}/data", f"{BUCKET}/serving", retries=0)
    launcher = Launcher(compiled.path, f"{BUCKET}/root", tmp_path / "work", store.environment)
    one_epoch = to_json(compiled.trainer(epochs=1))
    steps = launcher.run("first", trainer_config=one_epoch)
    assert REAL in steps
    assert steps["Pusher"].artifacts["pushed_model"]["metadata"]["reason"].startswith("pushed as version")
    assert not [path for path in s3.find("matinee/root") if "/.temp" in path]
    history = json.loads(s3.cat("matinee/root/first/Trainer/model_run/history.json"))
    assert len(history["loss"]) == 1  # The run-time parameter, not the compiled default of 2.

    (version,) = ServingStore(f"{BUCKET}/serving").versions()
    published = [path for path in store.written() if path.startswith("/matinee/serving/")]
    index, tower = (
        [path for path in published if f"/{kind}/{version}/" in path] for kind in ("embedding_index", "user_tower")
    )
    assert published == index + tower, "the tower goes after the index"
    assert index[-1].endswith("/manifest.json")
    assert tower[-1].endswith("/saved_model.pb")

    again = launcher.run("again", trainer_config=one_epoch)
    assert {name for name, step in again.items() if not step.cached} == {"EvaluationGate", "Pusher"}
    assert "serves the same model" in again["Pusher"].artifacts["pushed_model"]["metadata"]["reason"]
    assert ServingStore(f"{BUCKET}/serving").versions() == [version]

    recommender = Recommender.load(f"{BUCKET}/serving")
    user = int(recommender.user_ids[0])
    expected = [movie.movie_id for movie in recommender.recommend(user_id=user)]
    assert len(set(expected)) == 10
    with serving(f"{BUCKET}/serving") as service:

        def movies():
            answer = service.get(f"/v1/users/{user}/recommendations").json()
            return [movie["movie_id"] for movie in answer["recommendations"]]

        assert movies() == expected
        store.process.kill()  # The store's client has exceptions of its own: none may end the service's watch.
        service.wait_for(lambda: "cannot be read" in service.app.state.versions.problem, timeout_s=60)
        assert movies() == expected


def test_bad_data_stops_the_first_step_with_its_own_error(compile_file, write_data, tmp_path):
    data = write_data("userId,movieId,rating,timestamp\n1,1,7.5,3\n")
    launcher = Launcher(compile_file(retries=0).path, str(tmp_path / "root"), tmp_path / "work")
    with pytest.raises(StepFailed, match=r"ratings.csv.*7\.5") as failure:
        launcher.run("bad", data=str(data), serving_dir=str(tmp_path / "serving"))
    assert failure.value.step == "PolarsExampleGen"
    assert not (tmp_path / "serving").exists()
