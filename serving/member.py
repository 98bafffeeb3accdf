"""One of several workers: it serves the version that its supervisor names, and one of them looks out for the next."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import tempfile

import anyio
import structlog

from serving import channel as c
from serving.lookout import LookOut
from serving.metrics import Metrics
from serving.staged import read_staged, stage
from serving.store import ServingStore
from serving.threads import abandonable
from serving.user_tower import InProcessTower, TowerError, UserTowers
from serving.versions import ServedVersion, announce, prepared, served

_LOG = structlog.get_logger()
_SWAP_S = 30.0
"""In which a version that every worker has prepared must be in use."""


class Member:
    """The version in use of one worker of several; see `serving.versions.VersionInUse`."""

    def __init__(
        self,
        end: socket.socket,
        store: ServingStore,
        towers: UserTowers,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
    ) -> None:
        """Follow the supervisor at the other end of a pair of sockets."""
        self._end, self._towers, self._metrics = end, towers, metrics
        self._looks = _Leading(self, store, towers, metrics, poll_s, load_timeout_s)
        self._looking: asyncio.Task[None] | None = None
        self._prepared: ServedVersion | None = None
        self.current: ServedVersion | None = None
        self.problem = "a version is being loaded"
        self.looked = asyncio.Event()
        self.swapped = asyncio.Event()
        """Set when another version is in use."""

    async def follow(self) -> None:
        """Do as the supervisor says; end the process when that is gone."""
        self.channel = await c.Channel.open(self._end)
        try:
            while (message := await self.channel.receive()) is not None:
                await self._do(message)
            _LOG.warning("the supervisor is gone")
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            if self._looking:
                self._looking.cancel()
            self.channel.close()

    async def _do(self, message: c.Message) -> None:
        do = message["do"]
        if do == c.PING:
            self.channel.send(c.PONG)
        elif do == c.PREPARE:
            await self._prepare(message["version"], message["directory"])
        elif do == c.USE:
            self._use(message["version"])
        elif do == c.LEAD:
            self._looks.directory = message["directory"]
            self._looking = asyncio.ensure_future(self._looks.follow())
        elif do == c.PREPARED:
            self._looks.take_answer(message)
        elif do == c.PROBLEM:
            self.problem = message["problem"]
            self.looked.set()
        elif do == c.DAMAGED:
            self._looks.report_damage(message["version"])

    async def _prepare(self, version: int, directory: str) -> None:
        problem, waits = "", False
        try:
            index, weights = await abandonable(lambda: read_staged(directory))
            tower = InProcessTower(weights) if weights else await self._towers.open(version)
            self._prepared = await served(index, tower, self._metrics)
        except Exception as error:  # What that means for all is not decided here.
            problem, waits = str(error) or type(error).__name__, isinstance(error, TowerError) and error.waits
        self.channel.send(c.PREPARED, version=version, problem=problem, waits=waits)

    def _use(self, version: int) -> None:
        if self._prepared is None or self._prepared.version != version:
            return  # It could not be prepared here, as the supervisor knows.
        before, self.current, self._prepared = self.current, self._prepared, None
        self.problem = ""
        announce(self.current, before, self._metrics)
        self.looked.set()
        self.swapped.set()
        self.channel.send(c.USING, version=version)

    def report_damage(self, version: int) -> None:
        """Have another version taken into use: a file of this one, in use, has changed."""
        self.channel.send(c.DAMAGED, version=version)


class _Leading(LookOut[int]):
    """Looks out for all workers: what it loads it stages, for each of them to map."""

    directory = ""
    """Below which versions are staged."""

    def __init__(
        self,
        member: Member,
        store: ServingStore,
        towers: UserTowers,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
    ) -> None:
        super().__init__(store, metrics, poll_s, load_timeout_s)
        self._member, self._towers = member, towers
        self._answer: asyncio.Future[c.Message] | None = None
        self._said: str | None = None

    @property
    def in_use(self) -> int | None:
        """The version in use."""
        return self._member.current.version if self._member.current else None

    async def refresh(self) -> None:
        """Look once, and tell all workers why there is no version in use."""
        await super().refresh()
        if self.problem != self._said:
            self._said = self.problem
            self._member.channel.send(c.PROBLEM, problem=self.problem)

    def take_answer(self, message: c.Message) -> None:
        """Take what all workers say of what was staged."""
        if self._answer and not self._answer.done():
            self._answer.set_result(message)

    async def _load(self, version: int) -> int:
        directory = tempfile.mkdtemp(prefix=f"{version}-", dir=self.directory)
        try:
            await self._stage(version, directory)
            _give_back()
            self._answer = asyncio.get_running_loop().create_future()
            self._member.channel.send(c.STAGED, version=version, directory=directory)
            answer = await self._answer
        except BaseException:
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)
            raise
        if answer["waits"]:
            raise TowerError(answer["problem"], "not_loaded")
        if answer["problem"]:
            raise RuntimeError(answer["problem"])
        return version

    async def _stage(self, version: int, directory: str) -> None:
        # The tower first: where TensorFlow Serving lags behind, this is the cheaper question.
        tower = await self._towers.open(version)
        weights = tower.weights if isinstance(tower, InProcessTower) else None
        index = await abandonable(lambda: prepared(self._store, version))
        await served(index, tower, self._metrics)
        await abandonable(lambda: stage(directory, index, weights))

    async def _use(self, loaded: int) -> None:
        self._member.swapped.clear()
        self._member.channel.send(c.USE, version=loaded)
        with anyio.fail_after(_SWAP_S):
            await self._member.swapped.wait()


def _give_back() -> None:
    """Return memory to the system that is free: the allocator keeps what a version took while it was verified."""
    with contextlib.suppress(AttributeError, OSError):  # Not of every C library.
        ctypes.CDLL(None).malloc_trim(0)
