"""Tools through the whole native backend: prompt, grammar, parser, events. The engine is a stub
whose wanted answer is part of the test; the grammar may want another one."""

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.backends.base import RequestContext
from antiphon.backends.native import NativeBackend
from antiphon.engines.stub import StubEngine
from antiphon.errors import InvalidRequestError
from antiphon.ids import generator
from antiphon.parsing.tool_formats.hermes import Hermes
from antiphon.rendering.chat_template import ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.content import TextBlock, ToolUseBlock
from antiphon.wire.events import accumulate_async
from antiphon.wire.messages import CreateMessage, Message
from antiphon.wire.resources import ModelInfo
from antiphon.wire.validation import decode
from tests.serving import EPOCH, answering

TEMPLATE = Path(__file__).parents[2] / "builtin_model" / "chat_template.jinja"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather in a city.", "input_schema": CITY}
NOW = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "How is the weather in Rome?"}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
CONTEXT = RequestContext(request_id="req_1")


def backend(reply: str) -> NativeBackend:
    engine = StubEngine(reply=answering(reply))
    template = ChatTemplate(TEMPLATE.read_text(encoding="utf-8"))
    renderer = Renderer(probe(template), PromptEncoder(engine.tokenizer))
    model = ModelInfo(id="m", display_name="M", created_at=EPOCH)
    return NativeBackend(engine, renderer, model, generator(), Hermes())


async def ask(reply: str, **fields: Any) -> Message:
    body = {
        "model": "m", "max_tokens": 400, "messages": [USER], "tools": [WEATHER, NOW], **fields
    }  # fmt: skip
    request = decode(json.dumps(body).encode(), CreateMessage)
    return await accumulate_async(backend(reply).stream(request, CONTEXT))


def calls(message: Message) -> list[tuple[str, dict[str, Any]]]:
    return [(b.name, b.input) for b in message.content if isinstance(b, ToolUseBlock)]


async def test_a_call_is_a_block_and_the_stop_reason_says_so() -> None:
    message = await ask(CALL)

    assert calls(message) == [("get_weather", {"city": "Rome"})]
    assert [
        block.id.startswith("toolu_01")
        for block in message.content
        if isinstance(block, ToolUseBlock)
    ]
    assert message.stop_reason == "tool_use"


async def test_text_before_a_call_is_a_block_of_its_own() -> None:
    message = await ask("Let me look.\n" + CALL)

    assert message.content[0] == TextBlock("Let me look.")
    assert calls(message) == [("get_weather", {"city": "Rome"})]


async def test_several_calls_keep_their_order() -> None:
    again = CALL.replace("Rome", "Oslo")
    message = await ask(f"{CALL}\n{again}")

    assert calls(message) == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})]
    ids = {block.id for block in message.content if isinstance(block, ToolUseBlock)}
    assert len(ids) == 2


async def test_without_a_call_it_is_text() -> None:
    message = await ask("I do not know.")

    assert message.content == [TextBlock("I do not know.")]
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "now"}, ["now"]),
        ({"type": "tool", "name": "get_weather"}, ["get_weather"]),
    ],
)
async def test_a_forced_call_comes_first_whatever_the_model_wants(
    choice: dict[str, Any], names: list[str]
) -> None:
    message = await ask("I would rather talk.", tool_choice=choice)

    assert [name for name, _ in calls(message)] == names
    assert isinstance(message.content[0], ToolUseBlock)
    assert message.stop_reason == "tool_use"


async def test_none_forbids_calls_and_the_tools_stay_in_the_prompt() -> None:
    forbidden = await ask(CALL, tool_choice={"type": "none"})
    allowed = await ask(CALL)

    assert calls(forbidden) == []
    assert forbidden.stop_reason == "end_turn"
    assert forbidden.usage.input_tokens == allowed.usage.input_tokens


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "any"}])
async def test_parallel_calls_can_be_switched_off(choice: dict[str, Any]) -> None:
    message = await ask(
        f"{CALL}\n{CALL}", tool_choice={**choice, "disable_parallel_tool_use": True}
    )

    assert calls(message) == [("get_weather", {"city": "Rome"})]
    assert message.stop_reason == "tool_use"


async def test_an_input_is_what_its_schema_says_whatever_the_model_writes() -> None:
    wrong = '<tool_call>\n{"name": "get_weather", "arguments": {"town": 5}}\n</tool_call>'
    message = await ask(wrong)

    ((name, arguments),) = calls(message)
    assert name == "get_weather"
    assert isinstance(arguments["city"], str)


async def test_a_tool_that_was_not_offered_cannot_be_called() -> None:
    message = await ask(CALL.replace("get_weather", "launch"))

    assert all(name in ("get_weather", "now") for name, _ in calls(message))


async def test_a_call_that_is_cut_is_delivered_as_far_as_it_came() -> None:
    message = await ask(CALL, max_tokens=55)  # within the string of the argument

    assert message.stop_reason == "max_tokens"
    ((name, arguments),) = calls(message)
    assert name == "get_weather"
    assert isinstance(arguments, dict)


async def test_a_deferred_tool_is_hidden_until_it_is_referred_to() -> None:
    deferred = {**NOW, "defer_loading": True}
    hidden = await ask("x", tools=[WEATHER, deferred])
    shown = await ask("x", tools=[WEATHER, NOW])

    assert hidden.usage.input_tokens < shown.usage.input_tokens
    forced = await ask("x", tools=[WEATHER, deferred], tool_choice={"type": "any"})
    assert [name for name, _ in calls(forced)] == ["get_weather"]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"type": "tool", "name": "now"}, "Tool 'now' not found in provided tools"),
        ({"type": "any"}, "tool_choice may only be specified while providing tools"),
    ],
)
async def test_a_hidden_tool_cannot_be_asked_for(choice: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequestError, match=text):
        await ask("x", tools=[{**NOW, "defer_loading": True}], tool_choice=choice)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": 5},
        {"type": "object", "properties": {"a": "text"}, "required": "a"},
        {"type": "object", "anyOf": {"a": 1}, "enum": 5},
        {"type": "object", "$defs": [], "items": "x"},
        {"type": "object", "properties": {"a": {"type": "object", "properties": None}}},
    ],
)
async def test_what_is_hardly_a_schema_still_makes_a_tool(schema: dict[str, Any]) -> None:
    message = await ask(
        "x", tools=[{"name": "f", "input_schema": schema}], tool_choice={"type": "any"}
    )

    assert [name for name, _ in calls(message)] == ["f"]


async def test_a_reference_makes_a_deferred_tool_callable_and_shows_its_definition() -> None:
    find = {"name": "find_tools", "input_schema": {"type": "object"}}
    deferred = {**NOW, "description": "The time.", "defer_loading": True}
    messages = [
        USER,
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "find_tools", "input": {}}
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "tool_reference", "tool_name": "now"}
            ]}
        ]},
    ]  # fmt: skip
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    message = await ask(call, tools=[find, deferred], messages=messages)

    assert calls(message) == [("now", {})]
    with pytest.raises(InvalidRequestError, match="Tool reference 'now' not found in available"):
        await ask("x", tools=[find], messages=messages)


async def test_stop_sequences_are_not_looked_for_inside_of_calls() -> None:
    message = await ask("Look: STOP it", stop_sequences=["STOP"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")

    message = await ask(CALL, stop_sequences=["Rome"])
    assert calls(message) == [("get_weather", {"city": "Rome"})]
    assert message.stop_reason == "tool_use"


async def test_json_is_what_the_schema_says() -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["name"],
    }
    output = {"format": {"type": "json_schema", "schema": schema}}
    message = await ask('{"name": "Ann", "age": 5}', tools=[], output_config=output)

    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert json.loads(block.text) == {"name": "Ann", "age": 5}
    assert message.stop_reason == "end_turn"
    babble = await ask("Well, let me think.", tools=[], output_config=output)
    (block,) = babble.content
    assert isinstance(block, TextBlock)
    assert isinstance(json.loads(block.text)["name"], str)


async def test_json_and_tools_together() -> None:
    output = {"format": {"type": "json_schema", "schema": CITY}}

    assert calls(await ask(CALL, output_config=output)) == [("get_weather", {"city": "Rome"})]
    message = await ask('{"city": "Oslo"}', output_config=output)
    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert json.loads(block.text) == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
            "output_config.format.schema.properties.a.uniqueItems: 'uniqueItems' cannot be "
            "enforced by this server",
        ),
        ({"type": "text"}, "output_config.format.schema.type: 'text' cannot be enforced"),
        ({"$ref": "https://example.org/s"}, "output_config.format.schema: "),
        ({"type": "string", "pattern": "(?=a)"}, "output_config.format.schema: "),
    ],
)
async def test_what_cannot_be_enforced_is_named(schema: dict[str, Any], text: str) -> None:
    output = {"format": {"type": "json_schema", "schema": schema}}

    with pytest.raises(InvalidRequestError) as caught:
        await ask("x", tools=[], output_config=output)

    assert caught.value.message.startswith(text)


async def test_a_hostile_schema_is_bounded() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    wide = {"enum": [f"value {number}" for number in range(10_000)]}
    for schema in (deep, wide):
        output = {"format": {"type": "json_schema", "schema": schema}}
        with pytest.raises(InvalidRequestError, match="too complex"):
            await ask("x", tools=[], output_config=output)


async def test_a_tools_schema_that_cannot_be_enforced_is_any_object_unless_strict() -> None:
    odd = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    tool = {"name": "f", "input_schema": odd}
    message = await ask(
        '<tool_call>\n{"name": "f", "arguments": {"b": 1}}\n</tool_call>', tools=[tool]
    )

    assert calls(message) == [("f", {"b": 1})]
    with pytest.raises(InvalidRequestError, match=r"tools\.0\.custom\..*\.a\.not"):
        await ask("x", tools=[{**tool, "strict": True}])
