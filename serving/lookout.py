"""Looking for versions: picked up while serving, and refused if anything about one is wrong."""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import os
import random
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import structlog

from serving.metrics import Metrics
from serving.store import ServingStore
from serving.threads import abandonable, running
from serving.user_tower import TowerError

_Loaded = TypeVar("_Loaded")
Choose = Callable[[list[int]], list[int]]
_LOG = structlog.get_logger()
_LONGEST_PAUSE_S = 300.0
_WAIT_FOR_TOWER_S = 2.0
_PATIENCE = 0.1
"""Share of a load's time limit after which it gives way to a later version."""
_MOST_HANGING = 4


class LookOut(abc.ABC, Generic[_Loaded]):
    """Follows a serving root.

    The newest complete version that loads is taken into use. A version that is wrong is tried again after a pause that
    doubles; one whose tower is not there yet, after a short one. Until then, and whenever the root cannot be read, the
    one in use stays.
    """

    def __init__(
        self, store: ServingStore, metrics: Metrics, poll_s: float, load_timeout_s: float, choose: Choose = list
    ) -> None:
        """Follow a root without loading anything yet; see `refresh`.

        Args:
          store: The root.
          metrics: The service's.
          poll_s: Seconds between two looks.
          load_timeout_s: Seconds in which a version must be loaded.
          choose: Which of the versions that are there are looked at; all of them by default. May read files.
        """
        self._store, self._metrics, self._choose = store, metrics, choose
        self._poll_s, self._load_timeout_s = poll_s, load_timeout_s
        self._refused: dict[int, _Refusal] = {}
        self._damaged: int | None = None
        """The version in use, if a file of it has changed since."""
        self.problem = f"no model is published under {store.root}"
        """Why there is no version in use; empty if there is one."""
        self.looked = asyncio.Event()
        """Set after the first look."""

    @property
    @abc.abstractmethod
    def in_use(self) -> int | None:
        """The version in use."""

    @abc.abstractmethod
    async def _load(self, version: int) -> _Loaded:
        """Load a version and verify it."""

    @abc.abstractmethod
    async def _use(self, loaded: _Loaded) -> None:
        """Take what was loaded into use."""

    @abc.abstractmethod
    async def _drop(self) -> None:
        """Have no version in use any more: none of those that are there is meant to be."""

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
        if self.in_use == version:
            self._damaged = version

    async def refresh(self) -> None:
        """Look once, and take the newest version that loads into use."""
        try:
            with anyio.fail_after(self._load_timeout_s):
                there = await abandonable(self._store.versions)
                versions = await abandonable(lambda: self._choose(there))
        except Exception as error:  # A store's client has exceptions of its own.
            self.problem = f"the serving root cannot be read: {error or type(error).__name__}"
            _LOG.warning("serving root unreadable", error=str(error) or type(error).__name__)
            return
        in_use = self.in_use
        if there and not versions and in_use is not None:
            await self._drop()
        if not there and not self.looked.is_set():
            _LOG.warning("nothing to serve yet", reason=self.problem, folder=os.getcwd())
        self._refused = {version: refusal for version, refusal in self._refused.items() if version in versions}
        for version in reversed(versions):
            if version == in_use and version != self._damaged:
                return
            refusal = self._refused.get(version)
            if version == self._damaged or (refusal and anyio.current_time() < refusal.again_at):
                continue
            if in_use is None and not refusal:  # What was wrong with it is said until it is not.
                self.problem = f"version {version} is being loaded"
            try:
                await self._use(await self._load_in_time(version, versions[-1]))
            except _LaterVersionError:
                _LOG.info("version given up for a later one", version=version)
                return
            except Exception as error:  # Whatever is wrong with it, the version in use stays.
                self._refuse(version, error)
                continue
            self.problem, self._damaged = "", None
            self._refused.pop(version, None)
            self._metrics.swaps.inc()
            return

    async def _load_in_time(self, version: int, newest: int) -> _Loaded:
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

    def _refuse(self, version: int, error: Exception) -> None:
        before = self._refused.get(version)
        if self.in_use is None:
            # Anybody may ask for readiness: what is wrong inside of the files, and where they lie, is in the log alone.
            why = error if isinstance(error, TowerError) else "the log says why"
            self.problem = f"version {version} was refused: {why}"
        in_use = self.in_use
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
