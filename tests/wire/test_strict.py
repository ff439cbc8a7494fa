"""`--strict`: what the hosted API refuses and we accept by default, each rule in both moods."""

import json
from typing import Any

import pytest
from anthropic.types import anthropic_beta_param

from antiphon.errors import InvalidRequestError
from antiphon.wire.messages import CountTokens, CreateMessage
from antiphon.wire.validation import decode
from antiphon.wire.versions import BETAS, DEFAULT, NEWEST, VERSIONS, Contract, contract

OLD = Contract(VERSIONS["2023-06-01"], strict=True)
NEW = Contract(VERSIONS["2026-10-21"], strict=True)
HELLO = {"role": "user", "content": "hi"}
CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "start_char_index": 0,
    "end_char_index": 1,
}
CITED = {"type": "text", "text": "x", "citations": [CITATION]}
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
}
SEARCH = {"type": "search_result", "source": "s", "title": "t", "content": [CITED]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
MARK = {"type": "ephemeral"}
THINKING = {"type": "thinking", "thinking": "Hm", "signature": "s"}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "5"}
USE_2, RESULT_2 = USE | {"id": "t2"}, RESULT | {"tool_use_id": "t2"}
ENABLED = {
    "max_tokens": 2000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [TOOL],
}


def body(**changes: Any) -> bytes:
    request = {"model": "m", "max_tokens": 9, "messages": [HELLO], **changes}
    return json.dumps(request).encode()


def says(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


REFUSED = [
    ("temperature: Extra inputs are not permitted", NEW, {"temperature": 1.0}),
    ("top_p: Extra inputs are not permitted", NEW, {"top_p": 0.5}),
    ("top_k: Extra inputs are not permitted", NEW, {"top_k": 5}),
    ("colour: Extra inputs are not permitted", OLD, {"colour": "red"}),
    ("thread: Extra inputs are not permitted", OLD, {"thread": {"type": "create"}}),
    ("mcp_servers: Extra inputs are not permitted", OLD, {"mcp_servers": []}),
    (
        "context_management: Extra inputs are not permitted",
        OLD,
        {"context_management": {"edits": []}},
    ),
    (
        "messages: final assistant content cannot end with trailing whitespace",
        OLD,
        {"messages": [HELLO, says("assistant", "So ")]},
    ),
    (
        "messages: final assistant content cannot end with trailing whitespace",
        OLD,
        {"messages": [HELLO, says("assistant", [{"type": "text", "text": "So\n"}])]},
    ),
    (
        "messages.1: all messages must have non-empty content except for the optional final "
        "assistant message",
        OLD,
        {"messages": [HELLO, says("assistant", []), HELLO]},
    ),
    (
        "messages.0: use the top-level 'system' parameter for the initial system prompt",
        OLD,
        {"messages": [says("system", "Be brief."), HELLO]},
    ),
    (
        "messages.2: role 'system' must follow a user message or an assistant message that ends "
        "in the result of a server tool",
        OLD,
        {"messages": [HELLO, says("assistant", "x"), says("system", "Be brief.")]},
    ),
    (
        "messages.1: role 'system' must precede an assistant message or be the last message",
        OLD,
        {"messages": [HELLO, says("system", "Be brief."), HELLO]},
    ),
    (
        "messages.1.content.0: `document` blocks are not permitted in assistant messages",
        NEW,
        {"messages": [HELLO, says("assistant", [DOCUMENT])]},
    ),
    (
        "messages.0.content.0: `citations` are not permitted on text in user messages",
        NEW,
        {"messages": [says("user", [CITED])]},
    ),
    (
        "messages.0.content.0: `citations` are not permitted on text in user messages",
        NEW,
        {"messages": [says("user", [SEARCH])]},
    ),
    (
        "At least one tool must have defer_loading=false. All tools cannot be deferred.",
        OLD,
        {"tools": [{**TOOL, "defer_loading": True}]},
    ),
    (
        "tools.1: cache_control cannot be set for deferred tools",
        OLD,
        {"tools": [TOOL, {**TOOL, "name": "g", "defer_loading": True, "cache_control": MARK}]},
    ),
    (
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft "
        "2020-12 (https://json-schema.org/draft/2020-12): 'text' is not of type 'object', "
        "'boolean'",
        OLD,
        {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": "text"}}}]},
    ),
    (
        "tools.0.custom.input_examples.1: 5 is not of type 'string'",
        OLD,
        {
            "tools": [
                {
                    "name": "f",
                    "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                    "input_examples": [{"a": "x"}, {"a": 5}],
                }
            ]
        },
    ),
    (
        "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the "
        "top level",
        OLD,
        {"tools": [{"name": "f", "input_schema": {"type": "object", "anyOf": []}}]},
    ),
    (
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with a "
        "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We "
        "recommend you include thinking blocks from previous turns. To avoid this requirement, "
        "disable `thinking`.",
        OLD,
        ENABLED | {"messages": [HELLO, says("assistant", [USE]), says("user", [RESULT])]},
    ),
]


@pytest.mark.parametrize(("text", "held_to", "changes"), REFUSED)
def test_strictly_it_is_refused_and_by_default_accepted(
    text: str, held_to: Contract, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(body(**changes), CreateMessage, held_to)

    assert caught.value.message == text
    decode(body(**changes), CreateMessage)


def test_a_schema_cannot_make_the_server_fetch_anything() -> None:
    for reference in ("http://127.0.0.1:9/s", "#/nothing", "#"):
        tool = {**TOOL, "input_schema": {"type": "object", "$ref": reference}}
        request = body(tools=[{**tool, "input_examples": [{"a": 1}]}])
        with pytest.raises(InvalidRequestError, match=r"tools\.0\.custom\.input_schema: JSON"):
            decode(request, CreateMessage, OLD)


ACCEPTED = [
    (OLD, {"temperature": 1.0, "top_p": 0.5, "top_k": 5}),
    (OLD, {"messages": [HELLO, says("system", "Be brief.")]}),
    (OLD, {"messages": [HELLO, says("system", "Be brief."), says("assistant", "So")]}),
    (OLD, {"messages": [HELLO, says("assistant", "")]}),
    (OLD, {"messages": [HELLO, says("assistant", [DOCUMENT])]}),
    (OLD, {"messages": [says("user", [CITED])]}),
    (NEW, {"messages": [says("user", [DOCUMENT])]}),
    (NEW, {"messages": [HELLO, says("assistant", [CITED])]}),
    (OLD, {"tools": [TOOL, {**TOOL, "name": "g", "defer_loading": True}]}),
    (
        OLD,  # what came before the latest question need not think, nor what follows a result
        ENABLED
        | {
            "messages": [
                HELLO,
                says("assistant", "Yes."),
                HELLO,
                says("assistant", [THINKING, USE]),
                says("user", [RESULT]),
                says("assistant", [USE_2]),
                says("user", [RESULT_2]),
            ]
        },
    ),
    (
        Contract(DEFAULT, frozenset({"message-threads-2026-08-12"}), strict=True),
        {"thread": {"type": "create"}},
    ),
]


@pytest.mark.parametrize(("held_to", "changes"), ACCEPTED)
def test_what_the_hosted_api_accepts_is_accepted_strictly(
    held_to: Contract, changes: dict[str, Any]
) -> None:
    decode(body(**changes), CreateMessage, held_to)


def test_strict_holds_for_counting_too() -> None:
    raw = json.dumps({"model": "m", "messages": [HELLO], "colour": 1}).encode()

    with pytest.raises(InvalidRequestError, match="colour: Extra inputs"):
        decode(raw, CountTokens, OLD)


# Headers (spec §7.3, §7.4) --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "betas", "text"),
    [
        (None, [], "anthropic-version: header is required"),
        ("2020-01-01", [], 'anthropic-version: "2020-01-01" is not a valid version'),
        (
            "2023-06-01",
            ["files-api-2025-04-14", "wishes-2030-01-01"],
            "Unexpected value(s) `wishes-2030-01-01` for the `anthropic-beta` header. Please "
            "consult our documentation at docs.anthropic.com or try again without the header.",
        ),
    ],
)
def test_headers_are_judged_strictly_only(version: str | None, betas: list[str], text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        contract(version, betas, strict=True)

    assert caught.value.message == text
    assert not contract(version, betas, strict=False).strict


def test_a_missing_version_is_the_old_one_and_an_unknown_one_the_newest() -> None:
    assert contract(None, [], strict=False).version == DEFAULT
    assert contract("2031-01-01", [], strict=False).version == NEWEST


def test_the_betas_are_those_of_the_client_as_far_as_they_touch_messages() -> None:
    import typing

    theirs = {
        name
        for part in typing.get_args(anthropic_beta_param.AnthropicBetaParam)
        for name in typing.get_args(part)
    }
    platform = (
        "managed-agents", "dreaming", "mcp-tunnels", "ce-", "spend-limit", "telemetry",
        "webhooks", "admin-", "analytics", "experimental-", "efs-", "google-managed-",
    )  # fmt: skip
    touching = {name for name in theirs if not name.startswith(platform)}

    assert touching <= BETAS
