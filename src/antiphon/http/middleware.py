"""Around every request: an id, the envelope on every error, one line in the log. Pure ASGI."""

import logging
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.backends.base import Account
from antiphon.errors import (
    APIError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    internal_error,
)
from antiphon.ids import NewId
from antiphon.observability.metrics import Metrics
from antiphon.wire.resources import error_envelope

PATH_CHARS_LOGGED = 200
ENDPOINTS = {"/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/health", "/metrics"}

log = logging.getLogger("antiphon.http")


class RequestMiddleware:
    """Gives each request `scope["state"]["request_id"]` and answers what it raises (spec §7.1).

    What is in the state's `headers` goes out with whatever answer, and the rate limits as well.
    """

    def __init__(self, app: ASGIApp, new_id: NewId, metrics: Metrics) -> None:
        self._app = app
        self._new_id = new_id
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # so that routing raises what it would answer
        request_id = self._new_id("req")
        state = scope.setdefault("state", {})
        state.update(request_id=request_id, headers={}, started=time.monotonic())
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = {"request-id": request_id, **state["headers"]}
                if "admission" in state:
                    told |= state["admission"].headers()
                encoded = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
                message["headers"] = [*message["headers"], *encoded]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            failure = _as_api_error(error, scope, request_id)
            if status:  # the headers are out: raising closes the connection, the one honest end
                raise
            await _send_error(send_with_headers, failure, request_id)
        finally:
            self._record(scope, status)

    def _record(self, scope: Scope, status: int) -> None:
        """One line in the log, one observation in the metrics."""
        state = scope["state"]
        seconds = time.monotonic() - state["started"]
        path = ascii(scope["path"])[1:-1][:PATH_CHARS_LOGGED]
        self._metrics.request(_endpoint(scope["path"]), status, seconds)
        fields: dict[str, Any] = {"request_id": state["request_id"], "method": scope["method"]}
        fields |= {"path": path, "status": status, "ms": round(seconds * 1000)}
        account: Account | None = state.get("account")
        if account is not None:
            fields |= {
                "key": state["principal"].name,
                "input_tokens": account.input_tokens,
                "prompt_tokens_computed": account.input_tokens - account.reused_tokens,
                "prompt_tokens_reused": account.reused_tokens,
                "output_tokens": account.output_tokens,
            }
            if account.input_tokens and scope["path"] == "/v1/messages":
                self._metrics.answer(
                    input=account.input_tokens,
                    reused=account.reused_tokens,
                    output=account.output_tokens,
                    first_token_s=account.first_token_s,
                )
        text = f"{scope['method']} {path} {status or 'client left'} {fields['ms']} ms"
        figures = [f"{key}={value}" for key, value in list(fields.items())[5:]]
        log.info("%s", " ".join([text, state["request_id"], *figures]), extra={"fields": fields})


def _endpoint(path: str) -> str:
    """Few names, whatever is asked for: every label of a metric costs memory for ever."""
    if path.startswith("/v1/models/"):
        return "/v1/models/{id}"
    return path if path in ENDPOINTS else "other"


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
