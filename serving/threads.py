"""Work in threads that may hang without holding up the event loop, or the end of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
_Jobs = queue.SimpleQueue[tuple[concurrent.futures.Future, Callable[[], object]]]

_workers: list[_Jobs] = []
_idle: list[_Jobs] = []


async def abandonable(function: Callable[[], _Result]) -> _Result:
    """Call a function that reads files, which on a disk or network that hangs never comes back.

    A cancelled call is left alone in its thread, a daemon: the process ends without it, unlike with a worker of anyio.
    """
    future: concurrent.futures.Future[_Result] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    # One thread for one call after the other: the allocator gives each new one an arena of its own.
    jobs = _idle.pop() if _idle else _start()
    jobs.put((future, function))
    return await asyncio.wrap_future(future)


def running() -> int:
    """Return how many calls of `abandonable` have not come back yet, abandoned or not."""
    return len(_workers) - len(_idle)


def _start() -> _Jobs:
    jobs: _Jobs = queue.SimpleQueue()
    _workers.append(jobs)
    threading.Thread(target=_work, args=(jobs,), name="abandonable", daemon=True).start()
    return jobs


def _work(jobs: _Jobs) -> None:
    while True:
        _call(jobs, *jobs.get())


def _call(jobs: _Jobs, future: concurrent.futures.Future, function: Callable[[], object]) -> None:
    try:
        result = function()
    except BaseException as error:
        _idle.append(jobs)
        future.set_exception(error)
    else:
        _idle.append(jobs)
        future.set_result(result)
