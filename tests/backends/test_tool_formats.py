"""Every format from grammar to blocks: what the model writes is allowed, read, and enforced."""

import json
from typing import Any

import pytest

from antiphon.backends.base import RequestContext
from antiphon.backends.native import NativeBackend
from antiphon.engines.stub import StubEngine
from antiphon.ids import generator
from antiphon.parsing.tool_formats.base import ToolFormat
from antiphon.parsing.tool_formats.hermes import Hermes
from antiphon.parsing.tool_formats.llama3 import Llama3
from antiphon.parsing.tool_formats.mistral import Mistral
from antiphon.parsing.tool_formats.qwen3_coder import Qwen3Coder
from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.content import TextBlock, ToolUseBlock
from antiphon.wire.events import accumulate_async
from antiphon.wire.messages import CreateMessage, Message
from antiphon.wire.resources import ModelInfo
from antiphon.wire.validation import decode
from tests.serving import EPOCH, answering

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = [
    {"name": "get_weather", "input_schema": SCHEMA},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]
INPUT = {"city": 'Ro"me', "days": 2}
WRITTEN = json.dumps(INPUT)


class TextTags(Hermes):
    """Hermes where the vocabulary has no tokens for the tags."""

    start, end = "<function_call>", "</function_call>"


FORMATS: dict[str, tuple[ToolFormat, str]] = {
    "hermes": (
        Hermes(),
        f'<tool_call>\n{{"name": "get_weather", "arguments": {WRITTEN}}}\n</tool_call>',
    ),
    "hermes in text": (
        TextTags(),
        f'<function_call>\n{{"name": "get_weather", "arguments": {WRITTEN}}}\n</function_call>',
    ),
    "coder": (
        Qwen3Coder(),
        '<tool_call>\n<function=get_weather>\n<parameter=city>\nRo"me\n</parameter>\n'
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
    ),
    "llama": (Llama3(), f'{{"name": "get_weather", "parameters": {WRITTEN}}}'),
    "mistral": (
        Mistral(),
        f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {WRITTEN}}}]',
    ),
}


async def ask(format: ToolFormat, reply: str, **fields: Any) -> Message:
    engine = StubEngine(reply=answering(reply))
    renderer = Renderer(probe(ChatTemplate(CHATML)), PromptEncoder(engine.tokenizer))
    model = ModelInfo(id="m", display_name="M", created_at=EPOCH)
    backend = NativeBackend(engine, renderer, model, generator(), format)
    body = {
        "model": "m", "max_tokens": 600, "tools": TOOLS,
        "messages": [{"role": "user", "content": "Rome?"}], **fields,
    }  # fmt: skip
    request = decode(json.dumps(body).encode(), CreateMessage)
    return await accumulate_async(backend.stream(request, RequestContext(request_id="r")))


def calls(message: Message) -> list[tuple[str, dict[str, Any]]]:
    return [(b.name, b.input) for b in message.content if isinstance(b, ToolUseBlock)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("choice", ["auto", "any"])
async def test_a_call_is_allowed_and_read(name: str, choice: str) -> None:
    format, written = FORMATS[name]
    message = await ask(format, written, tool_choice={"type": choice})

    assert calls(message) == [("get_weather", INPUT)]
    assert message.stop_reason == "tool_use"
    assert not any(isinstance(block, TextBlock) for block in message.content)


@pytest.mark.parametrize("name", FORMATS)
async def test_a_call_is_forced(name: str) -> None:
    format, _ = FORMATS[name]
    message = await ask(format, "I would rather talk.", tool_choice={"type": "tool", "name": "now"})

    assert calls(message) == [("now", {})]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("name", FORMATS)
async def test_a_call_is_forbidden(name: str) -> None:
    format, written = FORMATS[name]
    message = await ask(format, written, tool_choice={"type": "none"})

    assert calls(message) == []


@pytest.mark.parametrize("name", FORMATS)
async def test_text_stays_text(name: str) -> None:
    format, _ = FORMATS[name]
    message = await ask(format, "It is warm there. 1 < 2, I think.")

    assert message.content == [TextBlock("It is warm there. 1 < 2, I think.")]
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("llama", "mistral")])
async def test_two_calls(name: str) -> None:
    format, written = FORMATS[name]
    message = await ask(format, f"{written}\n{written}")

    assert calls(message) == [("get_weather", INPUT)] * 2
    alone = await ask(
        format,
        f"{written}\n{written}",
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert calls(alone) == [("get_weather", INPUT)]


@pytest.mark.parametrize("name", FORMATS)
async def test_an_input_of_another_shape_is_bent_into_its_schema(name: str) -> None:
    format, written = FORMATS[name]
    message = await ask(format, written.replace("days", "nights"), tool_choice={"type": "any"})

    for called, given in calls(message):
        if called == "get_weather":
            assert given.keys() <= {"city", "days"}
