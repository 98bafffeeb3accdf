"""Several workers behind one port: one copy of a version, all of one version, and whoever is killed comes back."""

import os
import signal
import subprocess

import numpy as np
import psutil
import pytest

from schemas.manifest import EMBEDDING_INDEX
from serving import Recommender
from serving.answers import Request
from serving.catalogue import PreparedIndex
from serving.index import read_index
from serving.ranker import Ranker
from serving.staged import read_staged, stage
from serving.store import ServingStore
from serving.user_tower import tower_of
from tests.serving.harness import WORKERS, Asked, publish_next, workers
from tests.workspace import ROOT

USERS = range(1, 41)


def top_tens(root, version):
    recommender = Recommender.load(str(root), version)
    return {user: [movie.movie_id for movie in recommender.recommend(user_id=user)] for user in USERS}


def test_what_is_staged_answers_as_what_was_loaded(published, tmp_path):
    store = ServingStore(str(published))
    version = store.latest()
    loaded = Recommender.load(str(published))
    index = PreparedIndex.of(read_index(store.directory(EMBEDDING_INDEX, version), version)).for_service()
    stage(str(tmp_path), index, tower_of(store, version))
    mapped, tower = read_staged(str(tmp_path))
    ranker = Ranker(mapped)
    assert not mapped.vectors.embeddings.flags.owndata
    assert not mapped.vectors.embeddings.flags.writeable
    for user in loaded.user_ids[:20].tolist():
        profile = ranker.profile(user)
        (vectors,) = tower.embed(ranker.features([profile]))
        assert ranker.rank(profile, vectors, Request()) == loaded.recommend(user_id=user)
        assert ranker.history(user).equals(loaded.history(user))
    for query in ("", "the", "night 2", *(movie.title for movie in loaded.find_movies("", 30))):
        assert ranker.find_movies(query, 5) == loaded.find_movies(query, 5)
    movie = int(loaded.movies["movie_id"][3])
    assert ranker.similar_movies(movie) == loaded.similar_movies(movie)
    assert ranker.starter_movies() == loaded.starter_movies()
    np.testing.assert_array_equal(ranker.user_ids, loaded.user_ids)


@pytest.mark.slow
def test_twenty_versions_under_load_and_every_answer_is_that_of_the_version_it_names(root, tmp_path):
    first = ServingStore(str(root)).latest()
    requests, asked = 20_000, Asked()
    with workers(root, tmp_path) as service:
        threads = asked.start(service.url, USERS, requests, clients=4)
        versions = [first]
        for swap in range(1, 21):
            service.wait_for(lambda swap=swap: asked.number() >= swap * requests // 22, timeout_s=120)
            versions.append(publish_next(root, seed=swap))
            service.wait_for(lambda: service.metric("model_version") == versions[-1])
        for thread in threads:
            thread.join()
        assert service.metric("version_swaps_total") == 21, "each counted once"
    assert asked.failures == []
    assert len(asked.answers) == requests
    assert {version for version, _, _ in asked.answers} <= set(versions)
    assert len({version for version, _, _ in asked.answers}) >= 20
    expected = {version: top_tens(root, version) for version in versions}
    for version, user, movies in asked.answers:
        assert movies == expected[version][user]


@pytest.mark.slow
def test_workers_that_are_killed_come_back_and_the_others_lead(root, tmp_path):
    with workers(root, tmp_path) as service:
        first = service.metric("model_version")
        assert service.metric("workers") == 2
        for place in (0, 1):
            before = service.pids()
            os.kill(before[place], signal.SIGKILL)
            assert service.get("/v1/users/1/recommendations").status_code == 200, "the others answer"
            service.wait_for(lambda before=before: len(set(service.pids()) - set(before)) == 1)
            service.wait_for(lambda: service.metric("workers") == 2)
        second = publish_next(root)
        service.wait_for(lambda: service.metric("model_version") == second)
        for pid in service.pids():
            os.kill(pid, signal.SIGKILL)
        # Connections wait until there is a worker again.
        assert service.get("/v1/users/1/recommendations").json()["model_version"] == second > first
        third = publish_next(root, seed=2)
        service.wait_for(lambda: service.metric("model_version") == third)
        staged = list(tmp_path.glob("tmp/matinee-*/[0-9]*-*"))
        assert [path.name.split("-")[0] for path in staged] == [str(third)], "what nobody uses is gone"
    assert not list(tmp_path.glob("tmp/matinee-*")), "and all of it with the service"


@pytest.mark.slow
def test_a_damaged_version_is_refused_by_all(root, tmp_path):
    first = ServingStore(str(root)).latest()
    with workers(root, tmp_path) as service:
        second = publish_next(root)
        service.wait_for(lambda: service.metric("model_version") == second)
        path = root / EMBEDDING_INDEX / str(second) / "histories.npy"
        path.chmod(0o644)
        os.truncate(path, 300)
        user = Recommender.load(str(root), first).user_ids[-1]
        statuses = {service.get(f"/v1/users/{user}/recommendations").status_code for _ in range(3)}
        assert statuses <= {200, 503}
        service.wait_for(lambda: service.metric("model_version") == first)
        service.wait_for(lambda: service.get(f"/v1/users/{user}/recommendations").status_code == 200)


@pytest.mark.slow
def test_workers_end_with_their_supervisor(root, tmp_path):
    with workers(root, tmp_path) as service:
        pids = service.pids()
        service.process.kill()
        service.wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_wrong_setting_is_one_clear_line(published):
    command = [*WORKERS, "--serving-dir", str(published), "--port", "0", "--api-key-file", "/nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "cannot read the API key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_workers_behind_tensorflow_serving(root, double, tmp_path):
    with workers(root, tmp_path, "--tf-serving", double.rest_url) as service:
        first = service.metric("model_version")
        double.hidden = {first + 1}
        second = publish_next(root)
        for _ in range(10):
            assert service.get("/v1/users/1/recommendations").json()["model_version"] == first
        double.hidden = set()
        service.wait_for(lambda: service.get("/v1/users/1/recommendations").json()["model_version"] == second)
