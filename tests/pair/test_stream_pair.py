"""The unmodified official client as the other end: it must understand what we mean.

Random legal streams, their bytes cut at random places, are served to the client; the message that
it adds up must be ours. The client is a lenient judge of order (see `tests/wire/test_events.py`)
but the only judge of meaning.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.wire.citations import CharLocation
from antiphon.wire.content import (
    ContentBlock,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolSearchToolResultBlock,
    ToolUseBlock,
)
from antiphon.wire.events import (
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Delta,
    DeltaUsage,
    ErrorEvent,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    StopDelta,
    TextDelta,
    ThinkingDelta,
    accumulate,
    accumulate_async,
    sse,
)
from antiphon.wire.messages import Message, OutputTokensDetails, Usage
from antiphon.wire.resources import ErrorDetail
from antiphon.wire.sources import DirectCaller

TEXT = st.text(max_size=30)
NAME = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
COUNT = st.integers(0, 10**6)
# Within what every JSON parser holds exactly.
NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
INPUT = st.dictionaries(TEXT, JSON, max_size=4)


@st.composite
def pieces(draw: st.DrawFn, whole: str) -> list[str]:
    """`whole` in fragments, cut anywhere, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


Block = tuple[ContentBlock, list[Delta]]


@st.composite
def text_blocks(draw: st.DrawFn) -> Block:
    deltas: list[Delta] = [TextDelta(piece) for piece in draw(pieces(draw(TEXT)))]
    for cited in draw(st.lists(TEXT, max_size=2)):
        citation = CharLocation(cited, draw(COUNT), draw(COUNT), draw(COUNT))
        deltas.insert(draw(st.integers(0, len(deltas))), CitationsDelta(citation))
    return TextBlock(""), deltas


@st.composite
def thinking_blocks(draw: st.DrawFn) -> Block:
    deltas: list[Delta] = [ThinkingDelta(piece) for piece in draw(pieces(draw(TEXT)))]
    return ThinkingBlock("", ""), [*deltas, SignatureDelta(draw(NAME))]


@st.composite
def tool_blocks(draw: st.DrawFn) -> Block:
    written = json.dumps(
        draw(INPUT), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    if draw(st.booleans()):
        start: ContentBlock = ToolUseBlock(draw(NAME), draw(NAME), {}, caller=DirectCaller())
    else:
        start = ServerToolUseBlock(draw(NAME), "web_search", {})
    deltas: list[Delta] = [InputJsonDelta(piece) for piece in draw(pieces(written))]
    return start, draw(st.sampled_from([deltas, [InputJsonDelta(""), *deltas], []]))


FOUND: dict[str, Any] = {"type": "tool_search_tool_search_result", "tool_references": []}
WHOLE_BLOCKS: list[Block] = [
    (RedactedThinkingBlock("EmwKAhgB"), []),
    (ToolUseBlock("toolu_1", "whole", {"x": [1]}), []),
    (ToolSearchToolResultBlock("srvtoolu_1", FOUND), []),
]

BLOCKS = text_blocks() | thinking_blocks() | tool_blocks() | st.sampled_from(WHOLE_BLOCKS)


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    usage = Usage(input_tokens=draw(COUNT), cache_read_input_tokens=draw(COUNT), output_tokens=1)
    events: list[Event] = [MessageStart(Message(model="m", id="msg_1", usage=usage))]
    for index, (start, deltas) in enumerate(draw(st.lists(BLOCKS, max_size=4))):
        events.append(ContentBlockStart(index, start))
        events.extend(ContentBlockDelta(index, delta) for delta in deltas)
        events.append(ContentBlockStop(index))
    events += [draw(ENDS), MessageStop()]
    for _ in range(draw(st.integers(0, 2))):
        events.insert(draw(st.integers(0, len(events) - 1)), Ping())
    return events


ENDS = st.builds(
    MessageDelta,
    st.builds(
        StopDelta,
        st.sampled_from(["end_turn", "tool_use", "stop_sequence", "pause_turn"]),
        st.none() | TEXT,
    ),
    st.builds(
        DeltaUsage,
        output_tokens=COUNT,
        input_tokens=st.sampled_from([msgspec.UNSET, None, 5]),
        output_tokens_details=st.just(msgspec.UNSET) | st.builds(OutputTokensDetails, COUNT),
    ),
)


@st.composite
def byte_chunks(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """`body` cut anywhere, inside code points and line ends too."""
    cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=8)))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


@st.composite
def served(draw: st.DrawFn) -> tuple[list[Event], list[bytes]]:
    events = draw(streams())
    return events, draw(byte_chunks(b"".join(map(sse, events))))


class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The answer's bytes, chunk by chunk."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def answer(chunks: list[bytes]) -> httpx2.MockTransport:
    def handle(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx2.Response(200, headers=headers, stream=Chunks(chunks))

    return httpx2.MockTransport(handle)


ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
}


def final_message(chunks: list[bytes]) -> anthropic.types.Message:
    with (
        httpx2.Client(transport=answer(chunks)) as http_client,
        anthropic.Anthropic(api_key="any", http_client=http_client, max_retries=0) as client,
        client.messages.stream(**ASK) as stream,
    ):
        return stream.get_final_message()


async def final_message_async(chunks: list[bytes]) -> anthropic.types.Message:
    async with (
        httpx2.AsyncClient(transport=answer(chunks)) as http_client,
        anthropic.AsyncAnthropic(api_key="any", http_client=http_client, max_retries=0) as client,
        client.messages.stream(**ASK) as stream,
    ):
        return await stream.get_final_message()


def same(theirs: anthropic.types.Message, ours: Message) -> None:
    """Equal as documents, in the client's own types: it fills what is absent with null."""
    document = msgspec.to_builtins(ours)
    expected = anthropic.types.Message.model_validate(document)
    assert theirs.to_dict(exclude_none=True) == expected.to_dict(exclude_none=True)


@settings(max_examples=200, deadline=None)
@given(served())
def test_the_client_adds_up_the_same_message(case: tuple[list[Event], list[bytes]]) -> None:
    events, chunks = case

    same(final_message(chunks), accumulate(events))


@settings(max_examples=100, deadline=None)
@given(served())
async def test_the_async_client_too(case: tuple[list[Event], list[bytes]]) -> None:
    events, chunks = case

    async def source() -> AsyncIterator[Event]:
        for event in events:
            yield event

    same(await final_message_async(chunks), await accumulate_async(source()))


@settings(max_examples=100, deadline=None)
@given(INPUT, st.data())
def test_cut_off_tool_input_means_the_same(tool_input: dict[str, Any], data: st.DataObject) -> None:
    written = json.dumps(tool_input, ensure_ascii=data.draw(st.booleans()))
    text = written[: data.draw(st.integers(0, len(written)))]
    events: list[Event] = [
        MessageStart(Message(model="m", id="msg_1", usage=Usage(input_tokens=1, output_tokens=1))),
        ContentBlockStart(0, ToolUseBlock("toolu_1", "f", {})),
        *(ContentBlockDelta(0, InputJsonDelta(piece)) for piece in data.draw(pieces(text))),
        ContentBlockStop(0),
        MessageDelta(StopDelta("max_tokens"), DeltaUsage(output_tokens=100)),
        MessageStop(),
    ]

    same(final_message([sse(event) for event in events]), accumulate(events))


def test_an_error_event_reaches_the_client() -> None:
    events: list[Event] = [
        Ping(),
        ErrorEvent(ErrorDetail("overloaded_error", "Overloaded"), "req_1"),
    ]

    with pytest.raises(anthropic.APIStatusError) as caught:
        final_message([sse(event) for event in events])
    assert caught.value.type == "overloaded_error"
