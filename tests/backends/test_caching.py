"""What a client is told about caching: true numbers, in the API's arithmetic."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.backends.base import RequestContext
from antiphon.backends.caching import split
from antiphon.backends.native import NativeBackend
from antiphon.engines.base import Generation, TokenChunk
from antiphon.engines.stub import StubEngine
from antiphon.errors import InvalidRequestError
from antiphon.ids import generator
from antiphon.parsing.tool_formats.hermes import Hermes
from antiphon.rendering.breakpoints import Breakpoint
from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.event_types import MessageStart
from antiphon.wire.events import accumulate
from antiphon.wire.messages import CountTokens, CreateMessage, Message, Usage
from antiphon.wire.resources import ModelInfo
from antiphon.wire.validation import decode
from antiphon.wire.versions import contract
from tests.serving import EPOCH, answering

CONTEXT = RequestContext(request_id="req_1", principal="ann")
STRICT = contract("2023-06-01", [], strict=True)
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
LONG = "word " * 300 + "end"  # 1,503 tokens of the stub's


def backend(*, shares_cache: bool = False, engine: StubEngine | None = None) -> NativeBackend:
    engine = engine or StubEngine(reply=answering("Yes."))
    renderer = Renderer(probe(ChatTemplate(CHATML)), PromptEncoder(engine.tokenizer))
    model = ModelInfo(id="m", display_name="M", created_at=EPOCH)
    return NativeBackend(engine, renderer, model, generator(), Hermes(), shares_cache=shares_cache)


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    turns = [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate(messages)
    ]
    return {"model": "m", "max_tokens": 10, "messages": turns, **fields}


def text(said: str, **mark: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": said, **mark}]


async def ask(own: NativeBackend, *messages: Any, **fields: Any) -> Message:
    request = decode(json.dumps(body(*messages, **fields)).encode(), CreateMessage)
    return accumulate([event async for event in own.stream(request, CONTEXT)])


def counts(usage: Usage) -> tuple[int, int, int]:
    read, created = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    return usage.input_tokens, read or 0, created or 0


async def test_without_a_breakpoint_nothing_is_said() -> None:
    own = backend()
    for _ in range(2):
        usage = (await ask(own, LONG)).usage
        assert counts(usage)[1:] == (0, 0)


class Forgetful(StubEngine):
    """Says that all is cached, and then that nothing was."""

    async def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        async with aclosing(super().generate(job)) as chunks:
            await anext(chunks)
            yield TokenChunk(cached=len(job.prompt) - 1)
            yield TokenChunk(cached=0)
            async for chunk in chunks:
                yield chunk


async def test_the_end_of_an_answer_corrects_what_was_said_of_the_cache() -> None:
    own = backend(engine=Forgetful(reply=answering("Yes.")))
    request = decode(
        json.dumps(body("one", system=text(LONG, **MARK), stream=True)).encode(), CreateMessage
    )
    events = [event async for event in own.stream(request, CONTEXT)]

    start = next(event.message.usage for event in events if isinstance(event, MessageStart))
    end = accumulate(events).usage
    length = len(["<|im_start|>"]) + len("system\n") + len(LONG)
    assert counts(start)[1:] == (length, 0)
    assert counts(end)[1:] == (0, length)


async def test_what_is_written_first_is_read_then() -> None:
    own = backend()
    system = text(LONG, **MARK)

    first = counts((await ask(own, "one", system=system)).usage)
    second = counts((await ask(own, "two", system=system)).usage)

    assert first[1:] == (0, len(["<|im_start|>"]) + len("system\n") + len(LONG))
    assert second == (first[0], first[2], 0)


async def test_a_conversation_reads_what_it_has_said() -> None:
    own = backend()
    first = (await ask(own, text(LONG, **MARK))).usage
    second = (await ask(own, text(LONG), "Yes.", text("And now?", **MARK))).usage

    assert second.cache_read_input_tokens is not None
    assert second.cache_read_input_tokens >= sum(counts(first))
    assert sum(counts(second)) == second.cache_read_input_tokens + counts(second)[2] + (
        second.input_tokens
    )


async def test_creation_is_split_by_ttl() -> None:
    usage = (await ask(backend(), text(LONG, **MARK), system=text(LONG, **HOUR))).usage

    created = usage.cache_creation
    assert created
    assert created.ephemeral_1h_input_tokens > 1024
    assert created.ephemeral_5m_input_tokens > 1024
    assert counts(usage)[2] == (
        created.ephemeral_1h_input_tokens + created.ephemeral_5m_input_tokens
    )


async def test_short_prefixes_are_not_cached() -> None:
    usage = (await ask(backend(), "one", system=text("Be kind.", **MARK))).usage

    assert counts(usage)[1:] == (0, 0)


async def test_warming_computes_and_answers_nothing() -> None:
    own = backend()
    system = text(LONG, **MARK)

    warmed = await ask(own, "one", system=system, max_tokens=0)

    assert (warmed.content, warmed.stop_reason, warmed.usage.output_tokens) == ([], "max_tokens", 0)
    assert isinstance(warmed.usage.iterations, list)
    (iteration,) = warmed.usage.iterations
    assert iteration["type"] == "message"
    assert iteration["cache_creation_input_tokens"] == counts(warmed.usage)[2] > 0
    assert counts((await ask(own, "two", system=system)).usage)[2] == 0


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"stream": True}, "stream"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
            "output_config.format",
        ),
        (
            {
                "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                "tool_choice": {"type": "any"},
            },
            "tool_choice",
        ),
    ],
)
def test_strictly_warming_says_nothing_of_answers(fields: dict[str, Any], name: str) -> None:
    raw = json.dumps(body("one", **fields) | {"max_tokens": 0}).encode()
    with pytest.raises(InvalidRequestError, match=f"{name}: not allowed with `max_tokens: 0`"):
        decode(raw, CreateMessage, STRICT)
    decode(raw, CreateMessage)


THINKING = {"type": "thinking", "thinking": "Hm", "signature": "s"}
RULES = [
    (
        {"system": text("a", **MARK), "messages": text("b", **HOUR)},
        r"messages\.0\.content\.0\.text\.cache_control\.ttl: a ttl='1h' cache_control block must",
    ),
    ({"system": text("a", **MARK), **HOUR, "messages": "b"}, r"cache_control\.ttl: a ttl='1h'"),
    ({**HOUR, "messages": text("b", **MARK)}, "the last block has a cache_control with another"),
    (
        {**MARK, "system": [*text("a", **MARK) * 4], "messages": "b"},
        r"A maximum of 4 blocks with cache_control may be provided\. Found 5\.",
    ),
]


@pytest.mark.parametrize(("fields", "message"), RULES)
def test_rules(fields: dict[str, Any], message: str) -> None:
    said = fields.pop("messages")
    with pytest.raises(InvalidRequestError, match=message):
        decode(json.dumps(body(said, **fields)).encode(), CreateMessage)


def test_thinking_cannot_be_marked() -> None:
    raw = json.dumps(body("a", [THINKING | MARK], "b")).encode()
    with pytest.raises(
        InvalidRequestError,
        match=r"messages\.1\.content\.0\.thinking\.cache_control: Extra inputs are not permitted",
    ):
        decode(raw, CreateMessage)


@given(
    total=st.integers(1, 5000),
    reused=st.integers(0, 5000),
    places=st.lists(st.integers(1, 5000), max_size=4),
    longs=st.integers(0, 4),
    minimum=st.sampled_from([0, 1, 1024]),
)
def test_the_arithmetic_holds_token_by_token(
    total: int, reused: int, places: list[int], longs: int, minimum: int
) -> None:
    """Against the same said of every single token."""
    reused = min(reused, total - 1)
    breakpoints = [
        Breakpoint(min(place, total), 3600 if number < longs else 300)
        for number, place in enumerate(sorted(places))
    ]
    kinds = {"input": 0, "read": 0, "5m": 0, "1h": 0}
    for token in range(total):
        behind = [b for b in breakpoints if b.tokens > token and b.tokens >= minimum]
        end = max((b.tokens for b in behind), default=0)
        if not behind:
            kinds["input"] += 1
        elif token < reused and min(reused, end) >= minimum:
            kinds["read"] += 1
        else:
            kinds["1h" if any(b.ttl_s == 3600 for b in behind) else "5m"] += 1

    parts = split(total, reused, breakpoints, minimum)

    assert sum(parts) == total
    assert parts == (kinds["input"], kinds["read"], kinds["5m"], kinds["1h"])


async def test_counting_is_the_sum() -> None:
    own = backend()
    for fields in ({}, {"system": text(LONG, **MARK)}, {"system": text(LONG, **HOUR), **MARK}):
        asked = body("one", **fields)
        del asked["max_tokens"]
        counted = await own.count_tokens(decode(json.dumps(asked).encode(), CountTokens), CONTEXT)
        for _ in range(2):
            assert sum(counts((await ask(own, "one", **fields)).usage)) == counted.input_tokens


async def test_keys_do_not_find_each_others_prompts_unless_they_may() -> None:
    system = text(LONG, **MARK)
    request = decode(json.dumps(body("one", system=system)).encode(), CreateMessage)
    for shares, read in ((False, 0), (True, 1)):
        own = backend(shares_cache=shares)
        for name in ("ann", "bob"):
            context = RequestContext(request_id="r", owner=name)
            message = accumulate([event async for event in own.stream(request, context)])

        assert bool(message.usage.cache_read_input_tokens) == bool(read)
