"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from antiphon.backends.base import Account, RequestContext
from antiphon.backends.router import Router
from antiphon.backends.support import drop_unsupported
from antiphon.errors.prompts import max_tokens_too_large
from antiphon.http.body import read_json
from antiphon.http.policy import Policy
from antiphon.http.sse import race, respond
from antiphon.wire.events import (
    ContentBlockDelta,
    Event,
    MessageDelta,
    MessageStart,
    accumulate_async,
)
from antiphon.wire.messages import CountTokens, CreateMessage, Message, PromptParams
from antiphon.wire.validation import decode, unknown_keys
from antiphon.wire.versions import Contract, contract

IGNORED_HEADER = "antiphon-ignored"
IGNORED_MAX, NAME_CHARS_MAX = 20, 64  # of the names in that header


class CreateMessageEndpoint:
    """Streams, or folds the same stream into one message."""

    def __init__(self, router: Router, policy: Policy) -> None:
        self._router = router
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        context = request_context(request, self._policy)
        params = await read_params(request, CreateMessage, context.contract, self._policy)
        if context.contract.strict:
            await self._check_max_tokens(params)
        events = self._router.stream(params, context)
        meter = Meter(context.account, scope["state"]["started"])
        if params.stream:
            answer = respond(events, send, request_id=context.request_id, seen=meter.see)
            await race(receive, answer)
            return
        message = await race(receive, _whole(events, meter))
        if message is not None:
            await json_response(message)(scope, receive, send)

    async def _check_max_tokens(self, params: CreateMessage) -> None:
        """More than the model can answer is a ceiling by default, since clients send 128,000 to
        names they do not know (spec §2.1)."""
        maximum = (await self._router.model(params.model)).max_tokens
        if maximum is not None and params.max_tokens > maximum:
            raise max_tokens_too_large(params.max_tokens, maximum, params.model)


class CountTokensEndpoint:
    def __init__(self, router: Router, policy: Policy) -> None:
        self._router = router
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        context = request_context(request, self._policy)
        params = await read_params(request, CountTokens, context.contract, self._policy)
        count = await self._router.count_tokens(params, context)
        await json_response(count)(scope, receive, send)


def request_context(request: Request, policy: Policy) -> RequestContext:
    """
    Raises:
        InvalidRequestError: strict, and the version or a beta is unknown.
    """
    values = ",".join(request.headers.getlist("anthropic-beta")).split(",")
    betas = filter(None, (value.strip() for value in values))
    return RequestContext(
        request_id=request.state.request_id,
        principal=request.state.principal.name,
        owner=request.state.principal.identity,
        contract=contract(request.headers.get("anthropic-version"), betas, strict=policy.strict),
        account=request.state.account,
    )


async def read_params[P: PromptParams](
    request: Request, kind: type[P], held_to: Contract, policy: Policy
) -> P:
    """The checked body. What of it is ignored is named in a header of the response."""
    body = await read_json(request)
    params = decode(body, kind, held_to)
    ignored = [_header_name(key) for key in unknown_keys(body, kind)[:IGNORED_MAX]]
    if policy.ignore_unsupported:
        params, dropped = drop_unsupported(params)
        ignored += dropped
    if ignored:
        request.state.headers[IGNORED_HEADER] = ", ".join(ignored)
    return params


def _header_name(key: str) -> str:
    """Any key, as it may stand in a header."""
    return ascii(key)[1:-1].replace(",", "\\x2c")[:NAME_CHARS_MAX]


class Meter:
    """Writes down what an answer costs, as its events pass. Until its end says how many tokens it
    had, a delta counts as one. `started`: when the request came, in seconds of the clock."""

    def __init__(self, account: Account, started: float) -> None:
        self._account = account
        self._started = started

    def see(self, event: Event) -> None:
        account = self._account
        match event:
            case MessageStart(message):
                usage = message.usage
                created = usage.cache_creation_input_tokens or 0
                account.cache_read_tokens = usage.cache_read_input_tokens or 0
                account.input_tokens = usage.input_tokens + created + account.cache_read_tokens
            case ContentBlockDelta():
                if account.first_token_s is None:
                    account.first_token_s = time.monotonic() - self._started
                account.output_tokens += 1
            case MessageDelta(usage=totals):
                account.output_tokens = totals.output_tokens


async def _whole(events: AsyncGenerator[Event], meter: Meter) -> Message:
    async with aclosing(events):
        return await accumulate_async(events, meter.see)


def json_response(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
