"""One connection: uvicorn's protocol, with limits before there is a request, and our error shape.

What arrives may be no HTTP at all, or never end. Whatever it is, the answer is an error envelope or
a closed connection, and it costs no more than the limits below.
"""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from antiphon.errors import APIError, head_timeout, head_too_large, not_http, overloaded
from antiphon.ids import generator
from antiphon.wire.resources import error_envelope

HEAD_BYTES_MAX = 64 * 1024  # request line and headers
HEAD_S = 30.0  # for them to arrive
LINGER_S = (
    1.0  # a refused client may go on sending so long; closing at once would cost it the answer
)
CONNECTIONS_MAX = 10_000

_new_id = generator()


class Connection(HttpToolsProtocol):
    """Adds to uvicorn: a size and a deadline for the head of a request, a bound on connections,
    and the envelope where uvicorn answers in plain text."""

    _awaits_head = True
    _head_bytes = 0
    _is_refused = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(overloaded("there are too many connections."))
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._awaits_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._awaits_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(head_too_large(HEAD_BYTES_MAX))
        elif self._awaits_head and self._head_bytes and not self._is_refused:
            self._set_deadline()

    def on_headers_complete(self) -> None:
        self._awaits_head = False
        self._cancel_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._awaits_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for what its parser does not understand."""
        self._refuse(not_http())

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._on_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        """A client that has said nothing at all gets no answer either."""
        if self._head_bytes:
            self._refuse(head_timeout(HEAD_S))
        else:
            self.transport.close()

    def _refuse(self, error: APIError) -> None:
        """Answer and close; in the middle of another answer, only close."""
        self._is_refused = True
        self._cancel_deadline()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not (is_answering or self.transport.is_closing()):
            request_id = _new_id("req")
            body = error_envelope(error, request_id)
            reason = HTTPStatus(error.status).phrase if error.status in _STATUSES else "Overloaded"
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "request-id": request_id,
                "connection": "close",
                **error.headers,
            }
            lines = [f"HTTP/1.1 {error.status} {reason}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
            self.transport.write_eof()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


_STATUSES = {status.value for status in HTTPStatus}
