"""The service beside its lower bound: latency, requests/s, and the search of larger catalogues.

    python -m benchmarks.serving --serving-dir output/serving [--requests 20000]
        [--tf-serving http://localhost:8501 --tf-serving grpc://localhost:8500]

The bound is what a hand-made script does in process for one user: the user tower's call, a NumPy dot product with all
movies and an argpartition; no HTTP, no masking, no titles. Clients run in a process of their own, on loopback, each
with one connection that it keeps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import multiprocessing
import multiprocessing.pool
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

import faiss
import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from components.trainer.config import TrainerConfig
from schemas import signatures as s
from schemas.data_spec import movielens
from serving import Recommender
from serving.search import MovieSearch, Search
from serving.store import ServingStore

_PORT = 8765
_RECOMMEND = "/v1/users/{user}/recommendations"
_TURNS = 40
_DIM, _SEEN, _QUERIES = TrainerConfig().joined_dim(movielens().num_categories), 200, 200
_CONSOLE = Console(width=110)


def percentiles(seconds: list[float]) -> tuple[str, str]:
    """Return p50 and p99 in milliseconds, as text."""
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return f"{p50:.2f}", f"{p99:.2f}"


def timed(function: Callable[[int], object], arguments: list[int]) -> list[float]:
    """Return the seconds of each call, after some that are not counted."""
    for argument in arguments[:50]:
        function(argument)
    seconds = []
    for argument in arguments:
        begin = time.perf_counter()
        function(argument)
        seconds.append(time.perf_counter() - begin)
    return seconds


def _client(port: int, path: str, users: list[int], number: int, clients: int, requests: int, found: list) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for i in range(requests):
        begin = time.perf_counter()
        connection.request("GET", path.format(user=users[(i * clients + number) % len(users)]))
        response = connection.getresponse()
        response.read()
        found.append((response.status, time.perf_counter() - begin))


def load(port: int, path: str, users: list[int], clients: int, requests: int) -> tuple[list[float], float, int]:
    """Send requests; return the seconds of each, those of all together, and the number of errors."""
    found: list[tuple[int, float]] = []
    threads = [
        threading.Thread(target=_client, args=(port, path, users, number, clients, requests // clients, found))
        for number in range(clients)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begin
    lost = requests // clients * clients - len(found)
    return [seconds for _, seconds in found], wall, lost + sum(status != 200 for status, _ in found)


def bounds(serving_dir: str) -> dict[str, Callable[[int], object]]:
    """Return what the service is compared with, each a function of a user id."""
    recommender = Recommender.load(serving_dir)
    store = ServingStore(serving_dir)
    tower = tf.saved_model.load(store.directory(s.USER_TOWER, recommender.model_version)).signatures[s.EMBED_USER]
    features = {user: recommender.user_tower_inputs(user) for user in recommender.user_ids.tolist()}
    embeddings = recommender.embeddings

    def by_signature(user: int) -> np.ndarray:
        tensors = {name: tf.constant(value) for name, value in features[user].items()}
        return np.argpartition(-(embeddings @ tower(**tensors)[s.USER_EMBEDDING].numpy()[0]), 10)[:10]

    def by_session(user: int) -> np.ndarray:
        return np.argpartition(-(embeddings @ recommender._tower.embed(features[user]).embeddings[0]), 10)[:10]

    return {
        "bound, the SavedModel's signature": by_signature,
        "bound, the service's own tower call": by_session,
        "Recommender.recommend, no HTTP": lambda user: recommender.recommend(user_id=user),
    }


@dataclasses.dataclass
class _Row:
    name: str
    function: Callable[[int], object] | None = None
    path: str = ""
    clients: int = 0
    port: int = _PORT
    seconds: list[float] = dataclasses.field(default_factory=list)
    wall: float = 0.0
    errors: int = 0

    def measure(self, clients: multiprocessing.pool.Pool, users: list[int], count: int) -> None:
        if self.function:
            found = timed(self.function, users[:count])
            wall, errors = sum(found), 0
        else:
            found, wall, errors = clients.apply(load, (self.port, self.path, users, self.clients, count))
        self.seconds += found
        self.wall += wall
        self.errors += errors

    def forget(self) -> None:
        self.seconds, self.wall, self.errors = [], 0.0, 0

    def cells(self) -> list[str]:
        count = len(self.seconds)
        clients, errors = (str(self.clients), f"{self.errors} of {count:,}") if self.path else ("-", "-")
        return [self.name, clients, *percentiles(self.seconds), f"{count / self.wall:,.0f}", errors]


@contextlib.contextmanager
def _services(serving_dir: str, towers: list[list[str]]) -> Iterator[None]:
    """Serve with each tower, on a port of its own from `_PORT` on."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", "--serving-dir", serving_dir]
    servers = []
    try:
        for i, options in enumerate(towers):
            servers.append(subprocess.Popen([*command, *options, "--port", str(_PORT + i)], stderr=subprocess.DEVNULL))
        for i in range(len(towers)):
            _wait_until_ready(_PORT + i)
        yield
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def service_table(serving_dir: str, requests: int, tf_serving: list[str]) -> None:
    """Print latency and requests/s of the service, with its own tower and behind each TensorFlow Serving.

    A machine's speed drifts by a third within seconds, so that what is compared takes turns.
    """
    users = Recommender.load(serving_dir).user_ids.tolist()
    table = Table(title=f"{serving_dir}, {len(users):,} users", title_justify="left")
    for column in ("", "clients", "p50 ms", "p99 ms", "requests/s", "errors"):
        table.add_column(column, justify="right" if column else "left")
    alone = [_Row(name, function=function) for name, function in bounds(serving_dir).items()]
    alone.append(_Row("loopback HTTP round trip (/healthz)", path="/healthz", clients=1))
    alone.append(_Row("service, ten movies", path=_RECOMMEND, clients=1))
    crowds = [_Row("service, ten movies", path=_RECOMMEND, clients=n) for n in (8, 32, 64)]
    for port, url in enumerate(tf_serving, _PORT + 1):
        crowds += [_Row(f"service, tower at {url}", path=_RECOMMEND, clients=n, port=port) for n in (1, 8, 32, 64)]
    rows = alone + crowds
    towers = [[], *(["--tf-serving", url, "--timeout-s", "5"] for url in tf_serving)]
    with _services(serving_dir, towers), multiprocessing.get_context("spawn").Pool(1) as clients:
        for row in rows:
            row.measure(clients, users, 500)
            row.forget()
        for _ in track(range(_TURNS), "turns"):
            for row in alone:
                row.measure(clients, users, requests // _TURNS)
        for row in crowds:
            row.measure(clients, users, requests)
    for row in rows:
        table.add_row(*row.cells())
    _CONSOLE.print(table)


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # Not listening yet.
        time.sleep(0.2)
    raise RuntimeError("the service was not ready within two minutes")


def _plain_top(vectors: np.ndarray, users: np.ndarray, i: int) -> np.ndarray:
    return np.argpartition(-(vectors @ users[i]), 10)[:10]


def _top(search: MovieSearch, users: np.ndarray, seen: list[np.ndarray], i: int) -> np.ndarray:
    return search.top(users[i], Search(10, seen[i])).rows


def search_table(catalogue_sizes: list[int]) -> None:
    """Print the exact search beside HNSW over synthetic embeddings, a user having seen 200 movies."""
    table = Table(title=f"top 10 of synthetic {_DIM}-d embeddings", title_justify="left")
    for column in ("movies", "search", "p50 ms", "p99 ms", "recall@10", "build s"):
        table.add_column(column, justify="left" if column == "search" else "right")
    rng = np.random.default_rng(0)
    for size in catalogue_sizes:
        # Clustered, as learned embeddings are.
        centres = rng.normal(size=(500, _DIM))
        vectors = (centres[rng.integers(0, 500, size)] + 0.6 * rng.normal(size=(size, _DIM))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        users = (centres[rng.integers(0, 500, _QUERIES)] + 0.6 * rng.normal(size=(_QUERIES, _DIM))).astype(np.float32)
        users /= np.linalg.norm(users, axis=1, keepdims=True)
        seen = [rng.choice(size, _SEEN, replace=False) for _ in range(_QUERIES)]
        begin = time.perf_counter()
        index = faiss.index_factory(_DIM, "HNSW32", faiss.METRIC_INNER_PRODUCT)
        index.add(vectors)
        build = time.perf_counter() - begin
        exact, approximate = MovieSearch(vectors), MovieSearch(vectors, index)
        tops = {
            name: partial(_top, search, users, seen) for name, search in (("exact", exact), ("HNSW32", approximate))
        }
        queries = list(range(_QUERIES))
        plain = timed(partial(_plain_top, vectors, users), queries)
        table.add_row(f"{size:,}", "dot + argpartition, unmasked", *percentiles(plain), "-", "-")
        for name, top in tops.items():
            seconds = timed(top, queries)
            recall = np.mean([len(set(top(i)) & set(tops["exact"](i))) for i in queries]) / 10
            built = f"{build:.1f}" if name == "HNSW32" else "-"
            table.add_row("", name, *percentiles(seconds), f"{recall:.3f}", built)
    _CONSOLE.print(table)


def main(
    serving_dir: Annotated[str, typer.Option(help="Serving root")] = "output/serving",
    requests: Annotated[int, typer.Option(help="Requests for each number of clients")] = 20_000,
    tf_serving: Annotated[list[str] | None, typer.Option(help="A TensorFlow Serving over the same root")] = None,
    movies: Annotated[list[int], typer.Option(help="Catalogue sizes for the search")] = [87_585, 1_000_000],  # noqa: B006
) -> None:
    """Time the service and the search."""
    service_table(serving_dir, requests, tf_serving or [])
    search_table(movies)


if __name__ == "__main__":
    typer.run(main)
