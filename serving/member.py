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
from serving.lookout import Choose, LookOut
from serving.metrics import Metrics
from serving.staged import read_staged, stage
from serving.store import ServingStore
from serving.threads import abandonable
from serving.user_tower import InProcessTower, TowerError, UserTowers
from serving.versions import ServedVersion, announce, choices, chosen, prepared, served

_LOG = structlog.get_logger()
_SWAP_S = 30.0
"""In which a version that every worker has prepared must be in use."""


class _Slot:
    """A version in use of this worker, and what looks out for the next where it leads."""

    def __init__(self) -> None:
        self.current: ServedVersion | None = None
        self.prepared: ServedVersion | None = None
        self.swapped = asyncio.Event()
        """Set when another version is in use, or none."""
        self.looks: _Leading | None = None


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
        self._end, self._towers, self._metrics = end, towers, metrics
        self._main, self._share = _Slot(), canary.share if canary else 0.0
        self._slots = {c.MAIN: self._main}
        looks = towers, store, metrics, poll_s, load_timeout_s
        if canary is None:
            self._main.looks = _Leading(self, c.MAIN, self._main, *looks)
        else:
            self._slots[c.TRIED] = tried = _Slot()
            everybody, some = choices(canary, store.root, lambda: _version(self._main))
            self._main.looks = _Leading(self, c.MAIN, self._main, *looks, everybody)
            tried.looks = _Leading(self, c.TRIED, tried, *looks, some)
        self._looking: list[asyncio.Task[None]] = []
        self.problem = "a version is being loaded"
        self.looked = asyncio.Event()

    @property
    def current(self) -> ServedVersion | None:
        """The version of everybody."""
        return self._main.current

    def of(self, user_id: Id) -> ServedVersion | None:
        """Return the version that a user gets."""
        if c.TRIED not in self._slots:
            return self._main.current
        return chosen(self._main.current, self._slots[c.TRIED].current, self._share, user_id)

    async def follow(self) -> None:
        """Do as the supervisor says; end the process when that is gone."""
        self.channel = await c.Channel.open(self._end)
        try:
            while (message := await self.channel.receive()) is not None:
                await self._do(message)
            _LOG.warning("the supervisor is gone")
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for task in self._looking:
                task.cancel()
            self.channel.close()

    async def _do(self, message: c.Message) -> None:
        do, name = message["do"], message.get("slot", c.MAIN)
        slot = self._slots[name]
        assert slot.looks, "made with it"
        if do == c.PING:
            self.channel.send(c.PONG)
        elif do == c.PREPARE:
            await self._prepare(name, slot, message["version"], message["directory"])
        elif do == c.USE:
            self._use(name, slot, message["version"])
        elif do == c.DROP:
            slot.current = None
            slot.swapped.set()
            self.channel.send(c.USING, slot=name, version=None)
        elif do == c.LEAD:
            for each in self._slots.values():
                assert each.looks, "made with it"
                each.looks.directory = message["directory"]
                self._looking.append(asyncio.ensure_future(each.looks.follow()))
        elif do == c.PREPARED:
            slot.looks.take_answer(message)
        elif do == c.PROBLEM:
            self.problem = message["problem"]
            self.looked.set()
        elif do == c.DAMAGED:
            for each in self._slots.values():
                assert each.looks, "made with it"
                each.looks.report_damage(message["version"])

    async def _prepare(self, name: str, slot: _Slot, version: int, directory: str) -> None:
        problem, waits = "", False
        try:
            index, weights = await abandonable(lambda: read_staged(directory))
            tower = InProcessTower(weights) if weights else await self._towers.open(version)
            slot.prepared = await served(index, tower, self._metrics)
        except Exception as error:  # What that means for all is not decided here.
            problem, waits = str(error) or type(error).__name__, isinstance(error, TowerError) and error.waits
        self.channel.send(c.PREPARED, slot=name, version=version, problem=problem, waits=waits)

    def _use(self, name: str, slot: _Slot, version: int) -> None:
        if slot.prepared is None or slot.prepared.version != version:
            return  # It could not be prepared here, as the supervisor knows.
        before, slot.current, slot.prepared = slot.current, slot.prepared, None
        if name == c.MAIN:
            self.problem = ""
            self.looked.set()
        announce(slot.current, before, self._metrics, is_tried=name == c.TRIED)
        slot.swapped.set()
        self.channel.send(c.USING, slot=name, version=version)

    def report_damage(self, version: int) -> None:
        """Have another version taken into use: a file of this one, in use, has changed."""
        self.channel.send(c.DAMAGED, version=version)


def _version(slot: _Slot) -> int | None:
    return slot.current.version if slot.current else None


class _Leading(LookOut[int]):
    """Looks out for all workers: what it loads it stages, for each of them to map."""

    directory = ""
    """Below which versions are staged."""

    def __init__(
        self,
        member: Member,
        name: str,
        slot: _Slot,
        towers: UserTowers,
        store: ServingStore,
        metrics: Metrics,
        poll_s: float,
        load_timeout_s: float,
        choose: Choose = list,
    ) -> None:
        super().__init__(store, metrics, poll_s, load_timeout_s, choose)
        self._member, self._name, self._slot, self._towers = member, name, slot, towers
        self._asked: tuple[int, asyncio.Future[c.Message]] | None = None
        """What was staged last, and what all workers say of it."""
        self._said: str | None = None

    @property
    def in_use(self) -> int | None:
        """The version in use."""
        return _version(self._slot)

    async def refresh(self) -> None:
        """Look once, and tell all workers why there is no version in use."""
        await super().refresh()
        if self._name == c.MAIN and self.problem != self._said:
            self._said = self.problem
            self._member.channel.send(c.PROBLEM, problem=self.problem)

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
            self._member.channel.send(c.STAGED, slot=self._name, version=version, directory=directory)
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
        index = await abandonable(lambda: prepared(self._store, version))
        await served(index, tower, self._metrics)
        await abandonable(lambda: stage(directory, index, weights))

    async def _use(self, loaded: int) -> None:
        await self._tell_all(c.USE, version=loaded)

    async def _drop(self) -> None:
        await self._tell_all(c.DROP)

    async def _tell_all(self, do: str, **values: object) -> None:
        self._slot.swapped.clear()
        self._member.channel.send(do, slot=self._name, **values)
        with anyio.fail_after(_SWAP_S):
            await self._slot.swapped.wait()


def _give_back() -> None:
    """Return memory to the system that is free: the allocator keeps what a version took while it was verified."""
    with contextlib.suppress(AttributeError, OSError):  # Not of every C library.
        ctypes.CDLL(None).malloc_trim(0)
