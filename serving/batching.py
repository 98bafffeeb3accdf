"""Requests that wait at the same time are answered together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")
_Answering = Callable[[Sequence[_Asked]], Awaitable[Sequence[_Answer]]]


class Batches(Generic[_Asked, _Answer]):
    """Collects what is asked until the event loop has run everything that is ready, and asks for all of it at once.

    Nobody waits for a batch to fill: with a single client at a time every batch has one request.
    """

    def __init__(self, most: int, one_at_a_time: bool = False) -> None:
        """Answer up to `most` requests together; `one_at_a_time`: those that come meanwhile wait, and go together."""
        self._most = most
        self._turn = asyncio.Lock() if one_at_a_time else contextlib.nullcontext()
        self._waiting: list[tuple[_Asked, asyncio.Future[_Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, asked: _Asked, answer: _Answering[_Asked, _Answer]) -> _Answer:
        """Return the answer to one request.

        Args:
          asked: The request.
          answer: What answers several of them, each at its place; what it raises, all of them get. Always the same
            one; it is not kept, as whoever has it may have this.
        """
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) == 1:
            self._start(self._all(answer))
        return await future

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _all(self, answer: _Answering[_Asked, _Answer]) -> None:
        async with self._turn:
            # One turn more, in which what has arrived meanwhile is read: twice as many go together.
            await asyncio.sleep(0)
            waiting, self._waiting = self._waiting, []
            for begin in range(self._most, len(waiting), self._most):
                self._start(_some(waiting[begin : begin + self._most], answer))
            await _some(waiting[: self._most], answer)


async def _some(
    waiting: list[tuple[_Asked, asyncio.Future[_Answer]]],
    answer: _Answering[_Asked, _Answer],
) -> None:
    try:
        answers = await answer([asked for asked, _ in waiting])
    except Exception as error:
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)
        return
    for (_, future), found in zip(waiting, answers, strict=True):
        if not future.done():  # Whoever asked may have gone.
            future.set_result(found)
