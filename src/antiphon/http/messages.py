"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from antiphon.backends.base import Backend, RequestContext
from antiphon.http.body import read_json
from antiphon.http.sse import race, respond
from antiphon.wire.events import Event, accumulate_async
from antiphon.wire.messages import CountTokens, CreateMessage, Message
from antiphon.wire.validation import decode, unknown_keys

FIELDS_LOGGED = 20

log = logging.getLogger("antiphon.http")


class CreateMessageEndpoint:
    """Streams, or folds the same stream into one message."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await read_json(request)
        params = decode(body, CreateMessage)
        context = request_context(request)
        if log.isEnabledFor(logging.INFO) and (unknown := unknown_keys(body, CreateMessage)):
            names = ascii(unknown[:FIELDS_LOGGED])
            log.info("%s: ignored unknown fields %s", context.request_id, names)
        events = self._backend.stream(params, context)
        if params.stream:
            await race(receive, respond(events, send, request_id=context.request_id))
            return
        message = await race(receive, _whole(events))
        if message is not None:
            await json_response(message)(scope, receive, send)


async def _whole(events: AsyncGenerator[Event]) -> Message:
    async with aclosing(events):
        return await accumulate_async(events)


class CountTokensEndpoint:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        params = decode(await read_json(request), CountTokens)
        count = await self._backend.count_tokens(params, request_context(request))
        await json_response(count)(scope, receive, send)


def request_context(request: Request) -> RequestContext:
    betas = ",".join(request.headers.getlist("anthropic-beta")).split(",")
    return RequestContext(
        request_id=request.state.request_id,
        api_version=request.headers.get("anthropic-version", "2023-06-01"),
        betas=frozenset(beta.strip() for beta in betas if beta.strip()),
    )


def json_response(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
