"""Whatever arrives: a legal message, a legal stream, or a legal error envelope; never a 500.

500 examples of each kind here; `make fuzz EXAMPLES=100000` for as many as you like.
"""

import asyncio
import json
import os
from functools import cache
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from antiphon.engines.stub import StubEngine
from antiphon.http.policy import Policy
from antiphon.wire.events import ErrorEvent, Event, StreamState
from antiphon.wire.messages import CreateMessage, Message
from antiphon.wire.tools import TOOL_TYPES
from antiphon.wire.versions import BETAS, VERSIONS
from tests.serving import answering, stub_app
from tests.wire.test_validation_fuzz import JSON

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "500"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

STATUS_OF = {
    "invalid_request_error": {400, 405, 415},
    "not_found_error": {404},
    "request_too_large": {413},
    "overloaded_error": {529},
}
STRICT_CHOICE = st.booleans()
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "anthropic-version": st.sampled_from([*VERSIONS, "2031-01-01", "x"]),
        "anthropic-beta": st.lists(st.sampled_from([*sorted(BETAS), "x", ""]), max_size=3).map(
            ",".join
        ),
        "content-type": st.sampled_from(["application/json", "application/json; charset=utf-8"]),
    },
)


class Answer:
    """What an application sent for one request."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False

    async def send(self, message: Any) -> None:
        assert not self.is_whole
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)


def answer_to(body: bytes, headers: dict[str, str], *, strict: bool) -> Answer:
    """One request, in process: nothing here is about time or sockets."""

    async def ask() -> Answer:
        engine = StubEngine(reply=answering("Hello."))
        app = stub_app(engine, policy=Policy(strict=strict))
        sent = {"content-type": "application/json", **headers}
        scope = {
            "type": "http", "method": "POST", "path": "/v1/messages", "raw_path": b"/v1/messages",
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
        }  # fmt: skip
        arriving = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> Any:
            if arriving:
                return arriving.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        answer = Answer()
        await app(scope, receive, answer.send)
        assert engine.metrics()["running"] == engine.metrics()["waiting"] == 0
        await engine.close()
        return answer

    return asyncio.run(ask())


def check(answer: Answer) -> None:
    """The sentence at the top."""
    assert answer.is_whole
    if answer.status != 200:
        envelope = json.loads(answer.body)
        assert set(envelope) == {"type", "error", "request_id"}
        assert envelope["type"] == "error"
        assert envelope["request_id"] == answer.headers["request-id"]
        assert answer.status in STATUS_OF[envelope["error"]["type"]], envelope
        assert isinstance(envelope["error"]["message"], str)
        return
    if answer.headers["content-type"].startswith("application/json"):
        message = msgspec.json.decode(answer.body, type=Message)
        assert message.stop_reason is not None
        return
    state = StreamState()
    for chunk in answer.body.decode().split("\n\n")[:-1]:
        name, data = chunk.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "), type=Event)
        assert name == f"event: {event.__struct_config__.tag}"
        assert not isinstance(event, ErrorEvent), "the stub does not fail"
        state.apply(event)
    state.finish()


# Requests of the right shape ------------------------------------------------------------------


@cache
def shaped(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a wire type, drawn from the type itself: every field and every block."""
    return _shaped(inspect.type_info(kind))


def _shaped(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.StructType():
            return st.deferred(lambda: _object(kind))
        case inspect.UnionType(types=types):
            return st.one_of([_shaped(option) for option in types])
        case inspect.ListType(item_type=item):
            return st.lists(_shaped(item), max_size=3)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.StrType(pattern=pattern):
            return st.from_regex(pattern) if pattern else st.sampled_from(["a", "b"]) | st.text()
        case inspect.IntType(ge=low):
            return st.integers(min_value=low, max_value=5000)
        case inspect.FloatType():
            return st.floats(0.01, 1)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.DictType():
            return st.just({"type": "object"}) | st.dictionaries(st.text(max_size=4), JSON)
        case inspect.CustomType():
            return st.one_of(
                [_shaped(inspect.type_info(kind)) for kind in set(TOOL_TYPES.values())]
            )
        case _:
            return JSON


def _object(kind: inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    tag = {"type": st.just(kind.tag)} if kind.tag is not None else {}
    fields = {field.encode_name: (field.required, _shaped(field.type)) for field in kind.fields}
    required = {name: strategy for name, (needed, strategy) in fields.items() if needed}
    optional = {name: strategy for name, (needed, strategy) in fields.items() if not needed}
    return st.fixed_dictionaries({**tag, **required}, optional=optional)


MESSAGES = st.lists(
    st.fixed_dictionaries({
        "role": st.sampled_from(["user", "user", "assistant", "system"]),
        "content": st.text(min_size=1) | st.lists(
            st.fixed_dictionaries({"type": st.just("text"), "text": st.text(min_size=1)}),
            min_size=1, max_size=3,
        ),
    }),
    min_size=1, max_size=5,
)  # fmt: skip
PLAIN = st.fixed_dictionaries(
    {"model": st.text(min_size=1), "max_tokens": st.integers(0, 10**6), "messages": MESSAGES},
    optional={
        "stream": st.booleans(),
        "system": st.text(),
        "stop_sequences": st.lists(st.text(min_size=1), max_size=3),
        "temperature": st.floats(0, 1),
        "metadata": st.just({"user_id": "u"}),
    },
)


@FUZZ
@given(st.binary(max_size=300), HEADERS, STRICT_CHOICE)
def test_bytes(body: bytes, headers: dict[str, str], strict: bool) -> None:
    check(answer_to(body, headers, strict=strict))


@FUZZ
@given(JSON, HEADERS, STRICT_CHOICE)
def test_json(value: Any, headers: dict[str, str], strict: bool) -> None:
    check(answer_to(json.dumps(value).encode(), headers, strict=strict))


@FUZZ
@given(shaped(CreateMessage), HEADERS, STRICT_CHOICE)
def test_requests_of_every_shape(value: Any, headers: dict[str, str], strict: bool) -> None:
    check(answer_to(json.dumps(value).encode(), headers, strict=strict))


@FUZZ
@given(PLAIN, HEADERS)
def test_conversations_are_mostly_answered(value: Any, headers: dict[str, str]) -> None:
    check(answer_to(json.dumps(value).encode(), headers, strict=False))
