"""The way of tokens from the engine's thread to the event loops that wait for them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.engines.base import FinishReason, TokenChunk


@dataclass(frozen=True, slots=True)
class Failure:
    """The generation ends with an exception."""

    error: Exception


class Outlet:
    """One generation's end of the outbox, on the event loop that consumes it.

    A slow consumer never holds the engine up: tokens wait here, at most `max_tokens` of them, and
    come merged into one chunk.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ended = False  # everything has arrived, though perhaps not been read
        self._cached: int | None = None
        self._tokens: list[int] = []
        self._finish_reason: FinishReason | None = None
        self._error: Exception | None = None
        self._arrived = asyncio.Event()

    def deliver(self, item: TokenChunk | Failure) -> None:
        """Runs on the loop."""
        if isinstance(item, Failure):
            self._error = item.error
        else:
            self._tokens += item.token_ids
            self._finish_reason = item.finish_reason or self._finish_reason
            if item.cached is not None:
                self._cached = item.cached
        self.ended = self._error is not None or self._finish_reason is not None
        self._arrived.set()

    async def next(self) -> TokenChunk:
        """What has arrived since the last call; waits for something.

        Raises what `Failure` carries, after the tokens that came before it.
        """
        await self._arrived.wait()
        if self._cached is not None:  # alone in its chunk, by contract
            cached, self._cached = self._cached, None
            if not self._tokens and not self.ended:
                self._arrived.clear()
            return TokenChunk(cached=cached)
        if self._error is not None and not self._tokens:
            raise self._error
        tokens, self._tokens = tuple(self._tokens), []
        if self._error is None:
            self._arrived.clear()
        return TokenChunk(tokens, finish_reason=self._finish_reason)


class Outbox:
    """Collects on the engine's thread what one step produced; one wake-up per loop and flush."""

    def __init__(self) -> None:
        self._items: list[tuple[Outlet, TokenChunk | Failure]] = []

    def put(self, outlet: Outlet, item: TokenChunk | Failure) -> None:
        self._items.append((outlet, item))

    def flush(self) -> None:
        by_loop = defaultdict(list)
        for outlet, item in self._items:
            by_loop[outlet.loop].append((outlet, item))
        self._items = []
        for loop, items in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:  # the loop is closed, and with it everyone who waited there
                continue


def _deliver(items: Iterable[tuple[Outlet, TokenChunk | Failure]]) -> None:
    for outlet, item in items:
        outlet.deliver(item)
