"""The version in use: picked up while serving, swapped at once, and refused if anything about it is wrong."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import anyio
import structlog
from anyio import to_thread

from schemas.manifest import EMBEDDING_INDEX
from serving.answers import Profile, Recommendation, Request
from serving.index import read_index
from serving.metrics import Metrics
from serving.ranker import Ranker
from serving.store import ServingStore
from serving.user_tower import AsyncUserEmbedder, TowerError, UserTowers, check_probe

_LOG = structlog.get_logger()
_LONGEST_PAUSE_S = 300.0


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """An index and the user tower of its version. A request takes one and keeps it to the end."""

    ranker: Ranker
    tower: AsyncUserEmbedder
    metrics: Metrics

    @property
    def version(self) -> int:
        """The version of both."""
        return self.ranker.model_version

    async def recommend(self, profile: Profile, request: Request) -> list[Recommendation]:
        """Recommend movies; see `Ranker.rank`.

        Raises:
          TowerError: The user tower gave no answer.
          ValueError: The request is out of range.
        """
        user = None
        if len(profile.rows):
            with self.metrics.stage.labels("features").time():
                features = self.ranker.features([profile])
            try:
                with self.metrics.stage.labels("tower").time():
                    user = (await self.tower.embed(features))[0]
            except TowerError as error:
                self.metrics.tower_errors.labels(error.kind).inc()
                raise
        with self.metrics.stage.labels("search").time():
            return self.ranker.rank(profile, user, request)


class Versions:
    """Follows a serving root.

    The newest complete version that loads is in use. A version that does not load is tried again after a pause that
    doubles; until then, and whenever the root cannot be read, the one in use stays.
    """

    def __init__(self, serving_dir: str, towers: UserTowers, metrics: Metrics, poll_s: float) -> None:
        """Follow a root without loading anything yet; see `refresh`."""
        self._store, self._towers, self._metrics, self._poll_s = ServingStore(serving_dir), towers, metrics, poll_s
        self._refused: dict[int, _Refusal] = {}
        self._leaving: weakref.ref[Ranker] | None = None
        """The version before, until the last request that has it ends."""
        self.current: ServedVersion | None = None
        self.problem = f"no model is published under {serving_dir}"

    async def follow(self) -> None:
        """Look for versions for ever."""
        while True:
            await anyio.sleep(self._poll_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once, and take the newest version that loads into use."""
        if self._leaving and self._leaving() is None:
            # A tower's graph refers to itself: megabytes in a few objects, for which Python's collector sees no hurry.
            await to_thread.run_sync(gc.collect)
            self._leaving = None
        try:
            versions = await to_thread.run_sync(self._store.versions)
        except Exception as error:  # A store's client has exceptions of its own.
            self.problem = f"the serving root cannot be read: {error}"
            _LOG.warning("serving root unreadable", error=str(error))
            return
        in_use = self.current.version if self.current else None
        self._refused = {version: refusal for version, refusal in self._refused.items() if version in versions}
        for version in reversed(versions):
            if version == in_use:
                return
            refusal = self._refused.get(version)
            if refusal and anyio.current_time() < refusal.again_at:
                continue
            try:
                loaded = await self._load(version)
            except Exception as error:  # Whatever is wrong with it, the version in use stays.
                self._refuse(version, error)
                continue
            self._use(loaded)
            return

    async def _load(self, version: int) -> ServedVersion:
        # The tower first: where TensorFlow Serving lags behind, this is the cheaper question.
        tower = await self._towers.open(version)
        directory = self._store.directory(EMBEDDING_INDEX, version)
        ranker = await to_thread.run_sync(lambda: Ranker(read_index(directory)))
        if ranker.model_version != version:
            raise RuntimeError(f"{directory} says that it is version {ranker.model_version}. Publish the version again")
        await check_probe(tower, ranker.probe_features(), ranker.manifest.probe, f"the user tower of version {version}")
        return ServedVersion(ranker, tower, self._metrics)

    def _use(self, loaded: ServedVersion) -> None:
        before, self.current = self.current, loaded  # Requests under way keep the old one alive until they end.
        if before:
            self._leaving = weakref.ref(before.ranker)
        self.problem = ""
        self._refused.pop(loaded.version, None)
        counts = loaded.ranker.manifest.counts
        self._metrics.version.set(loaded.version)
        self._metrics.movies.set(counts["movies"])
        self._metrics.users.set(counts["users"])
        self._metrics.swaps.inc()
        _LOG.info("version in use", version=loaded.version, before=before.version if before else None, **counts)

    def _refuse(self, version: int, error: Exception) -> None:
        before = self._refused.get(version)
        pause_s = min(2 * before.pause_s, _LONGEST_PAUSE_S) if before else self._poll_s
        self._refused[version] = _Refusal(pause_s, anyio.current_time() + pause_s)
        self._metrics.refused.inc()
        if self.current is None:
            # Anybody may ask for readiness: what is wrong inside of the files, and where they lie, is in the log alone.
            why = error if isinstance(error, TowerError) else "the log says why"
            self.problem = f"version {version} was refused: {why}"
        _LOG.error(
            "version refused",
            version=version,
            reason=str(error),
            in_use=self.current.version if self.current else None,
            next_try_s=pause_s,
        )


@dataclasses.dataclass(frozen=True)
class _Refusal:
    pause_s: float
    again_at: float
