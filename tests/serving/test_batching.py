"""Requests that wait at the same time are answered together, and none at another's cost."""

import asyncio

import anyio
import pytest

from serving.batching import Batches


def test_who_asks_at_once_is_answered_at_once():
    sizes = []

    async def doubled(asked):
        sizes.append(len(asked))
        return [2 * each for each in asked]

    async def scenario():
        batches = Batches(4)
        assert await batches.ask(21, doubled) == 42
        assert await asyncio.gather(*(batches.ask(i, doubled) for i in range(10))) == [2 * i for i in range(10)]

    anyio.run(scenario)
    assert sizes[0] == 1, "nobody waits for others to come"
    assert sorted(sizes[1:]) == [2, 4, 4]


def test_what_comes_while_others_are_answered_does_not_wait_for_them():
    release = asyncio.Event()

    async def slow(asked):
        if "slow" in asked:
            await release.wait()
        return asked

    async def scenario():
        batches = Batches(4)
        first = asyncio.ensure_future(batches.ask("slow", slow))
        for _ in range(5):
            await asyncio.sleep(0)
        assert await asyncio.wait_for(batches.ask("quick", slow), 5) == "quick"
        assert not first.done()
        release.set()
        assert await first == "slow"

    anyio.run(scenario)


def test_an_error_is_that_of_all_and_who_has_gone_is_not_answered():
    async def failing(asked):
        raise RuntimeError("no answer")

    async def echoed(asked):
        return asked

    async def scenario():
        batches = Batches(4)
        found = await asyncio.gather(*(batches.ask(i, failing) for i in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["no answer"] * 3
        gone = asyncio.ensure_future(batches.ask(1, echoed))
        stays = asyncio.ensure_future(batches.ask(2, echoed))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 2
        with pytest.raises(asyncio.CancelledError):
            await gone

    anyio.run(scenario)
