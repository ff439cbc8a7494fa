"""Body → the API's text. A row is a thing that a client can do wrong (spec §2-4, §7.5, §7.6)."""

import json
from typing import Any

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.wire.content import TextBlock, ThinkingBlock, ToolResultBlock
from antiphon.wire.messages import CountTokens, CreateMessage, MessageParam
from antiphon.wire.sources import CacheControl
from antiphon.wire.tools import (
    TOOL_TYPES,
    BashTool,
    ClientToolset,
    CustomTool,
    ToolChoiceTool,
    WebSearchTool,
)
from antiphon.wire.validation import decode, unknown_keys

HELLO = {"role": "user", "content": "Hello"}
TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"}


def body(**fields: Any) -> dict[str, Any]:
    """A valid request with `fields` set; None removes the field."""
    whole = {"model": "m", "max_tokens": 10, "messages": [HELLO]} | fields
    return {key: value for key, value in whole.items() if value is not None}


def says(*content: Any, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": list(content)}]


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def refusal(request: Any, kind: type = CreateMessage) -> str:
    raw = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(InvalidRequestError) as caught:
        decode(raw, kind)
    return caught.value.message


NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"

TYPE_ERRORS = [
    (body(max_tokens=None), "max_tokens: Field required"),
    (body(model=None), "model: Field required"),
    (body(messages=None), "messages: Field required"),
    ({}, "model: Field required"),
    ([], NO_OBJECT),
    ("hello", NO_OBJECT),
    (7, NO_OBJECT),
    (body(model=5), "model: Input should be a valid string"),
    (body(max_tokens="10"), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=1.5), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=True), "max_tokens: Input should be a valid integer"),
    (body(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
    (body(stream="yes"), "stream: Input should be a valid boolean"),
    (body(temperature="hot"), "temperature: Input should be a valid number"),
    (body(temperature=1.1), "temperature: Input should be less than or equal to 1"),
    (body(temperature=-1), "temperature: Input should be greater than or equal to 0"),
    (body(top_p=0), "top_p: Input should be greater than 0"),
    (body(top_p=1.01), "top_p: Input should be less than or equal to 1"),
    (body(top_k=-1), "top_k: Input should be greater than or equal to 0"),
    (body(messages={}), "messages: Input should be a valid list"),
    (body(messages=["hi"]), f"messages.0: {NO_OBJECT}"),
    (body(messages=[{"content": "x"}]), "messages.0.role: Field required"),
    (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    (
        body(messages=[{"role": "tool", "content": "x"}]),
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    (body(messages=[HELLO | {"content": 5}]), "messages.0.content: Input should be a valid list"),
    (body(messages=[HELLO | {"content": {}}]), "messages.0.content: Input should be a valid list"),
    (body(messages=says("x")), f"messages.0.content.0: {NO_OBJECT}"),
    (body(messages=says({"text": "x"})), "messages.0.content.0.type: Field required"),
    (body(messages=says({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    (
        body(messages=[HELLO, *says({"type": "thinking", "thinking": "x"}, role="assistant")]),
        "messages.1.content.0.thinking.signature: Field required",
    ),
    (
        body(messages=says(USE | {"input": "{}"}, role="assistant")),
        "messages.0.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    (
        body(messages=says({"type": "image", "source": {"type": "base64", "data": ""}})),
        "messages.0.content.0.image.source.base64.media_type: Field required",
    ),
    (
        body(
            messages=says(
                {"type": "image", "source": {"type": "base64", "media_type": "image/bmp"}}
            )
        ),
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', "
        "'image/png', 'image/gif' or 'image/webp'",
    ),
    (
        body(messages=says(RESULT | {"content": [{"type": "text"}]})),
        "messages.0.content.0.tool_result.content.0.text.text: Field required",
    ),
    (body(system=5), "system: Input should be a valid list"),
    (body(system=[{"type": "text"}]), "system.0.text: Field required"),
    (body(system=[{"type": "image"}]), "system.0.type: Input should be 'text'"),
    (
        body(system=[text("x", cache_control={"type": "ephemeral", "ttl": "2h"})]),
        "system.0.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    (body(cache_control={"type": "x"}), "cache_control.type: Input should be 'ephemeral'"),
    (
        body(thinking={"type": "enabled", "budget_tokens": 5}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        body(thinking={"type": "on"}),
        "thinking: Input tag 'on' found using 'type' does not match any of the expected tags: "
        "'enabled', 'disabled', 'between_tools', 'adaptive'",
    ),
    (body(tool_choice={"type": "tool"}), "tool_choice.tool.name: Field required"),
    (
        body(output_config={"effort": "huge"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (body(metadata={"user_id": 5}), "metadata.user_id: Input should be a valid string"),
    (body(stop_sequences="x"), "stop_sequences: Input should be a valid list"),
    (body(stop_sequences=["x", 5]), "stop_sequences.1: Input should be a valid string"),
    (body(tools=[5]), f"tools.0: {NO_OBJECT}"),
    (body(tools=[{"input_schema": {}}]), "tools.0.custom.name: Field required"),
    (body(tools=[{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
    (
        body(tools=[TOOL, TOOL | {"name": "a b"}]),
        "tools.1.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    (
        body(tools=[{"type": "bash_20250124", "name": "sh"}]),
        "tools.0.bash_20250124.name: Input should be 'bash'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_body", "expected"), TYPE_ERRORS)
def test_type_errors_speak_pydantic(request_body: Any, expected: str) -> None:
    assert refusal(request_body) == expected


def test_unknown_block_names_the_expected_tags() -> None:
    message = refusal(body(messages=says({"type": "foo"})))

    assert message.startswith(
        "messages.0.content.0: Input tag 'foo' found using 'type' does not match any of the "
        "expected tags: 'text', 'image', 'document', 'search_result', 'tool_result', 'thinking', "
    )


def test_openai_shaped_tool_names_the_expected_tags() -> None:
    message = refusal(body(tools=[{"type": "function", "function": {"name": "f"}}]))

    assert message.startswith("tools.0: Input tag 'function' found using 'type' does not match")
    assert "'bash_20250124'" in message
    assert "'custom'" in message
    assert "Input tag '[5]' found" in refusal(body(tools=[{"type": [5]}]))


def uses(*ids: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [USE | {"id": name} for name in ids]}


def results(*ids: str) -> dict[str, Any]:
    return {"role": "user", "content": [RESULT | {"tool_use_id": name} for name in ids]}


EMPTY = "all messages must have non-empty content except for the optional final assistant message"
MARK = {"cache_control": {"type": "ephemeral"}}
UNANSWERED = (
    "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: {}. "
    "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
)
UNEXPECTED = (
    "unexpected `tool_use_id` found in `tool_result` blocks: {}. Each `tool_result` block must "
    "have a corresponding `tool_use` block in the previous message."
)

RULE_ERRORS = [
    (
        body(stop_sequences=["x"] * 257),
        "stop_sequences: List should have at most 256 items after validation, not 257",
    ),
    (
        body(stop_sequences=["x" * 65_537]),
        "stop_sequences: all together should have at most 65536 characters",
    ),
    (body(messages=[]), "messages: at least one message is required"),
    (body(messages=[HELLO | {"content": ""}]), f"messages.0: {EMPTY}"),
    (body(messages=[HELLO, HELLO | {"content": []}, HELLO]), f"messages.1: {EMPTY}"),
    (body(messages=says(text(""))), "messages: text content blocks must be non-empty"),
    (
        body(messages=[{"role": "user", "content": " \n"}]),
        "messages: text content blocks must contain non-whitespace text",
    ),
    (
        body(messages=says(text("x"), text("\t "))),
        "messages: text content blocks must contain non-whitespace text",
    ),
    (
        body(messages=[HELLO, *says(text("x"), text("", **MARK))]),
        "messages.1.content.1.text: cache_control cannot be set for empty text blocks",
    ),
    (
        body(system=[text("", **MARK)]),
        "system.0.text: cache_control cannot be set for empty text blocks",
    ),
    (body(system=[text("")]), "system: text content blocks must be non-empty"),
    (
        body(stop_sequences=["END", " "]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    (
        body(messages=[HELLO, uses("a", "b"), results("a")]),
        UNANSWERED.format("b"),
    ),
    (body(messages=[HELLO, uses("a", "b"), HELLO]), UNANSWERED.format("a, b")),
    (body(messages=[HELLO, uses("a")]), UNANSWERED.format("a")),
    (  # results come first
        body(messages=[HELLO, uses("toolu_1"), *says(text("So:"), RESULT)]),
        UNANSWERED.format("toolu_1"),
    ),
    (  # a system message does not separate a call from its result
        body(messages=[HELLO, uses("a"), {"role": "system", "content": "x"}, results("a")]),
        UNANSWERED.format("a"),
    ),
    (body(messages=[results("a")]), "messages.0.content.0: " + UNEXPECTED.format("a")),
    (
        body(messages=[HELLO, uses("a"), results("a"), results("b")]),
        "messages.3.content.0: " + UNEXPECTED.format("b"),
    ),
    (
        body(messages=[HELLO, uses("a"), results("a", "a")]),
        "messages.2.content.1: each tool_use must have a single result. Found multiple "
        "`tool_result` blocks with id: a",
    ),
    (
        body(messages=[HELLO, uses("a", "a"), results("a")]),
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    (body(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    (
        body(tools=[{"name": "a", "input_schema": {}}]),
        "tools.0.custom.input_schema.type: Field required",
    ),
    (
        body(tools=[{"name": "a", "input_schema": {"type": "array"}}]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    (
        body(tools=[TOOL], tool_choice={"type": "tool", "name": "x"}),
        "Tool 'x' not found in provided tools",
    ),
    (
        body(tool_choice={"type": "any"}),
        "tool_choice may only be specified while providing tools",
    ),
    (
        body(messages=says(*[text("x", **MARK)] * 4), system=[text("x", **MARK)]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        body(messages=says(*[text("x", **MARK)] * 3, text("y")), tools=[TOOL | MARK], **MARK),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
]


@pytest.mark.parametrize(("request_body", "expected"), RULE_ERRORS)
def test_rules_across_fields(request_body: Any, expected: str) -> None:
    assert refusal(request_body) == expected


def test_rules_hold_for_counting_too() -> None:
    request = {"model": "m", "messages": [HELLO, uses("a")]}

    assert refusal(request, CountTokens) == UNANSWERED.format("a")


def test_message_count_has_a_limit() -> None:
    message = refusal(body(messages=[HELLO] * 100_001))

    assert message == (
        "messages: List should have at most 100000 items after validation, not 100001"
    )


LEGAL = [
    body(max_tokens=0),
    body(max_tokens=10**30),
    body(temperature=0, top_p=1, top_k=0),
    body(messages=[{"role": "system", "content": "Be brief"}, HELLO]),
    body(messages=[HELLO, {"role": "assistant", "content": ""}]),
    body(messages=[HELLO, {"role": "assistant", "content": "  "}]),  # a prefill, trimmed later
    body(messages=[HELLO, {"role": "assistant", "content": []}, HELLO]),
    body(messages=[HELLO, {"role": "assistant", "content": ""}, HELLO]),  # an empty answer, back
    body(messages=[HELLO, *says({"type": "text", "text": ""}, role="assistant"), HELLO]),
    body(messages=[HELLO, *says({"type": "text", "text": "\n"}, role="assistant"), HELLO]),
    body(messages=[HELLO, uses("a", "b"), results("a"), results("b")]),  # turns merge
    body(messages=[HELLO, uses("a"), results("a"), uses("a"), results("a")]),
    body(messages=[HELLO, uses("a"), *says(RESULT | {"tool_use_id": "a"}, text("So?"))]),
    body(messages=says(*[text("x", **MARK)] * 4), **MARK),  # the last is marked already
    body(system=""),
    body(cache_control=None, metadata={}, tools=[], stop_sequences=[]),
    body(tool_choice={"type": "auto"}),
    body(speed=None, inference_geo=None),
]


@pytest.mark.parametrize("request_body", LEGAL)
def test_legal_bodies_decode(request_body: Any) -> None:
    decode(json.dumps(request_body).encode(), CreateMessage)


JSON = "The request body is not valid JSON: "
JSON_ERRORS = [
    (b"", "Input is a zero-length, empty document: line 1 column 1 (char 0)"),
    (b" \n", "Input is a zero-length, empty document: line 1 column 1 (char 0)"),
    (b"{", "unexpected end of data: line 1 column 2 (char 1)"),
    (b'{"model": "m"', "unexpected end of data: line 1 column 14 (char 13)"),
    (b"hello", "unexpected character: line 1 column 1 (char 0)"),
    (b'{"a": NaN}', "unexpected character: line 1 column 7 (char 6)"),
    (b'{"a": 1,}', "trailing comma is not allowed: line 1 column 9 (char 8)"),
    (b'{} {"a": 1}', "unexpected content after document: line 1 column 5 (char 4)"),
    (b'{"model": "\\x"}', "invalid escaped character in string: line 1 column 14 (char 13)"),
    ('{"ä":\n {"ö": tru}}'.encode(), "unexpected character: line 2 column 9 (char 14)"),
    (b'{"a": "\\ud83d"}', "no low surrogate in string: line 1 column 14 (char 13)"),
    (b'{"a": "\\ud83d and on"}', "no low surrogate in string: line 1 column 14 (char 13)"),
    (b'{"a": "\\ud83d\\n"}', "no low surrogate in string: line 1 column 14 (char 13)"),
    (b'{"a": "\\ud83d\\u0041"}', "no low surrogate in string: line 1 column 14 (char 13)"),
    (b'{"a": "\\udc00"}', "invalid high surrogate in string: line 1 column 14 (char 13)"),
    (
        b'{"model": "\xff"}',
        "str is not valid UTF-8: surrogates not allowed: line 1 column 12 (char 11)",
    ),
    (
        b'{"unknown": "\xff"}',
        "str is not valid UTF-8: surrogates not allowed: line 1 column 14 (char 13)",
    ),
    (b'{"model": 5, "messages": [}', "unexpected character: line 1 column 27 (char 26)"),
    (b'{"tags":' + b"[" * 100_000, "recursion limit reached"),
    (b'{"model": 5, "tags":' + b"[" * 100_000, "recursion limit reached"),
]


@pytest.mark.parametrize(("raw", "expected"), JSON_ERRORS)
def test_what_is_no_json_is_named_by_position(raw: bytes, expected: str) -> None:
    assert refusal(raw) == JSON + expected


def test_paired_and_escaped_surrogates_are_text() -> None:
    raw = json.dumps(body(messages=says(text("\\ud83d 😀"))))

    request = decode(raw.encode(), CreateMessage)

    assert request.messages[0].content == [TextBlock("\\ud83d 😀")]


@pytest.mark.parametrize(
    ("field", "number", "expected"),
    [
        ("temperature", "1e400", "temperature: Number out of range"),
        ("max_tokens", "9" * 5000, "max_tokens: Integer value out of range"),
        ("tags", '[{"a": 1e999}]', "tags.0: Number out of range"),
    ],
)
def test_numbers_that_nothing_can_hold(field: str, number: str, expected: str) -> None:
    raw = json.dumps(body(**{field: "NUMBER"})).replace('"NUMBER"', number)

    assert refusal(raw.encode()) == expected


def test_a_key_given_twice() -> None:
    assert refusal(b'{"model": 5, "model": "m"}') == "messages: Field required"
    whole = json.dumps(body()).encode()
    assert refusal(b'{"max_tokens": "x", ' + whole[1:]) == "max_tokens: Expected `int`, got `str`"


def test_unknown_top_level_keys_are_reported() -> None:
    raw = json.dumps(body(foo=1, stream=True, bar={"model": 2})).encode()
    decode(raw, CreateMessage)

    assert unknown_keys(raw, CreateMessage) == ["foo", "bar"]
    assert unknown_keys(raw, CountTokens) == ["max_tokens", "foo", "stream", "bar"]


def test_a_whole_request() -> None:
    request = decode(
        json.dumps(
            body(
                system=[text("Be kind", cache_control={"type": "ephemeral", "ttl": "1h"})],
                messages=[
                    HELLO,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "Hm", "signature": "s"},
                            USE | {"caller": None},
                        ],
                    },
                    {"role": "user", "content": [RESULT | {"is_error": False}]},
                ],
                tools=[
                    TOOL,
                    TOOL | {"name": "b", "type": None, "unknown": 1},
                    TOOL | {"name": "c", "type": "custom"},
                    {"type": "bash_20250124", "name": "bash"},
                    {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
                    {"type": "computer_toolset_20260801"},
                ],
                tool_choice={"type": "tool", "name": "b"},
            )
        ).encode(),
        CreateMessage,
    )

    assert request.system == [TextBlock("Be kind", cache_control=CacheControl("1h"))]
    assert request.messages[0] == MessageParam("user", "Hello")
    assert isinstance(request.messages[1].content, list)
    assert request.messages[1].content[0] == ThinkingBlock("Hm", "s")
    assert request.messages[2].content == [ToolResultBlock("toolu_1", "Rain", is_error=False)]
    assert request.tool_choice == ToolChoiceTool("b")
    assert isinstance(request.tools, list)
    assert [type(tool) for tool in request.tools] == [
        CustomTool, CustomTool, CustomTool, BashTool, WebSearchTool, ClientToolset,
    ]  # fmt: skip


def test_the_table_of_tool_types_knows_those_of_the_sdk() -> None:
    assert len(TOOL_TYPES) > 25
    assert {"custom", "bash_20250124", "memory_20250818", "mcp_toolset"} <= TOOL_TYPES.keys()
