"""Where user embeddings come from: small protocols, the tower in this process, and what can go wrong with any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import fsspec
import numpy as np
from anyio.from_thread import start_blocking_portal

from schemas import numpy_tower
from schemas import signatures as s
from schemas.manifest import EMBEDDING_INDEX, SAVED_MODEL_FILE, USER_TOWER_FILE, sha256
from schemas.numpy_tower import NumpyTower
from schemas.user_features import Features, no_ratings
from schemas.vectors import Vectors
from serving.index import check_digest, check_regular, constants_of, read_manifest
from serving.index_checks import check_names
from serving.store import ServingStore
from serving.threads import abandonable

_PROBE_TOLERANCE = 1e-3
_UNIT_TOLERANCE = 1e-2


class UserEmbedder(Protocol):
    """Embeds raw user features with one version of the user tower."""

    def embed(self, features: Features) -> Vectors:
        """Embed users: `[batch, dim]` each."""
        ...


class AsyncUserEmbedder(Protocol):
    """The same for a service, which does not wait idly for a tower behind a network."""

    async def embed(self, features: Features) -> Vectors:
        """Embed users: `[batch, dim]` each.

        Raises:
          TowerError: There is no answer, or none that can be used.
        """
        ...


class UserTowers(Protocol):
    """A place where user towers of several versions live."""

    async def open(self, version: int) -> AsyncUserEmbedder:
        """Return the tower of a version, pinned to it.

        Raises:
          TowerError: The version is not there, or not yet.
        """
        ...

    @property
    def retry_after_s(self) -> float:
        """Seconds until a tower that fails is asked again; 0 while nothing fails."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class TowerError(RuntimeError):
    """The user tower gave no answer that can be used."""

    def __init__(
        self, message: str, kind: str, retry_after_s: float = 1.0, transient: bool = False, ended: bool = False
    ) -> None:
        """Describe the failure.

        Args:
          message: What happened, where, and what to do.
          kind: One of `connection`, `timeout`, `circuit_open`, `not_loaded`, `refused`, `answer`: a metric's label.
          retry_after_s: When to ask again, in seconds.
          transient: Whether asking again at once may help.
          ended: Whether a connection that had worked was ended: of a new one nothing is known.
        """
        super().__init__(message)
        self.kind, self.retry_after_s, self.transient, self.ended = kind, retry_after_s, transient, ended

    @property
    def waits(self) -> bool:
        """Whether the tower is not there, or not yet; otherwise it is there and wrong."""
        return self.kind in ("connection", "timeout", "circuit_open", "not_loaded")


def check_answer(outputs: Mapping[str, np.ndarray], batch: int, where: str) -> Vectors:
    """Return a tower's outputs if they are `[batch, dim]` unit vectors.

    Raises:
      TowerError: They are not.
    """
    for name in (s.USER_EMBEDDING, s.USER_RATING_VECTOR):
        if name not in outputs:
            raise TowerError(f"{where} answered no {name} but {sorted(outputs)}", "answer")
    vectors = Vectors(outputs[s.USER_EMBEDDING], outputs[s.USER_RATING_VECTOR])
    for values in (vectors.embeddings, vectors.rating_vectors):
        if values.ndim != 2 or len(values) != batch:
            raise TowerError(f"{where} answered {values.shape} to a batch of {batch}", "answer")
        if not (np.abs(np.linalg.norm(values, axis=1) - 1) < _UNIT_TOLERANCE).all():
            raise TowerError(f"{where} answered vectors that are no unit vectors", "answer")
    return vectors


def is_probe(answer: np.ndarray, expected: Sequence[float]) -> bool:
    """Whether an answer to the probe, `[dim]`, is the one in a manifest, in every number within 0.001."""
    return len(answer) == len(expected) and bool(np.abs(answer - np.array(expected)).max() <= _PROBE_TOLERANCE)


async def check_probe(tower: AsyncUserEmbedder, features: Features, expected: list[float], where: str) -> None:
    """Compare a tower with the embedding that was recorded when its version was published.

    Raises:
      TowerError: It is another tower: the index and it must never be used together.
    """
    (answer,) = (await tower.embed(features)).embeddings
    if not is_probe(answer, expected):
        raise TowerError(
            f"{where} serves another user tower under this version's number; let it watch the same serving root",
            "answer",
        )


def read_user_tower(index_dir: str, tower_dir: str) -> NumpyTower:
    """Load a version's tower and verify that all of it is as it was published, what TensorFlow Serving loads as well.

    Args:
      index_dir: The version's index, local or behind a URI.
      tower_dir: Its user tower, likewise.

    Raises:
      FormatError: The version is of another format.
      RuntimeError: A file is missing or damaged, or the tower is another model's than the index.
    """
    manifest, file = read_manifest(index_dir), f"{index_dir}/{USER_TOWER_FILE}"
    try:
        if SAVED_MODEL_FILE not in manifest.tower_files:
            raise ValueError(f"the manifest has no digest of its {SAVED_MODEL_FILE}")
        check_names(manifest.tower_files)
        check_regular(tower_dir)
        for name, digest in manifest.tower_files.items():
            check_digest(f"{tower_dir}/{name}", sha256(f"{tower_dir}/{name}"), digest)
        with fsspec.open(file, "rb") as opened:
            blob = opened.read()
        check_digest(file, hashlib.sha256(blob).hexdigest(), manifest.files.get(USER_TOWER_FILE, ""))
        tower = numpy_tower.load(blob, manifest.domain)
        answer = tower.embed(no_ratings(constants_of(manifest))).embeddings[0]
    except OSError as error:
        raise RuntimeError(
            f"{error.filename or tower_dir} cannot be read: {error}. Publish the version again"
        ) from None
    except ValueError as error:
        raise RuntimeError(f"the user tower in {file} makes no sense: {error}. Publish again") from error
    if not is_probe(answer, manifest.probe):
        raise RuntimeError(f"the user tower in {file} is another model's than its index. Publish again")
    return tower


def tower_of(store: ServingStore, version: int) -> NumpyTower:
    """Load the tower of a published version; see `read_user_tower`."""
    return read_user_tower(*(store.directory(kind, version) for kind in (EMBEDDING_INDEX, s.USER_TOWER)))


class InProcessTower:
    """A version's tower in this process."""

    def __init__(self, weights: NumpyTower) -> None:
        """Wrap it."""
        self.weights = weights
        self.observe: Callable[[Mapping[str, np.ndarray]], object] = lambda z_scores: None
        """Gets what `NumpyTower.z_scores` says of users who are embedded."""

    async def embed(self, features: Features) -> Vectors:
        """Embed users; see `AsyncUserEmbedder`."""
        scores = self.weights.standardised(features)
        self.observe(self.weights.z_scores(scores))
        # Below a millisecond: shorter than the way to a thread and back is worth.
        return self.weights.embed(features, scores)


class InProcessUserTowers:
    """User towers of a serving root in this process: the default of the service."""

    retry_after_s = 0.0

    def __init__(self, store: ServingStore) -> None:
        self._store = store

    async def open(self, version: int) -> AsyncUserEmbedder:
        """Load a version's tower in a thread."""
        return InProcessTower(await abandonable(lambda: tower_of(self._store, version)))

    async def close(self) -> None:
        """Nothing is open."""


class BlockingUserTower:
    """A version's tower behind a network for `Recommender`, which waits for it."""

    def __init__(self, towers: UserTowers, version: int) -> None:
        """Open the version; an event loop in a thread serves it until `close`."""
        self._towers, self._loop = towers, start_blocking_portal()
        self._portal = self._loop.__enter__()
        try:
            self._tower = self._portal.call(towers.open, version)
        except BaseException:
            self.close()
            raise

    def embed(self, features: Features) -> Vectors:
        """Embed users; see `UserEmbedder`."""
        return self._portal.call(self._tower.embed, features)

    def close(self) -> None:
        """Release the connections and the thread."""
        self._portal.call(self._towers.close)
        self._loop.__exit__(None, None, None)
