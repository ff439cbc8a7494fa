"""Streams: pings in silence, errors in their place, and the work ends when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from antiphon.errors import OverloadedError
from antiphon.http.sse import JOINED_BYTES_MAX, race, respond
from antiphon.wire.content import TextBlock
from antiphon.wire.events import ContentBlockStart, Event, MessageStart, Ping, sse
from antiphon.wire.messages import Message, Usage

START = MessageStart(Message(model="m", id="i", usage=Usage(input_tokens=1, output_tokens=0)))
BLOCK = ContentBlockStart(0, TextBlock(text=""))


class Client:
    """The other side of an ASGI application: what it received, and when it leaves."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.leaves = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Source:
    """Events to stream; remembers that its generator was closed."""

    def __init__(self, *steps: Event | Exception | asyncio.Event) -> None:
        self._steps = steps
        self.is_closed = False

    async def events(self) -> AsyncGenerator[Event]:
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.is_closed = True


async def test_events_leave_in_order_and_a_ping_follows_the_first_block() -> None:
    client, source = Client(), Source(START, BLOCK, BLOCK)

    await respond(source.events(), client.send, request_id="r")

    assert client.sent[0]["status"] == 200
    assert client.body == sse(START) + sse(BLOCK) + sse(Ping()) + sse(BLOCK)
    assert client.sent[-1]["more_body"] is False


async def test_events_that_are_there_at_once_leave_at_once_and_wait_for_no_other() -> None:
    wait = asyncio.Event()
    client, source = Client(), Source(START, BLOCK, wait, BLOCK, BLOCK)
    task = asyncio.create_task(respond(source.events(), client.send, request_id="r"))
    while len(client.sent) < 2:
        await asyncio.sleep(0)
    assert client.body == sse(START) + sse(BLOCK) + sse(Ping())
    wait.set()
    await task

    assert [message["body"] for message in client.sent[2:]] == [2 * sse(BLOCK)]


async def test_a_stream_that_is_all_there_lets_others_run() -> None:
    client, source = Client(), Source(START, *[BLOCK] * 10_000)
    task = asyncio.create_task(respond(source.events(), client.send, request_id="r"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1

    assert client.body.count(b"event: content_block_start") == 10_000
    assert turns > 50
    assert max(len(message.get("body", b"")) for message in client.sent) < 2 * JOINED_BYTES_MAX


async def test_an_error_before_the_first_event_is_raised_and_nothing_is_sent() -> None:
    client, source = Client(), Source(OverloadedError("full"))

    with pytest.raises(OverloadedError):
        await respond(source.events(), client.send, request_id="r")
    assert client.sent == []


async def test_a_later_error_is_an_error_event_and_the_stream_ends_cleanly() -> None:
    client, source = Client(), Source(START, OverloadedError("Overloaded"))

    await respond(source.events(), client.send, request_id="req_1")

    assert client.body == sse(START) + (
        b"event: error\n"
        b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},'
        b'"request_id":"req_1"}\n\n'
    )
    assert client.sent[-1]["more_body"] is False


async def test_a_bug_mid_stream_tells_the_client_no_details() -> None:
    client, source = Client(), Source(START, RuntimeError("secret"))

    await respond(source.events(), client.send, request_id="req_1")

    assert b"secret" not in client.body
    assert b'"type":"api_error"' in client.body
    assert b"req_1" in client.body


async def test_silence_before_the_first_event_sends_headers_and_pings() -> None:
    wait = asyncio.Event()
    client, source = Client(), Source(wait, START)
    task = asyncio.create_task(
        respond(source.events(), client.send, request_id="r", hold_s=0.01, ping_s=0.01)
    )
    while client.body.count(b"ping") < 3:
        await asyncio.sleep(0.005)
    wait.set()
    await task

    assert client.body.startswith(sse(Ping()))
    assert client.body.endswith(sse(START))


async def test_an_error_after_the_held_headers_left_is_an_event() -> None:
    wait = asyncio.Event()
    client, source = Client(), Source(wait, OverloadedError("Overloaded"))
    task = asyncio.create_task(
        respond(source.events(), client.send, request_id="r", hold_s=0.01, ping_s=10)
    )
    while not client.body:
        await asyncio.sleep(0.005)
    wait.set()
    await task

    assert b"event: error" in client.body


async def test_leaving_during_silence_closes_the_generator() -> None:
    client, source = Client(), Source(START, asyncio.Event())
    work = respond(source.events(), client.send, request_id="r")
    task = asyncio.create_task(race(client.receive, work))
    while not client.body:
        await asyncio.sleep(0)
    client.leaves.set()
    await task

    assert source.is_closed
    assert client.sent[-1].get("more_body") is True  # nothing was made up after the client left


async def test_leaving_before_the_first_event_closes_the_generator() -> None:
    client, source = Client(), Source(asyncio.Event())
    client.leaves.set()

    await race(client.receive, respond(source.events(), client.send, request_id="r"))

    assert client.sent == []


async def test_race_returns_what_the_work_returns_and_raises_what_it_raises() -> None:
    client = Client()

    async def work() -> int:
        return 7

    async def broken() -> int:
        raise OverloadedError("full")

    assert await race(client.receive, work()) == 7
    with pytest.raises(OverloadedError):
        await race(client.receive, broken())


async def test_cancelling_the_race_cancels_the_work() -> None:
    client, source = Client(), Source(START, asyncio.Event())
    work = respond(source.events(), client.send, request_id="r")
    task = asyncio.create_task(race(client.receive, work))
    while not client.body:
        await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.is_closed


async def test_leaving_as_the_work_ends_cancels_nothing_that_follows() -> None:
    client, ends = Client(), asyncio.Event()

    async def work() -> int:
        await ends.wait()
        client.leaves.set()
        return 7

    async def request() -> tuple[int | None, int]:
        answer = await race(client.receive, work())
        await asyncio.sleep(0.01)
        task = asyncio.current_task()
        return answer, -1 if task is None else task.cancelling()

    task = asyncio.create_task(request())
    ends.set()
    assert await task == (7, 0)


async def test_who_is_cancelled_and_left_at_once_is_cancelled() -> None:
    client, source = Client(), Source(START, asyncio.Event())
    task = asyncio.create_task(
        race(client.receive, respond(source.events(), client.send, request_id="r"))
    )
    while not client.body:
        await asyncio.sleep(0)
    client.leaves.set()
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.is_closed


async def test_a_client_that_cannot_be_listened_to_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(asyncio.Event())

    async def receive() -> dict[str, Any]:
        raise ConnectionError("gone")

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    await race(receive, respond(source.events(), send, request_id="r"))
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (OverloadedError("full"), []),
        (KeyError("a fault"), ["a request failed after its client had left"]),
    ],
)
async def test_what_goes_wrong_after_the_client_has_left_is_told_to_nobody(
    error: Exception, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client = Client()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise error

    task = asyncio.create_task(race(client.receive, work()))
    await asyncio.sleep(0)
    client.leaves.set()
    await task
    assert [record.message for record in caplog.records] == logged
