"""Around every request: an id, the envelope on every error, one line in the log. Pure ASGI."""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import (
    APIError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    internal_error,
)
from antiphon.ids import NewId
from antiphon.wire.resources import error_envelope

PATH_CHARS_LOGGED = 200

log = logging.getLogger("antiphon.http")


class RequestMiddleware:
    """Gives each request `scope["state"]["request_id"]` and answers what it raises (spec §7.1)."""

    def __init__(self, app: ASGIApp, new_id: NewId) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            failure = _as_api_error(error, scope, request_id)
            if status:  # the headers are out: raising closes the connection, the one honest end
                raise
            await _send_error(send_with_id, failure, request_id)
        finally:
            took_ms = (time.monotonic() - started) * 1000
            who = f"{scope['method']} {ascii(scope['path'])[1:-1][:PATH_CHARS_LOGGED]}"
            log.info("%s %s %.0f ms %s", who, status or "client left", took_ms, request_id)


def _as_api_error(error: Exception, scope: Scope, request_id: str) -> APIError:
    if isinstance(error, APIError):
        return error
    if isinstance(error, HTTPException):
        return _as_routing_error(error, scope)
    log.error("request %s failed", request_id, exc_info=error)
    return internal_error(request_id)


def _as_routing_error(error: HTTPException, scope: Scope) -> APIError:
    path, method = scope["path"], scope["method"]
    if error.status_code == 405:
        text = f"{method} is not allowed for {path}"
        return MethodNotAllowedError(text, headers=error.headers)
    if error.status_code == 404:
        hint = ""
        if path.startswith("/v1/v1/"):
            hint = ". The base URL must not end in /v1: this client adds it itself"
        return NotFoundError(f"Not found: {method} {path}{hint}")
    return InvalidRequestError(str(error.detail))


async def _send_error(send: Send, error: APIError, request_id: str) -> None:
    body = error_envelope(error, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
