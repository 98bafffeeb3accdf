"""The version in use: picked up while serving, swapped at once, and refused if anything about it is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
from collections.abc import Sequence

import anyio
import structlog
from cachetools import LRUCache

from schemas.manifest import EMBEDDING_INDEX
from schemas.vectors import Vectors
from serving.answers import Id, MovieList, Profile, Recommendation, Request
from serving.batching import Batches
from serving.catalogue import PreparedIndex
from serving.index import read_index
from serving.metrics import Metrics
from serving.ranker import Ranker, Wanted
from serving.store import ServingStore
from serving.threads import abandonable, running
from serving.user_tower import AsyncUserEmbedder, TowerError, UserTowers, check_probe

_LOG = structlog.get_logger()
_LONGEST_PAUSE_S = 300.0
_WAIT_FOR_TOWER_S = 2.0
_PATIENCE = 0.1
"""Share of a load's time limit after which it gives way to a later version."""
_MOST_HANGING = 4
_MOST_TOGETHER = 32
"""Requests that are answered together: others wait that long."""
_MOST_VECTORS = 20_000
"""Known users whose vectors are kept, less than a kilobyte each."""


class ServedVersion:
    """An index and the user tower of its version. A request takes one and keeps it to the end."""

    def __init__(self, ranker: Ranker, tower: AsyncUserEmbedder, metrics: Metrics) -> None:
        """Combine both."""
        self.ranker, self.tower, self._metrics = ranker, tower, metrics
        # Of the known users who asked last: their ratings are the version's, and so are their vectors.
        self._vectors: LRUCache[Id, Vectors] = LRUCache(_MOST_VECTORS)
        self._towers = Batches[Profile, Vectors](_MOST_TOGETHER)
        self._searches = Batches[tuple[Wanted, Vectors | None], MovieList[Recommendation]](_MOST_TOGETHER)

    @property
    def version(self) -> int:
        """The version of both."""
        return self.ranker.model_version

    async def recommend(self, profile: Profile, request: Request) -> MovieList[Recommendation]:
        """Recommend movies to a user as `Ranker.rank` does, together with others who ask at the same time.

        Raises:
          TowerError: The user tower gave no answer.
          ValueError: The request is out of range.
        """
        wanted = self.ranker.wanted(profile, request)
        user = None
        if wanted.is_personal:
            user = None if profile.known_as is None else self._vectors.get(profile.known_as)
            if user is None:
                user = await self._towers.ask(profile, self._embedded)
        return await self._searches.ask((wanted, user), self._ranked)

    async def _embedded(self, profiles: Sequence[Profile]) -> list[Vectors]:
        with self._metrics.stage.labels("features").time():
            features = self.ranker.features(profiles)
        try:
            with self._metrics.stage.labels("tower").time():
                found = [*await self.tower.embed(features)]
        except TowerError as error:
            self._metrics.tower_errors.labels(error.kind).inc()
            raise
        for profile, user in zip(profiles, found, strict=True):
            if profile.known_as is not None:
                self._vectors[profile.known_as] = user
        return found

    async def _ranked(self, wanted: Sequence[tuple[Wanted, Vectors | None]]) -> list[MovieList[Recommendation]]:
        with self._metrics.stage.labels("search").time():
            return self.ranker.rank_many([each for each, _ in wanted], [user for _, user in wanted])


class Versions:
    """Follows a serving root.

    The newest complete version that loads is in use. A version that is wrong is tried again after a pause that doubles;
    one whose tower is not there yet, after a short one. Until then, and whenever the root cannot be read, the one in
    use stays.
    """

    def __init__(
        self, serving_dir: str, towers: UserTowers, metrics: Metrics, poll_s: float, load_timeout_s: float
    ) -> None:
        """Follow a root without loading anything yet; see `refresh`."""
        self._store, self._towers, self._metrics = ServingStore(serving_dir), towers, metrics
        self._poll_s, self._load_timeout_s = poll_s, load_timeout_s
        self._refused: dict[int, _Refusal] = {}
        self._damaged: int | None = None
        """The version in use, if a file of it has changed since."""
        self.current: ServedVersion | None = None
        self.problem = f"no model is published under {serving_dir}"
        self.looked = asyncio.Event()
        """Set after the first look."""

    async def follow(self) -> None:
        """Look for versions for ever."""
        while True:
            await self.refresh()
            self.looked.set()
            await anyio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        if not any(refusal.waiting for refusal in self._refused.values()):
            return self._poll_s
        # Services that started together do not come back together.
        return min(self._poll_s, _WAIT_FOR_TOWER_S) * random.uniform(0.5, 1.5)

    def report_damage(self, version: int) -> None:
        """Take another version into use at the next look: a file of this one, in use, has changed."""
        if self.current and self.current.version == version:
            self._damaged = version

    async def refresh(self) -> None:
        """Look once, and take the newest version that loads into use."""
        try:
            with anyio.fail_after(self._load_timeout_s):
                versions = await abandonable(self._store.versions)
        except Exception as error:  # A store's client has exceptions of its own.
            self.problem = f"the serving root cannot be read: {error or type(error).__name__}"
            _LOG.warning("serving root unreadable", error=str(error) or type(error).__name__)
            return
        in_use = self.current.version if self.current else None
        if not versions and not self.looked.is_set():
            _LOG.warning("nothing to serve yet", reason=self.problem, folder=os.getcwd())
        self._refused = {version: refusal for version, refusal in self._refused.items() if version in versions}
        for version in reversed(versions):
            if version == in_use and version != self._damaged:
                return
            refusal = self._refused.get(version)
            if version == self._damaged or (refusal and anyio.current_time() < refusal.again_at):
                continue
            if self.current is None and not refusal:  # What was wrong with it is said until it is not.
                self.problem = f"version {version} is being loaded"
            try:
                loaded = await self._load_in_time(version, versions[-1])
            except _LaterVersionError:
                _LOG.info("version given up for a later one", version=version)
                return
            except Exception as error:  # Whatever is wrong with it, the version in use stays.
                self._refuse(version, error)
                continue
            self._use(loaded)
            return

    async def _load_in_time(self, version: int, newest: int) -> ServedVersion:
        """Load a version, unless it takes too long, or a later one than the newest of this look appears."""
        if running() >= _MOST_HANGING:
            raise RuntimeError(f"{_MOST_HANGING} other loads hang; look at the disk under {self._store.root}")
        begin = anyio.current_time()
        load = asyncio.ensure_future(self._load(version))
        try:
            while True:
                await asyncio.wait({load}, timeout=min(self._poll_s, self._load_timeout_s))
                if load.done():
                    return load.result()
                seconds = anyio.current_time() - begin
                if seconds > self._load_timeout_s:
                    raise TimeoutError(f"it was not loaded within {self._load_timeout_s:g} s")
                if seconds > _PATIENCE * self._load_timeout_s:
                    latest = await abandonable(self._store.latest)
                    if latest is not None and latest > newest:
                        raise _LaterVersionError
        finally:
            load.cancel()

    async def _load(self, version: int) -> ServedVersion:
        # The tower first: where TensorFlow Serving lags behind, this is the cheaper question.
        tower = await self._towers.open(version)
        directory = self._store.directory(EMBEDDING_INDEX, version)

        def read() -> Ranker:
            ranker = Ranker(PreparedIndex.of(read_index(directory, version)))
            ranker.prepare()
            return ranker

        ranker = await abandonable(read)
        await check_probe(tower, ranker.probe_features(), ranker.manifest.probe, f"the user tower of version {version}")
        return ServedVersion(ranker, tower, self._metrics)

    def _use(self, loaded: ServedVersion) -> None:
        before, self.current = self.current, loaded  # Requests under way keep the old one alive until they end.
        self.problem, self._damaged = "", None
        self._refused.pop(loaded.version, None)
        counts = loaded.ranker.manifest.counts
        self._metrics.version.set(loaded.version)
        self._metrics.movies.set(counts["movies"])
        self._metrics.users.set(counts["users"])
        self._metrics.swaps.inc()
        _LOG.info("version in use", version=loaded.version, before=before.version if before else None, **counts)

    def _refuse(self, version: int, error: Exception) -> None:
        before = self._refused.get(version)
        if self.current is None:
            # Anybody may ask for readiness: what is wrong inside of the files, and where they lie, is in the log alone.
            why = error if isinstance(error, TowerError) else "the log says why"
            self.problem = f"version {version} was refused: {why}"
        in_use = self.current.version if self.current else None
        if isinstance(error, TowerError) and error.waits:
            if not before or not before.waiting:
                self._metrics.refused.inc()
                _LOG.warning("version waits for its user tower", version=version, reason=str(error), in_use=in_use)
            self._refused[version] = _Refusal(0.0, 0.0, waiting=True)
            return
        pause_s = min(2 * before.pause_s, _LONGEST_PAUSE_S) if before and before.pause_s else self._poll_s
        self._refused[version] = _Refusal(pause_s, anyio.current_time() + pause_s)
        self._metrics.refused.inc()
        _LOG.error("version refused", version=version, reason=str(error), in_use=in_use, next_try_s=pause_s)


@dataclasses.dataclass(frozen=True)
class _Refusal:
    pause_s: float
    again_at: float
    waiting: bool = False
    """For its user tower, which another process loads."""


class _LaterVersionError(RuntimeError):
    """A later version has appeared while one was loading."""
