"""Pieces of an answer become events, byte for byte as the API writes them (spec §6.2, §6.3)."""

import pytest

from antiphon.parsing.message_stream import MessageStream
from antiphon.wire.content import TextBlock, ThinkingBlock, ToolUseBlock
from antiphon.wire.events import Event, accumulate, sse
from antiphon.wire.messages import Usage

START = Usage(input_tokens=5, output_tokens=0)
END = Usage(input_tokens=5, output_tokens=9)


def lines(events: list[Event]) -> list[str]:
    return [sse(event).decode().split("data: ")[1].strip() for event in events]


def test_thinking_text_and_a_call() -> None:
    stream = MessageStream("msg_1", "m")
    events = [
        *stream.start(START),
        *stream.thinking("Hm"),
        *stream.thinking("."),
        *stream.sign("sig"),
        *stream.text("Let me "),
        *stream.text("look."),
        *stream.tool_use("toolu_1", "get_weather"),
        *stream.input_json('{"city": '),
        *stream.input_json('"Rome"}'),
        *stream.tool_use("toolu_2", "now"),
        *stream.finish("tool_use", None, END),
    ]

    assert lines(events)[1:-2] == [
        '{"type":"content_block_start","index":0,"content_block":'
        '{"type":"thinking","thinking":"","signature":""}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"."}}',
        '{"type":"content_block_delta","index":0,"delta":'
        '{"type":"signature_delta","signature":"sig"}}',
        '{"type":"content_block_stop","index":0}',
        '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me "}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"look."}}',
        '{"type":"content_block_stop","index":1}',
        '{"type":"content_block_start","index":2,"content_block":{"type":"tool_use",'
        '"id":"toolu_1","name":"get_weather","input":{},"caller":{"type":"direct"}}}',
        '{"type":"content_block_delta","index":2,"delta":'
        '{"type":"input_json_delta","partial_json":""}}',
        '{"type":"content_block_delta","index":2,"delta":'
        '{"type":"input_json_delta","partial_json":"{\\"city\\": "}}',
        '{"type":"content_block_delta","index":2,"delta":'
        '{"type":"input_json_delta","partial_json":"\\"Rome\\"}"}}',
        '{"type":"content_block_stop","index":2}',
        '{"type":"content_block_start","index":3,"content_block":{"type":"tool_use",'
        '"id":"toolu_2","name":"now","input":{},"caller":{"type":"direct"}}}',
        '{"type":"content_block_delta","index":3,"delta":'
        '{"type":"input_json_delta","partial_json":""}}',
        '{"type":"content_block_stop","index":3}',
    ]
    message = accumulate(events)
    assert message.content[0] == ThinkingBlock("Hm.", "sig")
    assert message.content[1] == TextBlock("Let me look.")
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Rome"}),
        ("now", {}),
    ]


def test_text_behind_a_call_is_a_block_of_its_own() -> None:
    stream = MessageStream("msg_1", "m")
    events = [
        *stream.start(START),
        *stream.text("a"),
        *stream.tool_use("toolu_1", "f"),
        *stream.text("b"),
        *stream.finish("end_turn", None, END),
    ]

    assert [type(block).__name__ for block in accumulate(events).content] == [
        "TextBlock", "ToolUseBlock", "TextBlock",
    ]  # fmt: skip


def test_thinking_that_is_not_shown_is_signed_all_the_same() -> None:
    stream = MessageStream("msg_1", "m")
    events = [
        *stream.start(START),
        *stream.sign("s"),
        *stream.text("a"),
        *stream.finish("end_turn", None, END),
    ]

    assert accumulate(events).content == [ThinkingBlock("", "s"), TextBlock("a")]


def test_an_empty_answer_has_a_text_and_a_prompt_that_was_only_computed_has_none() -> None:
    for usage, content in ((END, [TextBlock("")]), (START, [])):
        stream = MessageStream("msg_1", "m")
        events = [*stream.start(START), *stream.text(""), *stream.finish("end_turn", None, usage)]

        assert accumulate(events).content == content


def test_input_needs_an_open_call() -> None:
    stream = MessageStream("msg_1", "m")
    stream.start(START)
    stream.text("a")

    with pytest.raises(AssertionError, match="outside of a tool call"):
        stream.input_json("{}")
