"""Tokens become an answer: what is shown, what counts, what ends it."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from antiphon.backends.base import RequestContext
from antiphon.backends.native import NativeBackend
from antiphon.engines.base import FinishReason, Generation, TokenChunk
from antiphon.engines.stub import IM_END, IM_START, StubEngine
from antiphon.errors import InvalidRequestError
from antiphon.ids import generator
from antiphon.parsing.tool_formats.table import GENERIC
from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.events import ContentBlockDelta, Event, TextDelta, accumulate
from antiphon.wire.messages import CreateMessage
from antiphon.wire.resources import ModelInfo
from antiphon.wire.validation import decode
from tests.serving import EPOCH

CONTEXT = RequestContext(request_id="req_1")
THINK = 263


class Scripted(StubEngine):
    """Gives the chunks it is told to, whatever the prompt."""

    def __init__(self, *chunks: Sequence[int], reason: FinishReason = FinishReason.STOP) -> None:
        super().__init__()
        self._chunks = chunks
        self._reason = reason
        self.closed_after: int | None = None

    async def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        given = 0
        try:
            yield TokenChunk(cached=0)
            for number, tokens in enumerate(self._chunks):
                is_last = number == len(self._chunks) - 1
                given += 1
                yield TokenChunk(tuple(tokens), finish_reason=self._reason if is_last else None)
        finally:
            self.closed_after = given


def backend(engine: StubEngine) -> NativeBackend:
    renderer = Renderer(probe(ChatTemplate(CHATML)), PromptEncoder(engine.tokenizer))
    model = ModelInfo(id="m", display_name="M", created_at=EPOCH)
    return NativeBackend(engine, renderer, model, generator(), GENERIC)


def request(**fields: Any) -> CreateMessage:
    messages = [{"role": "user", "content": "q"}]
    body = {"model": "m", "max_tokens": 100, "messages": messages, **fields}
    return decode(json.dumps(body).encode(), CreateMessage)


async def events_of(engine: StubEngine, **fields: Any) -> list[Event]:
    return [event async for event in backend(engine).stream(request(**fields), CONTEXT)]


def shown(events: list[Event]) -> list[str]:
    return [
        event.delta.text
        for event in events
        if isinstance(event, ContentBlockDelta) and isinstance(event.delta, TextDelta)
    ]


async def test_one_chunk_is_one_delta_and_characters_stay_whole() -> None:
    events = await events_of(Scripted(b"ab", "é".encode()[:1], "é".encode()[1:] + b"c", [IM_END]))

    assert shown(events) == ["ab", "éc"]


async def test_control_tokens_are_counted_and_not_shown() -> None:
    events = await events_of(Scripted([*b"a", IM_START, *b"b"], [IM_END]))

    assert shown(events) == ["ab"]
    assert accumulate(events).usage.output_tokens == 4


async def test_a_tag_that_nobody_asked_for_is_text() -> None:
    assert shown(await events_of(Scripted([THINK, *b" hm"], [IM_END]))) == ["<think> hm"]


async def test_tokens_behind_a_stop_sequence_do_not_count() -> None:
    engine = Scripted(b"one END two", b" three", [IM_END])
    message = accumulate(events := await events_of(engine, stop_sequences=["END"]))

    assert shown(events) == ["one "]
    assert message.usage.output_tokens == len("one END")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert engine.closed_after == 1, "the engine was told to stop"


async def test_text_held_back_for_a_stop_sequence_is_shown_at_the_end() -> None:
    assert shown(await events_of(Scripted(b"EN", [IM_END]), stop_sequences=["END"])) == ["EN"]


@pytest.mark.parametrize(
    ("reason", "stop_reason"),
    [
        (FinishReason.STOP, "end_turn"),
        (FinishReason.LENGTH, "max_tokens"),
        (FinishReason.CONTEXT, "model_context_window_exceeded"),
    ],
)
async def test_stop_reasons(reason: FinishReason, stop_reason: str) -> None:
    assert accumulate(await events_of(Scripted(b"a", reason=reason))).stop_reason == stop_reason


async def test_a_stop_sequence_completed_by_the_last_token_wins() -> None:
    events = await events_of(Scripted(b"END", reason=FinishReason.LENGTH), stop_sequences=["END"])

    assert accumulate(events).stop_reason == "stop_sequence"


async def test_closing_the_events_closes_the_engines_iterator() -> None:
    engine = Scripted(b"a", b"b", [IM_END])
    async with aclosing(backend(engine).stream(request(), CONTEXT)) as events:
        await anext(events)

    assert engine.closed_after is not None


async def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers() -> None:
    engine = StubEngine(context_len=64)
    with pytest.raises(InvalidRequestError, match=r"prompt is too long: \d+ tokens > 63 maximum"):
        await events_of(engine, system="x" * 64)
