"""Tokens reach the loop that waits for them, in order, merged where the reader is slow."""

import asyncio

import pytest

from antiphon.engines.base import FinishReason, TokenChunk
from antiphon.engines.llamacpp.outbox import Failure, Outbox, Outlet


async def test_chunks_arrive_merged_and_the_first_alone() -> None:
    outlet, outbox = Outlet(asyncio.get_running_loop()), Outbox()
    outbox.put(outlet, TokenChunk(cached=3))
    outbox.put(outlet, TokenChunk((1,)))
    outbox.put(outlet, TokenChunk((2,)))
    outbox.flush()

    assert await outlet.next() == TokenChunk(cached=3)
    assert await outlet.next() == TokenChunk((1, 2))

    outbox.put(outlet, TokenChunk((4,), finish_reason=FinishReason.STOP))
    await asyncio.to_thread(outbox.flush)
    assert await outlet.next() == TokenChunk((4,), finish_reason=FinishReason.STOP)
    assert outlet.ended


async def test_nothing_arrives_before_it_is_flushed() -> None:
    outlet, outbox = Outlet(asyncio.get_running_loop()), Outbox()
    outbox.put(outlet, TokenChunk((1,)))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outlet.next()
    outbox.flush()
    assert await outlet.next() == TokenChunk((1,))


async def test_a_failure_comes_after_the_tokens_before_it() -> None:
    outlet, outbox = Outlet(asyncio.get_running_loop()), Outbox()
    for item in (TokenChunk(cached=0), TokenChunk((1,)), Failure(KeyError("broken"))):
        outbox.put(outlet, item)
    outbox.flush()

    assert await outlet.next() == TokenChunk(cached=0)
    assert await outlet.next() == TokenChunk((1,))
    with pytest.raises(KeyError, match="broken"):
        await outlet.next()


def test_a_closed_loop_is_no_problem_of_the_others() -> None:
    async def make() -> Outlet:
        return Outlet(asyncio.get_running_loop())

    outbox = Outbox()
    gone = asyncio.run(make())
    outbox.put(gone, TokenChunk((1,)))

    outbox.flush()

    assert not gone.ended
