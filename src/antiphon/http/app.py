"""The ASGI application: the routes, and what stands around them."""

import time
from collections.abc import Callable, Mapping

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.routing import Router as Routes
from starlette.types import ASGIApp

from antiphon.backends.router import Router
from antiphon.http.auth import KeyCheck
from antiphon.http.gate import Gate
from antiphon.http.limits import RateLimiter
from antiphon.http.messages import CountTokensEndpoint, CreateMessageEndpoint
from antiphon.http.middleware import RequestMiddleware
from antiphon.http.models import ModelEndpoints
from antiphon.http.policy import Policy
from antiphon.ids import NewId
from antiphon.observability.metrics import CONTENT_TYPE, Metrics

Status = Mapping[str, object]

CORS_METHODS = ("GET", "POST")
CORS_EXPOSED = ("request-id", "retry-after", "antiphon-ignored")  # what a page may read


def create_app(
    router: Router,
    *,
    new_id: NewId,
    keys: KeyCheck | None = None,
    policy: Policy | None = None,
    metrics: Metrics | None = None,
    status: Callable[[], Status] = dict,
    problem: Callable[[], str | None] = lambda: None,
    is_closing: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
) -> ASGIApp:
    """The whole HTTP side.

    `status` is what `GET /health` adds (counters, never content), `problem` says why no request
    can be answered any more. While `is_closing` is true,
    new requests are answered 529 and running ones go on.
    """
    policy = policy or Policy()
    metrics = metrics or Metrics()
    models = ModelEndpoints(router)

    async def health(request: Request) -> Response:
        wrong = problem()
        state = "stopping" if is_closing() else "failed" if wrong else "ok"
        told = {"status": state, **({"problem": wrong} if wrong else {}), **status()}
        return JSONResponse(told, status_code=200 if state == "ok" else 503)

    async def metrics_page(request: Request) -> Response:
        return Response(metrics.page(), headers={"content-type": CONTENT_TYPE})

    app: ASGIApp = Routes(
        [
            Route("/v1/messages", CreateMessageEndpoint(router, policy), methods=["POST"]),
            Route(
                "/v1/messages/count_tokens", CountTokensEndpoint(router, policy), methods=["POST"]
            ),
            Route("/v1/models", models.page),
            Route("/v1/models/{model_id:path}", models.retrieve),
            Route("/health", health),
            Route("/metrics", metrics_page),
            Route("/", health),  # agents knock here and at /api/hello before they begin
            Route("/api/hello", health),
        ],
        redirect_slashes=False,
    )
    app = Gate(
        app,
        policy=policy,
        keys=keys or KeyCheck(),
        limiter=RateLimiter(clock),
        is_closing=is_closing,
    )
    app = RequestMiddleware(app, new_id=new_id, metrics=metrics)
    if policy.cors_origins:  # outside everything else, so that a page may read errors too
        app = CORSMiddleware(
            app,
            allow_origins=policy.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=["*"],
            expose_headers=CORS_EXPOSED,
        )
    return app
