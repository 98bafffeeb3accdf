"""The service beside its lower bound: latency, requests/s, and the search of larger catalogues.

    python -m benchmarks.serving --serving-dir output/serving [--requests 20000] [--workers 1 --workers 2 --workers 4]
        [--tf-serving http://localhost:8501 --tf-serving grpc://localhost:8500]

The bound is what a hand-made script does in process for one user: the user tower's call, a NumPy dot product with all
movies and an argpartition; no HTTP, no masking, no titles. Clients run in a process of their own, on loopback, each
with one connection that it keeps, and take about 30 microseconds a request of the cores that the service has as well.
Memory is the proportional set size of all processes of a service, after the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import http.client
import multiprocessing
import multiprocessing.pool
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, cast

import faiss
import numpy as np
import psutil
import tensorflow as tf
import typer
import uvloop
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
_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_TURNS = 20
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


class _Client(asyncio.Protocol):
    """One connection, which asks for the next path as soon as it has the answer to the one before."""

    def __init__(self, paths: Iterator[str], found: list[tuple[bool, float]], ended: asyncio.Future[None]) -> None:
        self._paths, self._found, self._ended = paths, found, ended
        self._read, self._length = b"", -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        path = next(self._paths, None)
        if path is None:
            self._transport.close()
            return
        self._begin = time.perf_counter()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if self._length < 0 and end >= 0:
            length = _CONTENT_LENGTH.search(self._read[: end + 2])
            self._length = end + 4 + int(length[1] if length else 0)
        if 0 <= self._length <= len(self._read):
            self._found.append((self._read[9:12] == b"200", time.perf_counter() - self._begin))
            self._read, self._length = self._read[self._length :], -1
            self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set_result(None)


def load(port: int, path: str, users: list[int], clients: int, requests: int) -> tuple[list[float], float, int]:
    """Send requests; return the seconds of each, those of all together, and the number of errors."""
    found: list[tuple[bool, float]] = []
    paths = (path.format(user=users[i % len(users)]) for i in range(requests))

    async def run() -> float:
        loop, begin = asyncio.get_running_loop(), time.perf_counter()
        ended = [loop.create_future() for _ in range(clients)]
        for each in ended:
            await loop.create_connection(functools.partial(_Client, paths, found, each), "127.0.0.1", port)
        await asyncio.gather(*ended)
        return time.perf_counter() - begin

    uvloop.install()
    wall = asyncio.run(run())
    return [seconds for _, seconds in found], wall, requests - sum(is_right for is_right, _ in found)


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
            asked = self.port, self.path, users, self.clients, count
            found, wall, errors = clients.apply(load, asked)
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
def _services(serving_dir: str, variants: list[list[str]]) -> Iterator[list[psutil.Process]]:
    """Serve with each choice of options, on a port of its own from `_PORT` on."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", "--serving-dir", serving_dir]
    servers: list[psutil.Process] = []
    try:
        for i, options in enumerate(variants):
            servers.append(psutil.Popen([*command, *options, "--port", str(_PORT + i)], stderr=subprocess.DEVNULL))
        for i in range(len(variants)):
            _wait_until_ready(_PORT + i)
        yield servers
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def _memory(server: psutil.Process) -> int:
    """Return the proportional set size of a service in MiB."""
    return sum(process.memory_full_info().pss for process in [server, *server.children(recursive=True)]) >> 20


def service_table(serving_dir: str, requests: int, tf_serving: list[str], workers: list[int]) -> None:
    """Print latency and requests/s of the service by its workers, and behind each TensorFlow Serving.

    A machine's speed drifts by a third within seconds, so that what is compared takes turns.
    """
    users = Recommender.load(serving_dir).user_ids.tolist()
    table = Table(title=f"{serving_dir}, {len(users):,} users", title_justify="left")
    for column in ("", "clients", "p50 ms", "p99 ms", "requests/s", "errors"):
        table.add_column(column, justify="right" if column else "left")
    rows = [_Row(name, function=function) for name, function in bounds(serving_dir).items()]
    anew = ["--kept-lists-mb", "0"]
    variants = {
        **{f"workers: {number}": ["--workers", str(number), *anew] for number in workers},
        f"workers: {workers[-1]}, lists kept": ["--workers", str(workers[-1])],
        **{f"tower at {url}": ["--tf-serving", url, "--timeout-s", "5", *anew] for url in tf_serving},
    }
    for port, name in enumerate(variants, _PORT):
        for clients in (1, 8, 32):
            rows.append(_Row(f"/healthz, {name}", path="/healthz", clients=clients, port=port))
            rows.append(_Row(f"ten movies, {name}", path=_RECOMMEND, clients=clients, port=port))
    with _services(serving_dir, [*variants.values()]) as servers, multiprocessing.get_context("spawn").Pool(1) as pool:
        for row in rows:
            row.measure(pool, users, 500)
            row.forget()
        for _ in track(range(_TURNS), "turns"):
            for row in rows:
                row.measure(pool, users, requests // _TURNS)
        memory = [_memory(server) for server in servers]
    for row in rows:
        table.add_row(*row.cells())
    _CONSOLE.print(table)
    for name, found in zip(variants, memory, strict=True):
        _CONSOLE.print(f"{name}: {found:,} MiB, {found / memory[0]:.2f} of the first")


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
    workers: Annotated[list[int], typer.Option(help="Numbers of workers to serve with")] = [1, 2],  # noqa: B006
    movies: Annotated[list[int], typer.Option(help="Catalogue sizes for the search")] = [87_585, 1_000_000],  # noqa: B006
) -> None:
    """Time the service and the search."""
    service_table(serving_dir, requests, tf_serving or [], workers)
    search_table(movies)


if __name__ == "__main__":
    typer.run(main)
