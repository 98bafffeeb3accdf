"""Several workers behind one port: started, watched and started again, and of one version at any time.

The workers are forked from a process that has imported everything, and map one copy of the version, which the one that
leads has verified, prepared and staged in a directory of this process. A version is in use once all of them have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import multiprocessing.util
import os
import pathlib
import shutil
import signal
import socket
import time
from multiprocessing.context import ForkServerProcess

import structlog

from schemas.scratch import scratch
from serving import channel as c
from serving.config import METRICS_DIR, ServiceConfig, TowerConfig
from serving.process import BLAS_THREADS, configure_logs, run_server

_LOG = structlog.get_logger()
_BACKLOG = 2048
_PING_S, _HUNG_S = 10.0, 60.0
_SHORT_LIFE_S, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 0.5, 30.0
"""A worker that ends within that is started again after a pause, which doubles."""
_END_S = 10.0
"""What a worker may take to end beyond the time for requests under way."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """What a worker runs."""

    serving_dir: str
    service: ServiceConfig
    tower: TowerConfig

    def run(self, listener: socket.socket, end: socket.socket) -> None:
        """Serve until told to stop, or the supervisor at the other end is gone."""
        # The process that workers are forked from has imported it; this one has no use for it.
        from serving.app import create_app

        signal.signal(signal.SIGINT, signal.default_int_handler)  # That process ignores it.
        configure_logs(self.service.log_level)
        try:
            app = create_app(self.serving_dir, self.service, self.tower, supervisor=end)
        except ValueError as error:  # A setting that cannot be used: nobody else can use it either.
            end.sendall(json.dumps({"do": c.FAILED, "problem": str(error)}).encode() + b"\n")
            return
        run_server(app, self.service, listener)


def supervise(serving_dir: str, service: ServiceConfig, tower: TowerConfig, listener: socket.socket) -> None:
    """Serve with several workers until SIGINT or SIGTERM.

    Args:
      serving_dir: Path or URI of the served versions.
      service: Configuration of the service.
      tower: Where the user tower is.
      listener: A socket that is bound and not listening yet.

    Raises:
      ValueError: A setting cannot be used.
    """
    multiprocessing.util.get_temp_dir()  # Its own, which it removes itself at the end.
    with scratch() as directory:
        os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, _cores() // service.workers)))
        for name in BLAS_THREADS:
            os.environ.setdefault(name, "1")  # Before there are any.
        os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # Else every thread has one of its own.
        os.environ[METRICS_DIR] = f"{directory}/metrics"
        os.mkdir(os.environ[METRICS_DIR])
        listener.listen(_BACKLOG)
        host, port = listener.getsockname()[:2]
        _LOG.info(f"workers running on http://{f'[{host}]' if ':' in host else host}:{port}", workers=service.workers)
        asyncio.run(Supervisor(Worker(serving_dir, service, tower), listener, directory).run())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass
class _Seat:
    """A worker's place, and who has it."""

    number: int
    process: ForkServerProcess
    channel: c.Channel
    heard_at: float
    using: dict[str, int | None] = dataclasses.field(default_factory=dict)
    """Slot -> version."""


@dataclasses.dataclass
class _Staged:
    version: int
    directory: str
    waited_for: set[int] = dataclasses.field(default_factory=set)
    """Seats that have not prepared it yet."""


@dataclasses.dataclass
class _Slot:
    """The version of everybody, or the one that is tried."""

    current: _Staged | None = None
    next: _Staged | None = None


class Supervisor:
    """See the module."""

    def __init__(self, worker: Worker, listener: socket.socket, directory: str) -> None:
        """Prepare; see `run`."""
        self._worker, self._listener, self._directory = worker, listener, directory
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "serving.preload"])
        self._seats: dict[int, _Seat] = {}
        self._leader: int | None = None
        self._staged: set[str] = set()
        """Directories that were staged; of others the leader may be writing one."""
        self._slots = {c.MAIN: _Slot(), c.TRIED: _Slot()}
        self._problem = ""
        self._failure: str | None = None

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
          ValueError: A setting cannot be used.
        """
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        seats = [asyncio.ensure_future(self._keep(number)) for number in range(self._worker.service.workers)]
        told = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([told, *seats], return_when=asyncio.FIRST_COMPLETED)  # A seat ends by an error alone.
        self._stopping.set()
        for seat in self._seats.values():
            seat.process.terminate()
        _, slow = await asyncio.wait(seats, timeout=self._worker.service.shutdown_s + _END_S)
        for seat in [*self._seats.values()] if slow else []:
            _LOG.warning("worker killed, which did not end", worker=seat.number)
            seat.process.kill()
        await asyncio.gather(*seats)
        if self._failure is not None:
            raise ValueError(self._failure)

    async def _keep(self, number: int) -> None:
        """Have a worker in a seat, one after the other."""
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            begin = time.monotonic()
            process, channel = await self._start(number)
            seat = self._seats[number] = _Seat(number, process, channel, heard_at=time.monotonic())
            if self._stopping.is_set():
                process.terminate()
            watch = asyncio.ensure_future(self._watch(seat))
            try:
                await self._talk(seat)
                await asyncio.to_thread(process.join)
            finally:
                watch.cancel()
                del self._seats[number]
                channel.close()
            self._left(seat)
            if self._stopping.is_set():
                return
            short = time.monotonic() - begin < _SHORT_LIFE_S
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S) if short else _FIRST_PAUSE_S
            _LOG.error("worker ended", worker=number, exit_code=process.exitcode, again_s=pause_s if short else 0)
            if short:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _start(self, number: int) -> tuple[ForkServerProcess, c.Channel]:
        ours, theirs = socket.socketpair()
        process = self._context.Process(
            target=self._worker.run, args=(self._listener, theirs), name=f"worker-{number}", daemon=False
        )
        await asyncio.to_thread(process.start)  # The first one waits for all imports.
        theirs.close()
        return process, await c.Channel.open(ours)

    async def _watch(self, seat: _Seat) -> None:
        """Kill a worker whose event loop does not run."""
        while time.monotonic() - seat.heard_at < _HUNG_S:
            seat.channel.send(c.PING)
            await asyncio.sleep(_PING_S)
        _LOG.error("worker killed, which hung", worker=seat.number)
        seat.process.kill()

    async def _talk(self, seat: _Seat) -> None:
        self._joined(seat)
        while (message := await seat.channel.receive()) is not None:
            seat.heard_at = time.monotonic()
            self._hear(seat, message)

    def _joined(self, seat: _Seat) -> None:
        if self._leader is None:
            self._lead(seat)
        for name, slot in self._slots.items():
            if slot.next:
                slot.next.waited_for.add(seat.number)
            if staged := slot.next or slot.current:
                seat.channel.send(c.PREPARE, slot=name, version=staged.version, directory=staged.directory)
        if self._problem and not self._slots[c.MAIN].current:
            seat.channel.send(c.PROBLEM, problem=self._problem)

    def _lead(self, seat: _Seat) -> None:
        self._leader = seat.number
        seat.channel.send(c.LEAD, directory=self._directory)

    def _left(self, seat: _Seat) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(seat.process.pid)
        if self._leader == seat.number:
            self._leader = None
            for slot in self._slots.values():
                slot.next = None  # Whoever follows begins again.
            for begun in pathlib.Path(self._directory).glob("[0-9]*-*"):
                if str(begun) not in self._staged:
                    shutil.rmtree(begun, ignore_errors=True)
            if self._seats:
                self._lead(min(self._seats.values(), key=lambda other: other.number))
            return
        for name, slot in self._slots.items():
            if slot.next:
                self._answer(name, slot.next, seat.number)

    def _hear(self, seat: _Seat, message: c.Message) -> None:
        do, name = message["do"], message.get("slot", c.MAIN)
        slot = self._slots[name]
        if do == c.FAILED:
            self._failure = message["problem"]
            self._stopping.set()
        elif do == c.PREPARED:
            self._take_prepared(seat, name, message)
        elif do == c.USING:
            seat.using[name] = message["version"]
            self._tidy()
        elif do == c.DAMAGED:
            self._tell_leader(**message)
        elif seat.number != self._leader:
            return  # It led before.
        elif do == c.STAGED:
            slot.next = _Staged(message["version"], message["directory"], set(self._seats))
            self._staged.add(slot.next.directory)
            self._tell(c.PREPARE, slot=name, version=slot.next.version, directory=slot.next.directory)
        elif do == c.USE and slot.next and slot.next.version == message["version"]:
            slot.current, slot.next = slot.next, None
            self._tell(c.USE, slot=name, version=slot.current.version)
        elif do == c.DROP:
            slot.current = None
            self._tell(c.DROP, slot=name)
        elif do == c.PROBLEM:
            self._problem = message["problem"]
            self._tell(c.PROBLEM, problem=self._problem)

    def _take_prepared(self, seat: _Seat, name: str, message: c.Message) -> None:
        slot = self._slots[name]
        if slot.next and message["version"] == slot.next.version:
            self._answer(name, slot.next, seat.number, message)
        elif slot.current and message["version"] == slot.current.version:
            if message["problem"]:
                _LOG.error("worker without a version", worker=seat.number, reason=message["problem"])
                self._tell_leader(c.DAMAGED, version=slot.current.version)
            else:
                seat.channel.send(c.USE, slot=name, version=slot.current.version)

    def _answer(self, name: str, staged: _Staged, number: int, message: c.Message | None = None) -> None:
        """Note that a seat has prepared a version, could not, or is empty; tell the leader once all have."""
        if message and message["problem"]:
            slot = self._slots[name]
            slot.next = None
            self._tell_leader(**message)
            for seat in self._seats.values():
                if slot.current and seat.using.get(name) is None:
                    current = {"version": slot.current.version, "directory": slot.current.directory}
                    seat.channel.send(c.PREPARE, slot=name, **current)
            return
        if number in staged.waited_for:
            staged.waited_for.discard(number)
            if not staged.waited_for:
                self._tell_leader(c.PREPARED, slot=name, version=staged.version, problem="", waits=False)

    def _tell(self, do: str, **values: object) -> None:
        for seat in self._seats.values():
            seat.channel.send(do, **values)

    def _tell_leader(self, do: str, **values: object) -> None:
        if self._leader is not None:
            self._seats[self._leader].channel.send(do, **values)

    def _tidy(self) -> None:
        """Remove what nobody maps any more."""
        for name, slot in self._slots.items():
            version = slot.current.version if slot.current else None
            if any(seat.using.get(name) != version for seat in self._seats.values()):
                return
        staged = [each for slot in self._slots.values() for each in (slot.current, slot.next) if each]
        kept = {each.directory for each in staged}
        for left in self._staged - kept:
            shutil.rmtree(left, ignore_errors=True)
        self._staged &= kept
