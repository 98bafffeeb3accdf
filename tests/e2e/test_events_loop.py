"""What users do while they are served is in the next version."""

import subprocess
import sys

import pytest

from serving import Recommender
from serving.answers import UnknownIdError
from serving.events.store import EventStore
from tests.e2e.test_warm_start import WARM
from tests.serving.harness import serving
from tests.workspace import ROOT

pytestmark = pytest.mark.e2e


def exported(where, spans):
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "data", "export-events"]
    options = ["--events", where, "--to", f"{spans}/{{SPAN}}"]
    return subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_events_are_in_the_next_version(workspace, tmp_path):
    spans, where = tmp_path / "spans", str(tmp_path / "events.db")
    (spans / "1").mkdir(parents=True)
    for name in ("ratings.csv", "movies.csv"):
        (workspace.data / name).rename(spans / "1" / name)
    before = Recommender.load(str(workspace.serving))
    own = int(before.history(5)["movie_id"][0])
    again = int(before.history(6)["movie_id"][0])
    store = EventStore(where)
    store.upgrade()
    with serving(workspace.serving, events=where) as service:
        for movie in range(1, 15):
            assert service.client.put(f"/v1/users/777/ratings/{movie}", json={"rating": 5}).status_code == 200
        assert service.client.delete("/v1/users/777/ratings/14").status_code == 200
        assert service.client.delete(f"/v1/users/5/ratings/{own}").status_code == 200
        assert service.client.put(f"/v1/users/6/ratings/{again}", json={"rating": 0.5}).status_code == 200
        assert service.client.delete("/v1/users/7").status_code == 204
    assert f"{spans}/2: 14 ratings, 2 taken back, 1 users forgotten" in exported(where, spans)
    assert "Nothing is new" in exported(where, spans)

    done = workspace.run("--data", f"{spans}/{{SPAN}}", *WARM)
    assert done.returncode == 0, done.stdout
    after = Recommender.load(str(workspace.serving))
    assert after.model_version > before.model_version
    assert sorted(after.history(777)["movie_id"]) == [*range(1, 14)]
    assert own not in after.history(5)["movie_id"].to_list()
    assert after.history(5).height == before.history(5).height - 1
    assert dict(after.history(6).select("movie_id", "rating").iter_rows())[again] == 0.5
    with pytest.raises(UnknownIdError):
        after.history(7)
    with serving(workspace.serving, events=where) as service:
        listed = service.get("/v1/users/777/recommendations").json()["recommendations"]
        assert not {movie["movie_id"] for movie in listed} & set(range(1, 14))
        assert service.get("/v1/users/7/recommendations").status_code == 404
    store.close()
