"""A proxy that forwards bytes and keeps those of the clients: what did they really send?"""

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

HEAD = re.compile(rb"(?:GET|POST) (/\S*) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
HEADERS = ("anthropic-version", "x-api-key", "authorization", "anthropic-beta")


class Recorder(socketserver.ThreadingTCPServer):
    """Listens on a free port of this machine and forwards to `upstream`."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        address = urlsplit(upstream)
        self.upstream = (str(address.hostname), int(address.port or 80))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.received: list[bytearray] = []  # one a connection


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Recorder)
        received = bytearray()
        self.server.received.append(received)
        with socket.create_connection(self.server.upstream) as upstream:
            back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
            back.start()
            _copy(self.request, upstream, received)
            back.join()


def _copy(source: socket.socket, target: socket.socket, seen: bytearray | None = None) -> None:
    try:
        while data := source.recv(65_536):
            if seen is not None:
                seen += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one side has left; the other will see it


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    with Recorder(upstream) as recorder:
        thread = threading.Thread(target=recorder.serve_forever)
        thread.start()
        try:
            yield recorder
        finally:
            recorder.shutdown()
            thread.join()


def requests_in(received: bytes) -> list[tuple[str, dict[str, str]]]:
    """Path and the telling headers of each request. Bodies are passed over, unread."""
    found = []
    for head in HEAD.finditer(received):
        lines = [line.split(": ", 1) for line in head[2].decode("latin-1").split("\r\n")]
        headers = {name.lower(): value for name, value in lines}
        found.append((head[1].decode("latin-1"), {k: headers[k] for k in HEADERS if k in headers}))
    return found
