"""Events to the client: pings while it is silent, cancellation when the client leaves.

Starlette's StreamingResponse watches for `http.disconnect` only under ASGI < 2.4, so the race is
ours. Leaving cancels the work, which closes the generators down to the engine: that is the abort.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.types import Message, Receive, Send

from antiphon.errors import APIError, internal_error
from antiphon.wire.events import ContentBlockStart, ErrorEvent, Event, Ping, sse
from antiphon.wire.resources import error_detail

HOLD_S = 10.0  # headers wait this long for the first event, so that errors keep their status
SEND_S = 120.0  # a client that takes nothing for so long has left, whatever its socket says
JOINED_BYTES_MAX = 16 * 1024  # of events that are there at once; they go out together
PING_S = 10.0  # silence after which a ping goes out; proxies give up after 30 to 60 s

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]

log = logging.getLogger("antiphon.http")


async def race[T](receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Run `work`, in this task; when the client leaves first, cancel it and return None."""
    task = asyncio.current_task()
    assert task is not None
    is_over = has_left = False

    def leave(gone: asyncio.Task[None]) -> None:
        nonlocal has_left
        if not is_over and not gone.cancelled():
            _ = gone.exception()  # seen, whatever it is: then nobody listens any more
            has_left = True
            task.cancel()

    gone = asyncio.Task(
        _until_disconnect(receive), loop=asyncio.get_running_loop(), eager_start=True
    )
    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and task.cancelling() == 1:  # nobody else wants it cancelled
            return None
        raise
    except Exception as error:
        if not has_left:
            raise
        if not isinstance(error, APIError):  # nobody is there to be told, but it is a fault
            log.error("a request failed after its client had left", exc_info=error)
        return None
    finally:
        is_over = True
        gone.cancel()
        if has_left:
            task.uncancel()


async def respond(
    events: AsyncGenerator[Event],
    send: Send,
    *,
    request_id: str,
    seen: Callable[[Event], None] = lambda _: None,
    hold_s: float = HOLD_S,
    ping_s: float = PING_S,
) -> None:
    """Send `events` as server-sent events (spec §6); `seen` is told of each.

    An error before the headers left is raised, and becomes an HTTP error; a later one becomes an
    `event: error`, after which the stream ends. It is never cut silently (spec §6.6).
    """
    send = _bounded(send)
    async with aclosing(_Source(events, seen)) as source:
        held = await source.wait(hold_s)
        event = await source.take() if held else Ping()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        body, has_pinged = b"", False
        while event is not None:
            body += sse(event)
            if isinstance(event, ContentBlockStart) and not has_pinged:
                has_pinged = True
                body += sse(Ping())  # as the API does (spec §6.2)
            is_full = len(body) > JOINED_BYTES_MAX
            if is_full or not source.is_ready():
                await send({"type": "http.response.body", "body": body, "more_body": True})
                body = b""
            if is_full:
                await asyncio.sleep(0)  # others have their turn, however much there is at once
            try:
                event = await source.take() if await source.wait(ping_s) else Ping()
            except Exception as error:
                detail = error_detail(_public(error, request_id))
                body += sse(ErrorEvent(detail, request_id))
                break
    await send({"type": "http.response.body", "body": body, "more_body": False})


class _Source:
    """Waits for the next event with a timeout, without cancelling the one being made."""

    def __init__(self, events: AsyncGenerator[Event], seen: Callable[[Event], None]) -> None:
        self._events = events
        self._seen = seen
        self._pending: asyncio.Future[Event | None] | None = None

    def is_ready(self) -> bool:
        """Whether the next event, or the end or an error, is there without waiting for it."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = asyncio.Task(self._next(), loop=loop, eager_start=True)
        return self._pending.done()

    async def _next(self) -> Event | None:
        event = await anext(self._events, None)
        if event is not None:
            self._seen(event)
        return event

    async def wait(self, timeout_s: float) -> bool:
        """The same within `timeout_s`."""
        if not self.is_ready():
            assert self._pending is not None
            await asyncio.wait({self._pending}, timeout=timeout_s)
        return self.is_ready()

    async def take(self) -> Event | None:
        """The event that `wait` announced; None is the end. Raises what its making raised."""
        assert self._pending is not None
        pending, self._pending = self._pending, None
        return await pending

    async def aclose(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait({self._pending})
            _ = self._pending.cancelled() or self._pending.exception()
        await self._events.aclose()


def _public(error: Exception, request_id: str) -> APIError:
    if isinstance(error, APIError):
        return error
    log.error("request %s failed mid-stream", request_id, exc_info=error)
    return internal_error(request_id)


def _bounded(send: Send) -> Send:
    """`send` that gives up after `SEND_S`, so that a stalled reader does not hold a slot."""

    async def bounded(message: Message) -> None:
        async with asyncio.timeout(SEND_S):
            await send(message)

    return bounded


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
