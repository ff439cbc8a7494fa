"""The documents tell the truth: every field has its row, every text of a row its code."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import anthropic
import msgspec
import pytest
import yaml

from antiphon.backends.script import Failure, Match, Reply, load
from antiphon.backends.support import reject_unsupported
from antiphon.cli import serve
from antiphon.engines.llamacpp.engine import WAITING_MAX
from antiphon.errors import InvalidRequestError
from antiphon.http import body, connection, models, sse
from antiphon.rendering.chat_template import OUTPUT_CHARS_MAX
from antiphon.testing.plugin import StartServer
from antiphon.wire import rules
from antiphon.wire.content import ContentBlockParam, DocumentBlock
from antiphon.wire.messages import CreateMessage, MessageParam, Metadata, OutputConfig, Thinking
from antiphon.wire.sources import CacheControl, PlainTextSource
from antiphon.wire.tools import CustomTool, ToolChoice
from antiphon.wire.validation import decode

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
MINIMAL = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}

# A value of each field that a client could send, where it is more than a string.
VALUES: dict[str, Any] = {
    "output_format": {"type": "json_schema", "schema": {"type": "object"}},
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "thread": {"type": "create"},
    "mcp_servers": [{"type": "url", "url": "https://example.org", "name": "n"}],
    "compaction": {"type": "summarize"},
    "max_tokens": 5,
    "messages": MINIMAL["messages"],
    "stop_sequences": ["END"],
    "stream": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "speed": "fast",
    "cache_control": {"type": "ephemeral"},
    "diagnostics": {"previous_message_id": None},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "billing_policy": {"x": 1},
    "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 20_000}},
}
NESTED: dict[str, tuple[type, ...]] = {
    "messages[]": (MessageParam,),
    "cache_control": (CacheControl,),
    "metadata": (Metadata,),
    "output_config": (OutputConfig,),
    "thinking": get_args(Thinking),
    "tool_choice": get_args(ToolChoice),
    "tools[]": (CustomTool,),
}
FIELDS = "Body fields of `create` and `count_tokens`"


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows_of(title: str) -> dict[str, tuple[str, str]]:
    """First column without its backticks → the other two."""
    found = re.findall(r"^\| `([^`]+)` \| (\w+) \| ?(.*?) ?\|$", section(title), flags=re.MULTILINE)
    return {name: (status, text) for name, status, text in found}


def fields_of(*structs: type) -> set[str]:
    return {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}


def refusal(name: str) -> str | None:
    request = {**MINIMAL, name: VALUES.get(name, "text")}
    try:
        reject_unsupported(decode(json.dumps(request).encode(), CreateMessage))
    except InvalidRequestError as error:
        return error.message
    return None


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    assert set(rows_of(FIELDS)) == set(CreateMessage.__struct_fields__)


@pytest.mark.parametrize("name", CreateMessage.__struct_fields__)
def test_a_field_is_answered_as_its_row_says(name: str) -> None:
    status, text = rows_of(FIELDS)[name]
    refused = refusal(name)

    if status == "400":
        assert refused is not None
        assert refused.startswith(text.split("`")[1].removesuffix("…"))
    else:
        assert status in ("yes", "ignored")
        assert refused is None


def test_every_field_inside_a_field_has_a_row_and_every_row_a_field() -> None:
    expected = {
        f"{path}.{name}" for path, structs in NESTED.items() for name in fields_of(*structs)
    }

    assert set(rows_of("Inside those fields")) == expected


def test_every_block_has_a_row_with_its_fields() -> None:
    listed = {
        tag: set(re.findall(r"`(\w+)`", text))
        for tag, (_, text) in rows_of("Content blocks").items()
    }

    assert listed == {
        str(kind.__struct_config__.tag): fields_of(kind) for kind in get_args(ContentBlockParam)
    }


@pytest.mark.parametrize("kind", get_args(ContentBlockParam), ids=lambda k: k.__struct_config__.tag)
def test_a_block_is_answered_as_its_row_says(kind: type[msgspec.Struct]) -> None:
    required: dict[str, Any] = {
        field.name: "x" for field in msgspec.structs.fields(kind) if field.required
    }
    if kind is DocumentBlock:
        required["source"] = PlainTextSource("text/plain", "x")
    message = MessageParam("user", [kind(**required)])  # type: ignore[list-item]
    tag = str(kind.__struct_config__.tag)
    request = CreateMessage(model="m", max_tokens=1, messages=[message])

    if rows_of("Content blocks")[tag][0] in ("yes", "ignored"):
        reject_unsupported(request)
        return
    with pytest.raises(InvalidRequestError) as caught:
        reject_unsupported(request)

    assert caught.value.message == (
        f"messages.0.content.0: `{tag}` blocks are not supported yet by this server."
    )


# What stands in the table of limits, and in the code.
LIMITS = {
    "request body": f"{body.BODY_BYTES_MAX // 2**20} MiB",
    "time for a body to arrive": f"{body.BODY_S} s",
    "headers of a request": f"{connection.HEAD_BYTES_MAX // 2**10} KiB",
    "time for headers to arrive": f"{connection.HEAD_S:g} s",
    "connections": f"{connection.CONNECTIONS_MAX:,}",
    "rendered prompt": f"{OUTPUT_CHARS_MAX // 2**20} MiB of text",
    "messages": f"{rules.MESSAGES_MAX:,}",
    "stop sequences": (f"{rules.STOP_SEQUENCES_MAX}, together {rules.STOP_CHARS_MAX:,} characters"),
    "cache breakpoints": str(rules.BREAKPOINTS_MAX),
    "requests waiting in the engine": f"{WAITING_MAX:,}",
    "models on a page": f"{models.LIMIT_MAX:,}",
    "silence before the headers of a stream": f"{sse.HOLD_S:g} s",
    "silence in a stream": f"{sse.PING_S:g} s",
    "a client that takes nothing": f"{sse.SEND_S:g} s",
    "idle connection": f"{serve.KEEP_ALIVE_S} s",
    "running answers after the first Ctrl-C": f"{serve.GRACE_S} s",
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_are_those_of_the_code(name: str) -> None:
    table = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section("Limits"), flags=re.MULTILINE))

    assert table[name] == LIMITS[name]


@pytest.mark.parametrize(
    "page",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/conversations.md", "docs/chat.md"],
)
def test_the_files_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_the_changelog_knows_this_version() -> None:
    from antiphon import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readmes_example_of_a_test_is_one(
    antiphon_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
        if "antiphon_server" in block
    )
    clients: list[anthropic.Anthropic] = []  # the example leaves its own to the end of the process
    client_class = anthropic.Anthropic

    def opened(**options: Any) -> anthropic.Anthropic:
        clients.append(client_class(**options))
        return clients[-1]

    monkeypatch.setattr(anthropic, "Anthropic", opened)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)

    names["test_my_agent"](antiphon_server)
    for client in clients:
        client.close()


def test_what_the_page_on_conversations_shows_works(
    antiphon_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"tool_use": {"name": "get_weather", "input": {"city": "Rome"}}}
    script = [
        {"match": {"tool_result": "sunny"}, "reply": "Take sunglasses."},
        {"match": {"tool": "get_weather"}, "reply": [call]},
        {"reply": "Yes."},
    ]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", antiphon_server({"replies": script}).url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "conversations.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/conversations.md", "exec"), names)
    names["client"].close()

    assert len(blocks) == 5
    assert names["agent"].messages[-1]["content"][0]["text"] == "Take sunglasses."
    assert names["hit"].text == "What is a monad?"


def test_every_key_of_a_script_is_documented() -> None:
    page = (ROOT / "docs" / "scripted.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w.]+)` \|", page, flags=re.MULTILINE))
    expected = fields_of(Reply) | {f"match.{name}" for name in fields_of(Match)}
    expected |= {f"error.{name}" for name in fields_of(Failure)}

    assert listed == expected - {"error"}


def test_the_example_of_a_script_is_one() -> None:
    page = (ROOT / "docs" / "scripted.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)

    assert len(load(yaml.safe_load(code)).replies) == 4


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"
