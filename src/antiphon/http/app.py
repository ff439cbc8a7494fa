"""The ASGI application: the routes, and what stands around them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.backends.router import Router
from antiphon.errors import shutting_down
from antiphon.http.auth import KeyCheck
from antiphon.http.messages import CountTokensEndpoint, CreateMessageEndpoint
from antiphon.http.middleware import RequestMiddleware
from antiphon.http.models import ModelEndpoints
from antiphon.ids import NewId

Status = Mapping[str, object]


def create_app(
    router: Router,
    *,
    new_id: NewId,
    api_keys: Sequence[str] = (),
    status: Callable[[], Status] = dict,
    is_closing: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The whole HTTP side.

    `status` is what `GET /health` adds (counters, never content). While `is_closing` is true,
    new requests are answered 529 and running ones go on.
    """
    models = ModelEndpoints(router)

    async def health(request: Request) -> Response:
        state = "stopping" if is_closing() else "ok"
        return JSONResponse({"status": state, **status()}, status_code=503 if is_closing() else 200)

    app = Starlette(
        routes=[
            Route("/v1/messages", CreateMessageEndpoint(router), methods=["POST"]),
            Route("/v1/messages/count_tokens", CountTokensEndpoint(router), methods=["POST"]),
            Route("/v1/models", models.page),
            Route("/v1/models/{model_id:path}", models.retrieve),
            Route("/health", health),
        ],
        middleware=[
            Middleware(RequestMiddleware, new_id=new_id),
            Middleware(Gate, keys=KeyCheck(api_keys), is_closing=is_closing),
        ],
        exception_handlers={HTTPException: _reraise},
    )
    app.router.redirect_slashes = False
    return app


class Gate:
    """In front of `/v1`: nothing new comes in while the server stops, and keys are checked."""

    def __init__(self, app: ASGIApp, keys: KeyCheck, is_closing: Callable[[], bool]) -> None:
        self._app = app
        self._keys = keys
        self._is_closing = is_closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            if self._is_closing():
                raise shutting_down()
            self._keys.check(Request(scope).headers)
        await self._app(scope, receive, send)


def _reraise(request: Request, error: Exception) -> NoReturn:
    """Leave errors of routing to RequestMiddleware, which answers every error."""
    raise error
