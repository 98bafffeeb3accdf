"""The version in use: an index and the user tower of its version, swapped at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import structlog
from cachetools import LRUCache

from schemas.vectors import Vectors
from serving.answers import Id, MovieList, Profile, Recommendation, Request
from serving.batching import Batches
from serving.canary import Canary, is_tried, read_decisions
from serving.catalogue import PreparedIndex
from serving.changes import Changes
from serving.lookout import Choose, LookOut
from serving.metrics import Metrics
from serving.ranker import Ranker, Wanted
from serving.store import ServingStore
from serving.threads import abandonable
from serving.tracing import span
from serving.user_tower import AsyncUserEmbedder, InProcessTower, TowerError, UserTowers, check_probe

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
        """Look up a known user; see `Profiles.changed`."""
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
        with self._metrics.stage.labels("features").time(), span("features", len(profiles)):
            features = self.ranker.features(profiles)
        try:
            with self._metrics.stage.labels("tower").time(), span("tower", len(profiles)):
                found = [*await self.tower.embed(features)]
        except TowerError as error:
            self._metrics.tower_errors.labels(error.kind).inc()
            raise
        for profile, user in zip(profiles, found, strict=True):
            if profile.known_as is not None:
                self._vectors[profile.known_as] = user
        return found

    async def _ranked(self, wanted: Sequence[tuple[Wanted, Vectors | None]]) -> list[MovieList[Recommendation]]:
        with self._metrics.stage.labels("search").time(), span("search", len(wanted)):
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

    def of(self, user_id: Id) -> ServedVersion | None:
        """Return the version that a user gets; None before the first."""
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
        self,
        store: ServingStore,
        towers: UserTowers,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
        choose: Choose = list,
        is_tried: bool = False,
    ) -> None:
        """Follow a root without loading anything yet; see `LookOut`."""
        super().__init__(store, metrics, poll_s, load_timeout_s, choose)
        self.is_tried = is_tried
        self._towers = towers
        self.current: ServedVersion | None = None

    @property
    def in_use(self) -> int | None:
        """The version in use."""
        return self.current.version if self.current else None

    async def _load(self, version: int) -> ServedVersion:
        # The tower first: where TensorFlow Serving lags behind, this is the cheaper question.
        tower = await self._towers.open(version)
        index = await abandonable(lambda: PreparedIndex.read(self._store, version).for_service())
        return await served(index, tower, self._metrics)

    async def _use(self, loaded: ServedVersion) -> None:
        before, self.current = self.current, loaded  # Requests under way keep the old one alive until they end.
        announce(loaded, before, self._metrics, self.is_tried)

    async def _drop(self) -> None:
        self.current = None

    def of(self, user_id: Id) -> ServedVersion | None:
        """Return the version in use, whoever the user is."""
        return self.current


class Trial:
    """Two versions in use: one for a share of the users, and one for the others and for whoever does not say who asks.

    Args:
      canary: Which version is tried, and with whom.
      main: What looks out for the version of everybody.
      tried: What looks out for the one that is tried.
    """

    def __init__(self, canary: Canary, main: Versions, tried: Versions) -> None:
        """See the class."""
        self._share, self._main, self._tried = canary.share, main, tried
        self.looked = main.looked

    @property
    def current(self) -> ServedVersion | None:
        """The version of everybody."""
        return self._main.current

    @property
    def problem(self) -> str:
        """Why there is none."""
        return self._main.problem

    def of(self, user_id: Id) -> ServedVersion | None:
        """Return the version that a user gets."""
        return chosen(self._main.current, self._tried.current, self._share, user_id)

    async def follow(self) -> None:
        """Look for versions for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._main.follow)
            tasks.start_soon(self._tried.follow)

    def report_damage(self, version: int) -> None:
        """Take another version into use at the next look."""
        self._main.report_damage(version)
        self._tried.report_damage(version)


def chosen(main: ServedVersion | None, tried: ServedVersion | None, share: float, user_id: Id) -> ServedVersion | None:
    """Return which of two versions a user gets."""
    if tried is None or main is None:
        return main
    # However a number is written, it is one user.
    name = str(user_id).lstrip("0") if str(user_id).isdigit() else str(user_id)
    return tried if is_tried(name, tried.version, share) else main


def choices(canary: Canary, root: str, main_in_use: Callable[[], int | None]) -> tuple[Choose, Choose]:
    """Return what chooses the versions of everybody, and those to be tried.

    Args:
      canary: Which version is tried.
      root: The serving root, where decisions are noted.
      main_in_use: Tells which version everybody gets.
    """

    def everybody(versions: list[int]) -> list[int]:
        return canary.split(versions, read_decisions(root))[0]

    def tried(versions: list[int]) -> list[int]:
        decisions = read_decisions(root)
        main, some, _ = canary.split(versions, decisions)
        newest = max(main, default=0)
        if not some and decisions.get(newest, 0.0) >= 1 and main_in_use() not in (None, newest):
            return [newest]  # It has won: its users keep it until everybody has it.
        return some

    return everybody, tried


async def served(index: PreparedIndex, tower: AsyncUserEmbedder, metrics: Metrics) -> ServedVersion:
    """Combine an index and a tower, if that is the one of the index.

    Raises:
      TowerError: It gives no answer, or is another one.
    """
    ranker = Ranker(index)
    where = f"the user tower of version {ranker.model_version}"
    await check_probe(tower, ranker.probe_features(), ranker.manifest.probe, where)
    if isinstance(tower, InProcessTower):
        tower.observe = metrics.observe_features
    return ServedVersion(ranker, tower, metrics)


def announce(now: ServedVersion, before: ServedVersion | None, metrics: Metrics, is_tried: bool = False) -> None:
    """Tell the log and the metrics which version is in use."""
    counts = now.ranker.manifest.counts
    if is_tried:
        metrics.tried.set(now.version)
        _LOG.info("version tried", version=now.version, before=before.version if before else None)
        return
    metrics.version.set(now.version)
    metrics.movies.set(counts["movies"])
    metrics.users.set(counts["users"])
    _LOG.info("version in use", version=now.version, before=before.version if before else None, **counts)
