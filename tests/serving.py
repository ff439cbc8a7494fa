"""What tests serve with: an application over the stub engine, a real server on a free port."""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from antiphon.cli.serve import assemble
from antiphon.config import Config
from antiphon.engines.base import Engine
from antiphon.engines.stub import StubEngine
from antiphon.http.app import create_app
from antiphon.http.auth import KeyCheck
from antiphon.http.connection import Connection
from antiphon.ids import generator

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def stub_app(engine: Engine, **options: object) -> ASGIApp:
    """The HTTP application over `engine`, with repeatable identifiers."""
    strict = bool(options.pop("strict_models", False))
    if api_keys := options.pop("api_keys", ()):
        options["keys"] = KeyCheck(api_keys)  # type: ignore[arg-type]
    new_id = generator(random.Random(0))
    request_timeout: Any = options.pop("request_timeout", None)
    config = Config(engine="stub", strict_models=strict, request_timeout=request_timeout)
    return create_app(assemble(config, engine, new_id), new_id=new_id, **options)  # type: ignore[arg-type]


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve `app` on a free port of this event loop; yield the base URL.

    A real socket: in-process transports buffer whole bodies, so streams, latency and leaving
    clients can only be tested over one.
    """
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", http=Connection)
    server = _QuietServer(config)
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # see testing/server.py
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@dataclass
class Served:
    """A server in a thread of its own, for synchronous clients."""

    url: str
    engine: StubEngine
    loop: asyncio.AbstractEventLoop

    def close_engine(self) -> None:
        asyncio.run_coroutine_threadsafe(self.engine.close(), self.loop).result(10)


@contextlib.contextmanager
def serving_in_thread(make_engine: Callable[[], StubEngine], **options: Any) -> Iterator[Served]:
    ready: list[Served] = []
    is_up, stop = threading.Event(), threading.Event()

    async def run() -> None:
        engine = make_engine()
        async with serving(stub_app(engine, **options)) as url:
            ready.append(Served(url, engine, asyncio.get_running_loop()))
            is_up.set()
            while not stop.is_set():
                await asyncio.sleep(0.01)
        await engine.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert is_up.wait(10)
        yield ready[0]
    finally:
        stop.set()
        thread.join()


def answering(text: str) -> Callable[[Sequence[int]], bytes]:
    """A stub engine's `reply` that answers every prompt with `text`."""
    return lambda prompt: text.encode()
