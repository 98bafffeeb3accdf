"""One of several workers: it serves what its supervisor names, and one of them looks out for the next version."""

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
from serving.answers import Id
from serving.canary import Canary
from serving.catalogue import PreparedIndex
from serving.lookout import Choose, LookOut
from serving.metrics import Metrics
from serving.staged import read_staged, stage
from serving.store import ServingStore
from serving.threads import abandonable
from serving.user_tower import InProcessTower, TowerError, UserTowers
from serving.versions import ServedVersion, announce, choices, chosen, served

_LOG = structlog.get_logger()
_SWAP_S = 30.0
"""In which a version that every worker has prepared must be in use."""


class Member:
    """The versions in use of one worker of several; see `serving.versions.VersionInUse`."""

    def __init__(
        self,
        end: socket.socket,
        store: ServingStore,
        towers: UserTowers,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
        canary: Canary | None = None,
    ) -> None:
        """Follow the supervisor at the other end of a pair of sockets."""
        self._end, self._share = end, canary.share if canary else 0.0
        looks = store, towers, metrics, poll_s, load_timeout_s
        everybody, some = (list, None) if canary is None else choices(canary, store.root, lambda: self._main.in_use)
        self._main = _Slot(c.MAIN, *looks, everybody)
        self._tried = None if some is None else _Slot(c.TRIED, *looks, some)
        self._slots = {slot.name: slot for slot in (self._main, self._tried) if slot}
        self.problem = "a version is being loaded"
        self.looked = asyncio.Event()

    @property
    def current(self) -> ServedVersion | None:
        """The version of everybody."""
        return self._main.current

    def of(self, user_id: Id) -> ServedVersion | None:
        """Return the version that a user gets."""
        return chosen(self.current, self._tried.current if self._tried else None, self._share, user_id)

    async def follow(self) -> None:
        """Do as the supervisor says; end the process when that is gone."""
        self._channel = await c.Channel.open(self._end)
        for slot in self._slots.values():
            slot.channel = self._channel
        try:
            async with anyio.create_task_group() as tasks:
                while (message := await self._channel.receive()) is not None:
                    if message["do"] == c.LEAD:
                        for slot in self._slots.values():
                            slot.directory = message["directory"]
                            tasks.start_soon(slot.follow)
                    else:
                        await self._do(message)
                _LOG.warning("the supervisor is gone")
                os.kill(os.getpid(), signal.SIGTERM)
                tasks.cancel_scope.cancel()
        finally:
            self._channel.close()

    async def _do(self, message: c.Message) -> None:
        do, slot = message["do"], self._slots[message.get("slot", c.MAIN)]
        if do == c.PING:
            self._channel.send(c.PONG)
        elif do == c.PREPARE:
            await slot.prepare(message["version"], message["directory"])
        elif do == c.USE:
            slot.swap(message["version"])
            if self.current:
                self.problem = ""
                self.looked.set()
        elif do == c.DROP:
            slot.swap(None)
        elif do == c.PREPARED:
            slot.take_answer(message)
        elif do == c.PROBLEM:
            self.problem = message["problem"]
            self.looked.set()
        elif do == c.DAMAGED:
            for each in self._slots.values():
                each.report_damage(message["version"])

    def report_damage(self, version: int) -> None:
        """Have another version taken into use: a file of this one, in use, has changed."""
        self._channel.send(c.DAMAGED, version=version)


class _Slot(LookOut[int]):
    """A version in use of this worker; where it leads, what looks out for all: what it loads it stages for each."""

    channel: c.Channel
    """To the supervisor."""
    directory: str
    """Below which versions are staged."""

    def __init__(
        self,
        name: str,
        store: ServingStore,
        towers: UserTowers,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
        choose: Choose,
    ) -> None:
        super().__init__(store, metrics, poll_s, load_timeout_s, choose)
        self.name, self._towers = name, towers
        self.current: ServedVersion | None = None
        self._prepared: ServedVersion | None = None
        self._swapped = asyncio.Event()
        """Set when another version is in use, or none."""
        self._asked: tuple[int, asyncio.Future[c.Message]] | None = None
        """What was staged last, and what all workers say of it."""
        self._said: str | None = None

    @property
    def in_use(self) -> int | None:
        """The version in use."""
        return self.current.version if self.current else None

    async def prepare(self, version: int, directory: str) -> None:
        """Load what is staged, and say whether that went well."""
        problem, waits = "", False
        try:
            index, weights = await abandonable(lambda: read_staged(directory))
            tower = InProcessTower(weights) if weights else await self._towers.open(version)
            self._prepared = await served(index, tower, self._metrics)
        except Exception as error:  # What that means for all is not decided here.
            problem, waits = str(error) or type(error).__name__, isinstance(error, TowerError) and error.waits
        self.channel.send(c.PREPARED, slot=self.name, version=version, problem=problem, waits=waits)

    def swap(self, version: int | None) -> None:
        """Take what was prepared into use, or nothing."""
        before, prepared = self.current, self._prepared
        if version is None:
            self.current = None
        elif prepared is None or prepared.version != version:
            return  # It could not be prepared here, as the supervisor knows.
        else:
            self.current, self._prepared = prepared, None
            announce(prepared, before, self._metrics, is_tried=self.name == c.TRIED)
        self._swapped.set()
        self.channel.send(c.USING, slot=self.name, version=version)

    async def refresh(self) -> None:
        """Look once, and tell all workers why there is no version in use."""
        await super().refresh()
        if self.name == c.MAIN and self.problem != self._said:
            self._said = self.problem
            self.channel.send(c.PROBLEM, problem=self.problem)

    def take_answer(self, message: c.Message) -> None:
        """Take what all workers say of what was staged."""
        if self._asked and self._asked[0] == message["version"] and not self._asked[1].done():
            self._asked[1].set_result(message)

    async def _load(self, version: int) -> int:
        directory = tempfile.mkdtemp(prefix=f"{version}-", dir=self.directory)
        try:
            await self._stage(version, directory)
            _give_back()
            said: asyncio.Future[c.Message] = asyncio.get_running_loop().create_future()
            self._asked = version, said
            self.channel.send(c.STAGED, slot=self.name, version=version, directory=directory)
            answer = await said
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
        index = await abandonable(lambda: PreparedIndex.read(self._store, version).for_service())
        await served(index, tower, self._metrics)
        await abandonable(lambda: stage(directory, index, weights))

    async def _use(self, loaded: int) -> None:
        await self._tell_all(c.USE, version=loaded)

    async def _drop(self) -> None:
        await self._tell_all(c.DROP)

    async def _tell_all(self, do: str, **values: object) -> None:
        self._swapped.clear()
        self.channel.send(do, slot=self.name, **values)
        with anyio.fail_after(_SWAP_S):
            await self._swapped.wait()


def _give_back() -> None:
    """Return memory to the system that is free: the allocator keeps what a version took while it was verified."""
    with contextlib.suppress(AttributeError, OSError):  # Not of every C library.
        ctypes.CDLL(None).malloc_trim(0)
