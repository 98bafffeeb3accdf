"""New versions while serving, and everything that can be wrong with one: never a wrong or mixed answer."""

import os
import shutil
import subprocess
import threading
import time
import weakref

import anyio
import numpy as np
import pytest

from schemas import manifest as m
from schemas.signatures import USER_TOWER
from serving import Recommender, catalogue, threads
from serving.config import TowerConfig
from serving.metrics import Metrics
from serving.store import ServingStore
from serving.user_tower import InProcessUserTowers, is_probe
from serving.versions import Versions
from tests import forked
from tests.serving.harness import QUICK, Asked, publish_next, serving
from tests.tf_serving_double import TfServingDouble

USERS = range(1, 41)
REQUESTS, CLIENTS = 10_000, 4


def quick(url, **changes):
    values = {"timeout_s": QUICK.timeout_s, "backoff_s": QUICK.backoff_s, "recovery_s": QUICK.recovery_s, **changes}
    return TowerConfig(tf_serving=url, **values)


def top_tens(root, version):
    recommender = Recommender.load(str(root), version)
    return {user: [r.movie_id for r in recommender.recommend(user_id=user)] for user in USERS}


def ask(service, user=1):
    answer = service.get(f"/v1/users/{user}/recommendations")
    return answer.json()["model_version"], [movie["movie_id"] for movie in answer.json()["recommendations"]]


def wait_until_ready(service):
    """The double loads a model when it is first asked for, which may take longer than the service waits for it."""
    service.wait_for(lambda: service.get("/readyz").status_code == 200)


@pytest.mark.slow
def test_five_swaps_under_load_and_every_answer_is_that_of_the_version_it_names(root):
    first = ServingStore(str(root)).latest()
    asked = Asked()

    with serving(root) as service:
        threads = asked.start(str(service.client.base_url), USERS, REQUESTS, CLIENTS)
        versions = [first]
        for swap in range(1, 6):
            service.wait_for(lambda swap=swap: asked.number() >= swap * REQUESTS // 7, timeout_s=120)
            versions.append(publish_next(root, seed=swap))
            service.wait_for(lambda: service.version() == versions[-1])
        for thread in threads:
            thread.join()
    assert asked.failures == []
    assert len(asked.answers) == REQUESTS
    assert {version for version, _, _ in asked.answers} == set(versions)
    expected = {version: top_tens(root, version) for version in versions}
    assert expected[versions[0]] != expected[versions[1]], "the versions can be told apart"
    for version, user, movies in asked.answers:
        assert movies == expected[version][user]


def test_the_old_version_is_released(root):
    store = ServingStore(str(root))

    async def scenario():
        versions = Versions(store, InProcessUserTowers(store), Metrics(), 1, 60)
        await versions.refresh()
        old = weakref.ref(versions.current.ranker)
        in_use = versions.current  # A request under way.
        publish_next(root)
        await versions.refresh()
        assert old() is in_use.ranker
        del in_use
        assert old() is None

    anyio.run(scenario)


SWAPS = """
import sys
import anyio, psutil
from serving.metrics import Metrics
from serving.store import ServingStore
from serving.user_tower import InProcessUserTowers
from serving.versions import Versions
from tests.serving.harness import publish_next

async def swap(root):
    store, process = ServingStore(root), psutil.Process()
    versions = Versions(store, InProcessUserTowers(store), Metrics(), 1, 60)
    await versions.refresh()
    for i in range(31):
        publish_next(root, seed=i)
        store.prune(2)
        await versions.refresh()
        assert versions.current.version == store.latest()
        if i in (10, 30):
            print("MEGABYTES", process.memory_info().rss >> 20)

anyio.run(swap, sys.argv[1])
"""


@pytest.mark.slow
def test_swaps_leave_nothing_in_memory(root):
    """Twenty towers that stayed would be fifty megabytes."""
    done = forked.run(SWAPS, root, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    before, after = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("MEGABYTES"))
    assert after - before < 20


DAMAGES = {
    "truncated index": lambda index, tower: os.truncate(index / m.MOVIES_FILE, 100),
    "digest mismatch": lambda index, tower: (index / m.EMBEDDINGS_FILE).write_bytes(
        (index / m.EMBEDDINGS_FILE).read_bytes()[:-1] + b"\x01"
    ),
    "missing histories": lambda index, tower: (index / m.HISTORIES_FILE).unlink(),
    "broken manifest": lambda index, tower: (index / m.MANIFEST_FILE).write_text("{"),
    "broken tower": lambda index, tower: (tower / m.SAVED_MODEL_FILE).write_bytes(b"nonsense"),
    "another version's index": lambda index, tower: shutil.copytree(
        index.parent / str(int(index.name) - 1), index, dirs_exist_ok=True
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_version_is_refused_and_the_old_one_keeps_serving(root, damage):
    first = ServingStore(str(root)).latest()
    with serving(root) as service:
        before = ask(service)
        # Damaged before it can be seen: the marker that completes a version comes last.
        bad = publish_next(shutil.copytree(root, f"{root}-aside"))
        aside = [root.parent / f"{root.name}-aside" / kind / str(bad) for kind in (m.EMBEDDING_INDEX, USER_TOWER)]
        DAMAGES[damage](*aside)
        for source, kind in zip(aside, (m.EMBEDDING_INDEX, USER_TOWER), strict=True):
            shutil.copytree(source, root / kind / f".staging-{bad}")
            (root / kind / f".staging-{bad}").rename(root / kind / str(bad))
        service.wait_for(lambda: "matinee_versions_refused_total 0.0" not in service.get("/metrics").text)
        assert ask(service) == before
        assert service.version() == first
        good = publish_next_good(root, bad)
        service.wait_for(lambda: service.version() == good)


def publish_next_good(root, bad):
    """Remove the bad version and publish a good one above it."""
    for kind in (m.EMBEDDING_INDEX, USER_TOWER):
        shutil.rmtree(root / kind / str(bad))
    return publish_next(root, seed=9)


def test_what_is_wrong_with_the_files_is_told_in_the_log_alone(root):
    (version,) = ServingStore(str(root)).versions()
    (root / m.EMBEDDING_INDEX / str(version) / m.EMBEDDINGS_FILE).write_bytes(b"other")
    with serving(root) as service:
        for path in ("/readyz", "/v1/model"):
            answer = service.get(path)
            assert answer.status_code == 503
            assert f"version {version} was refused: the log says why" in answer.text
            assert str(root) not in answer.text


def test_a_half_written_version_is_not_looked_at(root):
    with serving(root) as service:
        before = ask(service)
        bad = publish_next(root)
        service.wait_for(lambda: service.version() == bad)
        assert ask(service)[1] != before[1], "its answers are others, so that it would be seen"
    for name in (m.EMBEDDING_INDEX, USER_TOWER):
        marker = {m.EMBEDDING_INDEX: m.MANIFEST_FILE, USER_TOWER: m.SAVED_MODEL_FILE}[name]
        half = root / name / str(bad) / marker
        data = half.read_bytes()
        half.unlink()
        with serving(root) as service:
            assert ask(service) == before
            half.write_bytes(data)
            service.wait_for(lambda: service.version() == bad)


def test_a_version_that_is_taken_back_is_left(root):
    first = ServingStore(str(root)).latest()
    with serving(root) as service:
        second = publish_next(root)
        service.wait_for(lambda: service.version() == second)
        for kind in (USER_TOWER, m.EMBEDDING_INDEX):
            shutil.rmtree(root / kind / str(second))
        service.wait_for(lambda: service.version() == first)


def test_nothing_published_yet(root, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with serving(empty) as service:
        answer = service.get("/v1/users/1/recommendations")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert "no model is published" in answer.json()["detail"]
        assert service.get("/readyz").status_code == 503
        assert service.get("/healthz").status_code == 200
        shutil.copytree(root, empty, dirs_exist_ok=True)
        service.wait_for(lambda: service.version() is not None)
        assert ask(service)[1]


def test_the_tower_is_down_at_the_start(root):
    double = TfServingDouble(root / USER_TOWER)
    with double.running():
        url = double.rest_url
    with serving(root, quick(url)) as service:
        assert service.get("/readyz").status_code == 503
        assert service.get("/v1/users/1/recommendations").status_code == 503
        with double.running():
            service.wait_for(lambda: service.get("/readyz").status_code == 200)
            assert ask(service)[1] == top_tens(root, None)[1]


def test_the_tower_dies_and_comes_back(root, double):
    with serving(root, quick(double.rest_url)) as service:
        wait_until_ready(service)
        before = ask(service)
        double.stop()
        answers = [service.get(f"/v1/users/{user}/recommendations") for user in range(2, 6)]
        assert ask(service) == before, "who has asked before is answered from the vector that is kept"
        double.start()
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        assert "Traceback" not in answers[0].text
        assert service.get("/v1/movies").status_code == 200, "what needs no tower is answered"
        service.wait_for(lambda: service.get("/v1/users/2/recommendations").status_code == 200)
        assert ask(service, 2)[1] == top_tens(root, None)[2]
        assert 'matinee_tower_errors_total{kind="connection"}' in service.get("/metrics").text


def test_the_tower_answers_late(root, double):
    with serving(root, quick(double.rest_url, timeout_s=0.2, attempts=2)) as service:
        wait_until_ready(service)
        ask(service)
        double.delay_s = 0.6
        answer = service.get("/v1/users/2/recommendations")
        assert answer.status_code == 503
        assert answer.elapsed.total_seconds() < 2
        double.delay_s = 0
        service.wait_for(lambda: service.get("/v1/users/2/recommendations").status_code == 200)


def test_a_version_waits_until_tensorflow_serving_has_loaded_it(root, double):
    with serving(root, quick(double.rest_url)) as service:
        wait_until_ready(service)
        before = ask(service)
        double.hidden = {before[0] + 1}
        second = publish_next(root)
        service.wait_for(lambda: "matinee_versions_refused_total 0.0" not in service.get("/metrics").text)
        assert ask(service) == before
        double.hidden = set()
        service.wait_for(lambda: service.version() == second)
        assert ask(service) == (second, top_tens(root, second)[1])


def test_tensorflow_serving_over_another_serving_root_is_refused(root, tmp_path, session_run):
    """The same version number, another tower: told apart by the probe in the manifest."""
    manifest = root / m.EMBEDDING_INDEX / str(ServingStore(str(root)).latest()) / m.MANIFEST_FILE
    loaded = m.Manifest.from_json(manifest.read_text())
    assert len(loaded.probe) == loaded.dim
    text = manifest.read_text().replace(str(loaded.probe[0]), str(-loaded.probe[0]))
    assert text != manifest.read_text()
    manifest.write_text(text)
    with TfServingDouble(root / USER_TOWER).running() as double, serving(root, quick(double.rest_url)) as service:
        wrong = "serves another user tower under this version's number"
        service.wait_for(lambda: wrong in service.get("/readyz").json()["problem"])
        assert service.get("/readyz").status_code == 503


def test_a_tower_that_was_long_away_is_found_soon(root, double):
    """However long TensorFlow Serving was away: what waits for it is no version that is wrong."""
    with serving(root, quick(double.rest_url)) as service:
        wait_until_ready(service)
        first = service.version()
        double.hidden = {first + 1}
        second = publish_next(root)
        before = double.requests
        # With pauses that double, the last would be of half a day.
        service.wait_for(lambda: double.requests > before + 20)
        double.hidden = set()
        service.wait_for(lambda: service.version() == second)


def hang(monkeypatch, *versions):
    """Let reading the index of some versions hang, as on a file system whose server is away; return what ends that."""
    released, read = threading.Event(), catalogue.read_index

    def read_index(directory, version):
        if version in versions:
            released.wait()
        return read(directory, version)

    monkeypatch.setattr(catalogue, "read_index", read_index)
    return released


def test_a_version_that_hangs_holds_up_no_later_one(root, monkeypatch):
    first = ServingStore(str(root)).latest()
    released = hang(monkeypatch, first + 1)
    try:
        with serving(root, load_timeout_s=30) as service:
            publish_next(root)
            service.wait_for(lambda: threads.running() > 0)
            assert ask(service)[0] == first
            second = publish_next(root)
            service.wait_for(lambda: service.version() == second)
    finally:
        released.set()


def test_a_version_that_hangs_is_given_up(root, monkeypatch):
    first = ServingStore(str(root)).latest()
    publish_next(root)
    released = hang(monkeypatch, first + 1)
    begin = time.monotonic()
    try:
        with serving(root, load_timeout_s=1) as service:
            assert ask(service)[0] == first
            assert service.version() == first
            assert "matinee_versions_refused_total 1.0" in service.get("/metrics").text
        assert time.monotonic() - begin < 15, "and the service stops while it hangs"
    finally:
        released.set()


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.parametrize("place", ["tower", "tower's folder", "index"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(root, place, kind):
    (version,) = ServingStore(str(root)).versions()
    path = {
        "tower": root / USER_TOWER / str(version) / m.SAVED_MODEL_FILE,
        "tower's folder": root / USER_TOWER / str(version) / "variables" / "variables.index",
        "index": root / m.EMBEDDING_INDEX / str(version) / m.EMBEDDINGS_FILE,
    }[place]
    if kind == "link":
        path.rename(root / "aside")
        path.symlink_to(root / "aside")
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.unlink()
        path.symlink_to("/dev/zero")
    with serving(root) as service:
        # What is waited for is never refused.
        service.wait_for(lambda: "refused" in service.get("/readyz").json()["problem"])
        assert service.version() is None


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_file_that_changes_while_it_is_served(root, damage):
    """The process lives, no answer comes from changed ratings, and the version before takes over."""
    first = ServingStore(str(root)).latest()
    second = publish_next(root)
    path = root / m.EMBEDDING_INDEX / str(second) / m.HISTORIES_FILE
    path.chmod(0o644)
    with serving(root) as service:
        assert ask(service)[0] == second
        if damage == "cut off":
            os.truncate(path, 300)
        else:
            with path.open("r+b") as file:
                file.seek(-1000, os.SEEK_END)
                file.write(bytes(1000))
        user = service.app.state.versions.current.ranker.user_ids[-1]
        answer = service.get(f"/v1/users/{user}/recommendations")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert str(root) not in answer.text
        service.wait_for(lambda: service.version() == first)
        assert service.get(f"/v1/users/{user}/recommendations").status_code == 200
        third = publish_next_good(root, second)
        service.wait_for(lambda: service.version() == third)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_while_publishing(published, tmp_path):
    """A real file system of 3 MB: the publication fails, says so, and what is served stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=True)
    try:
        root = disk / "root"
        shutil.copytree(published / m.EMBEDDING_INDEX, root / m.EMBEDDING_INDEX)
        shutil.copytree(published / USER_TOWER, root / USER_TOWER)
        store = ServingStore(str(root))
        first = store.latest()
        staged = tmp_path / "staged"
        shutil.copytree(store.directory(m.EMBEDDING_INDEX, first), staged / "index")
        shutil.copytree(store.directory(USER_TOWER, first), staged / "tower")
        (staged / "index" / "filler").write_bytes(os.urandom(4 << 20))
        with serving(root) as service:
            before = ask(service)
            with pytest.raises(OSError, match="No space left on device"):
                store.publish(first + 1, str(staged / "index"), str(staged / "tower"))
            assert store.versions() == [first]
            assert not list((root / m.EMBEDDING_INDEX).glob(".staging*")), "the room is given back"
            assert ask(service) == before
    finally:
        # Lazily: the service's version, which this process still has, maps its histories from there.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("answer", [[0.6, np.nan], [0.6, 0.8, 0.0], [0.6], [0.6, 0.79]])
def test_an_answer_to_the_probe_is_the_manifests_in_every_number(answer):
    assert is_probe(np.array([0.6, 0.8004], np.float32), [0.6, 0.8])
    assert not is_probe(np.array(answer, np.float32), [0.6, 0.8])
