"""What serving's tests share: quick settings, further versions, and a service on loopback."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import threading
import time

import httpx
import numpy as np
import psutil
import uvicorn

from schemas.manifest import EMBEDDING_INDEX, EVALUATED, MOVIE_TOWER, USER_TOWER_FILE
from schemas.signatures import USER_TOWER
from serving import index
from serving.app import create_app
from serving.config import ServiceConfig, TowerConfig
from serving.http_protocol import BoundedHttpProtocol
from serving.store import ServingStore
from tests.workspace import ROOT, free_ports

QUICK = TowerConfig(timeout_s=0.4, backoff_s=0.01, recovery_s=0.3)


def publish_next(root, seed=0, movies=lambda movies: movies):
    """Publish a version with the same tower and other movie embeddings, so that its answers are others; return it.

    Its catalogue is what `movies` makes of the one before.
    """
    store = ServingStore(str(root))
    served = store.directory(EMBEDDING_INDEX, store.latest())
    old = index.read_index(served)
    version = store.latest() + 1
    staged = pathlib.Path(f"{root}-staged-{os.getpid()}")
    contents = index.IndexContents(
        vectors=old.vectors[np.random.default_rng(seed).permutation(len(old.vectors))],
        similarity=old.similarity,
        movies=movies(old.movies),
        histories=old.histories,
        constants=old.constants,
        user_tower_file=f"{served}/{USER_TOWER_FILE}",
        tower_digest="tower",
        probe=old.manifest.probe,
        models={folder: f"{served}/{folder}" for folder in (MOVIE_TOWER, EVALUATED)},
    )
    shutil.copytree(store.directory(USER_TOWER, store.latest()), staged / "tower")
    index.write_index(str(staged / "index"), version, contents, str(staged / "tower"))
    store.publish(version, str(staged / "index"), str(staged / "tower"))
    shutil.rmtree(staged)
    return version


@dataclasses.dataclass
class Asked:
    """Lists that clients have asked for."""

    answers: list = dataclasses.field(default_factory=list)
    """Version, user and movies of each."""
    failures: list = dataclasses.field(default_factory=list)

    def number(self):
        """Return how many answers there are, right or wrong."""
        return len(self.answers) + len(self.failures)

    def start(self, url, users, requests, clients):
        """Start clients that ask for the users' lists in turn; return their threads."""

        def client(number):
            with httpx.Client(base_url=url, timeout=30) as http:
                for i in range(requests // clients):
                    user = users[(i * clients + number) % len(users)]
                    answer = http.get(f"/v1/users/{user}/recommendations")
                    if answer.status_code != 200:
                        self.failures.append(answer.text)
                        continue
                    body = answer.json()
                    movies = [movie["movie_id"] for movie in body["recommendations"]]
                    self.answers.append((body["model_version"], user, movies))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        return threads


@dataclasses.dataclass
class Service:
    """A service on loopback, and a client of it."""

    client: httpx.Client
    app: object

    def get(self, path, **kwargs):
        return self.client.get(path, **kwargs)

    def post(self, path, body):
        return self.client.post(path, json=body)

    def version(self):
        return self.get("/readyz").json()["model_version"]

    def wait_for(self, condition, timeout_s=20):
        """Wait until a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{self.get('/readyz').json()}"
            time.sleep(0.02)


@contextlib.contextmanager
def serving(root, tower=None, towers=None, **service):
    """Serve a root in a thread of this process, through real sockets."""
    app = create_app(str(root), ServiceConfig(port=0, poll_s=0.05, **service), tower or QUICK, towers)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, http=BoundedHttpProtocol, log_config=None, timeout_graceful_shutdown=5)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=20) as client:
                while not server.started:
                    assert thread.is_alive(), "the service did not start"
                    time.sleep(0.01)
                yield Service(client, app)
        finally:
            server.should_exit = True
            thread.join()


WORKERS = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", "--workers", "2", "--poll-s", "0.1"]


@dataclasses.dataclass
class Workers:
    """A service of several processes."""

    process: psutil.Process
    url: str
    log: pathlib.Path

    def get(self, path):
        """Ask over a new connection, which any of the workers may take."""
        return httpx.get(f"{self.url}{path}", timeout=30)

    def metric(self, name):
        lines = self.get("/metrics").text.splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"matinee_{name} ")))

    def pids(self):
        """Return the processes that answer, as their log says."""
        events = [json.loads(line).get("event", "") for line in self.log.read_text().splitlines() if line[:1] == "{"]
        started = [int(event.split("[")[1][:-1]) for event in events if event.startswith("Started server process")]
        return [pid for pid in started if psutil.pid_exists(pid)]

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def wait_for(self, condition, timeout_s=60):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)


@contextlib.contextmanager
def workers(root, tmp_path, *options):
    (port,) = free_ports()
    log, temporary = tmp_path / "log", tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    command = [*WORKERS, "--serving-dir", str(root), "--port", str(port), *options]
    with log.open("w") as file:
        process = psutil.Popen(command, cwd=ROOT, stderr=file, env={**os.environ, "TMPDIR": str(temporary)})
    running = Workers(process, f"http://127.0.0.1:{port}", log)
    try:
        running.wait_for(lambda: "Application startup complete" in log.read_text())
        running.wait_for(lambda: len(running.pids()) == 2)
        yield running
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        process.terminate()
        process.wait(timeout=40)
        _, alive = psutil.wait_procs(children, timeout=20)
        for child in alive:
            child.kill()
        assert not alive, "nothing lives on"
        assert "Traceback" not in log.read_text()
