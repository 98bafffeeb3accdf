"""Data, artifacts and served versions on an S3-compatible store: the steps push there, and the service reads there."""

import importlib.util

import fsspec
import pytest

from serving import Recommender
from serving.store import ServingStore
from tests.kubeflow_launcher import Launcher
from tests.s3 import s3_server
from tests.serving.harness import serving
from tests.workspace import free_ports

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not importlib.util.find_spec("tensorflow_io"), reason="tensorflow-io is for Python 3.10"),
]
BUCKET = "s3://matinee"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    (port,) = free_ports()
    with s3_server(tmp_path_factory.mktemp("s3") / "s3.log", port) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("matinee")
        yield server


def test_the_steps_run_on_the_store_and_the_service_reads_what_they_pushed(store, sample, compile_file, tmp_path):
    s3 = fsspec.filesystem("s3")
    s3.put(str(sample), "matinee/data", recursive=True)
    compiled = compile_file(f"{BUCKET}/data", f"{BUCKET}/serving", retries=0)
    launcher = Launcher(compiled.path, f"{BUCKET}/root", tmp_path / "work", store.environment)
    steps = launcher.run("first", epochs=1)
    assert steps["Pusher"].artifacts["pushed_model"]["metadata"]["reason"].startswith("pushed as version")
    assert not [path for path in s3.find("matinee/root") if "/.temp" in path]

    (version,) = ServingStore(f"{BUCKET}/serving").versions()
    published = [path for path in store.written() if path.startswith("/matinee/serving/")]
    index, tower = (
        [path for path in published if f"/{kind}/{version}/" in path] for kind in ("embedding_index", "user_tower")
    )
    assert published == index + tower, "the tower goes after the index"
    assert index[-1].endswith("/manifest.json")
    assert tower[-1].endswith("/saved_model.pb")

    recommender = Recommender.load(f"{BUCKET}/serving")
    user = int(recommender.user_ids[0])
    expected = [movie.movie_id for movie in recommender.recommend(user_id=user)]
    with serving(f"{BUCKET}/serving") as service:

        def movies():
            answer = service.get(f"/v1/users/{user}/recommendations").json()
            return [movie["movie_id"] for movie in answer["recommendations"]]

        assert movies() == expected
        store.process.kill()  # The store's client has exceptions of its own: none may end the service's watch.
        service.wait_for(lambda: "cannot be read" in service.app.state.versions.problem, timeout_s=60)
        assert movies() == expected
