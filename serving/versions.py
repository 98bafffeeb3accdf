"""The version in use: an index and the user tower of its version, swapped at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog
from cachetools import LRUCache

from schemas.manifest import EMBEDDING_INDEX
from schemas.vectors import Vectors
from serving.answers import Id, MovieList, Profile, Recommendation, Request
from serving.batching import Batches
from serving.catalogue import PreparedIndex
from serving.changes import Changes
from serving.index import read_index
from serving.lookout import LookOut
from serving.metrics import Metrics
from serving.ranker import Ranker, Wanted
from serving.store import ServingStore
from serving.threads import abandonable
from serving.user_tower import AsyncUserEmbedder, TowerError, UserTowers, check_probe

_LOG = structlog.get_logger()
_MOST_TOGETHER = 32
"""Requests that are answered together: others wait that long."""
_MOST_BYTES = 16 << 20
"""Ratings of known users that are kept."""
_MOST_VECTORS = 20_000
"""Known users whose vectors are kept, less than a kilobyte each."""


class ServedVersion:
    """An index and the user tower of its version. A request takes one and keeps it to the end."""

    def __init__(self, ranker: Ranker, tower: AsyncUserEmbedder, metrics: Metrics) -> None:
        """Combine both."""
        self.ranker, self.tower, self._metrics = ranker, tower, metrics
        # Of the known users who asked last: their ratings are the version's, and so are their vectors.
        self._profiles: LRUCache[Id | tuple[Id, int], Profile] = LRUCache(_MOST_BYTES, _size_of)
        self._vectors: LRUCache[Id | tuple[Id, int], Vectors] = LRUCache(_MOST_VECTORS)
        self._towers = Batches[Profile, Vectors](_MOST_TOGETHER)
        self._searches = Batches[tuple[Wanted, Vectors | None], MovieList[Recommendation]](_MOST_TOGETHER)

    @property
    def version(self) -> int:
        """The version of both."""
        return self.ranker.model_version

    def known(self, user_id: Id, changes: Changes | None = None) -> Profile:
        """Look up a known user; see `Ranker.changed`."""
        known_as = user_id if changes is None else (user_id, changes.until)
        profile = self._profiles.get(known_as)
        if profile is None:
            profile = self.ranker.changed(user_id, changes)
            if len(profile.rows) < _MOST_BYTES // 100:
                self._profiles[known_as] = profile
        return profile

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


def _size_of(profile: Profile) -> int:
    return len(profile.rows) * 8 + 500


class VersionInUse(Protocol):
    """What answers requests: the version in use, whoever looks out for the next."""

    looked: asyncio.Event
    """Set after the first look."""

    @property
    def current(self) -> ServedVersion | None:
        """The version in use; None before the first."""
        ...

    @property
    def problem(self) -> str:
        """Why there is none; empty if there is one."""
        ...

    async def follow(self) -> None:
        """Take new versions into use for ever."""
        ...

    def report_damage(self, version: int) -> None:
        """Have another version taken into use: a file of this one, in use, has changed."""
        ...


class Versions(LookOut[ServedVersion]):
    """The version in use of a process by itself: loaded beside the one before, and swapped at once."""

    def __init__(
        self, store: ServingStore, towers: UserTowers, metrics: Metrics, poll_s: float, load_timeout_s: float
    ) -> None:
        """Follow a root without loading anything yet; see `refresh`."""
        super().__init__(store, metrics, poll_s, load_timeout_s)
        self._towers = towers
        self.current: ServedVersion | None = None

    @property
    def in_use(self) -> int | None:
        """The version in use."""
        return self.current.version if self.current else None

    async def _load(self, version: int) -> ServedVersion:
        # The tower first: where TensorFlow Serving lags behind, this is the cheaper question.
        tower = await self._towers.open(version)
        index = await abandonable(lambda: prepared(self._store, version))
        return await served(index, tower, self._metrics)

    async def _use(self, loaded: ServedVersion) -> None:
        before, self.current = self.current, loaded  # Requests under way keep the old one alive until they end.
        announce(loaded, before, self._metrics)


def prepared(store: ServingStore, version: int) -> PreparedIndex:
    """Read a version's index, verify it, and prepare it with its titles.

    Raises:
      RuntimeError: Something is wrong with it.
    """
    index = PreparedIndex.of(read_index(store.directory(EMBEDDING_INDEX, version), version))
    return index.with_titles()


async def served(index: PreparedIndex, tower: AsyncUserEmbedder, metrics: Metrics) -> ServedVersion:
    """Combine an index and a tower, if that is the one of the index.

    Raises:
      TowerError: It gives no answer, or is another one.
    """
    ranker = Ranker(index)
    where = f"the user tower of version {ranker.model_version}"
    await check_probe(tower, ranker.probe_features(), ranker.manifest.probe, where)
    return ServedVersion(ranker, tower, metrics)


def announce(now: ServedVersion, before: ServedVersion | None, metrics: Metrics) -> None:
    """Tell the log and the metrics which version is in use."""
    counts = now.ranker.manifest.counts
    metrics.version.set(now.version)
    metrics.movies.set(counts["movies"])
    metrics.users.set(counts["users"])
    _LOG.info("version in use", version=now.version, before=before.version if before else None, **counts)
