"""A scripted server in a thread of its own, for as long as a test needs it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from antiphon.backends.router import Router
from antiphon.backends.script import Script, load
from antiphon.backends.scripted import MODEL, ScriptedBackend
from antiphon.http.app import create_app
from antiphon.http.connection import Connection
from antiphon.ids import generator
from antiphon.wire.messages import PromptParams

START_S = 10.0  # for the server to listen


class ScriptedServer:
    """`url` is the base URL for clients; `requests` are the bodies received so far, as decoded
    JSON, in order, those that no reply fitted included."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []

    def record(self, request: PromptParams) -> None:
        self.requests.append(msgspec.to_builtins(request))


class _Server(uvicorn.Server):
    """Leaves the signals of the test's process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def scripted_server(script: str | Path | Mapping[str, Any] | Script) -> Iterator[ScriptedServer]:
    """Serve a script (a file, or what such a file holds) on a free loopback port.

    Raises:
        StartupError: it is no script.
    """
    loaded = load(script)
    # With its protocol named: asyncio switches Nagle's algorithm off for such sockets only, and
    # with it an answer waits 40 ms for the acknowledgement of its own headers.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        backend = ScriptedBackend(loaded, generator(), server.record)
        app = create_app(Router({MODEL: backend}, default=MODEL, strict=False), new_id=generator())
        config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None)
        running = _Server(config)
        thread = threading.Thread(
            target=asyncio.run, args=(running.serve(sockets=[listener]),), daemon=True
        )
        thread.start()
        try:
            _wait_for(running, thread)
            yield server
        finally:
            running.should_exit = True
            thread.join()


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(int(START_S / 0.01)):
        if server.started or not thread.is_alive():
            break
        pause.wait(0.01)
    assert server.started, "the scripted server did not start"
