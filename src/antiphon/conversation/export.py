"""A conversation as JSON, to go on with elsewhere, and as Markdown, to be read."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.conversation.steps import System
from antiphon.conversation.tree import blocks_of

NAMES = {"user": "User", "assistant": "Assistant", "system": "System"}


def to_json(messages: Sequence[Mapping[str, Any]], *, model: str, system: System) -> str:
    """The arguments of `messages.create` that it is made of."""
    whole = {"model": model, "system": system, "messages": messages}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def to_markdown(messages: Sequence[Mapping[str, Any]], *, model: str, system: System) -> str:
    parts = [f"*{model}*"]
    if system is not None:
        blocks = blocks_of({"content": system})
        parts += ["## System", *(_part(block) for block in blocks)]
    for message in messages:
        blocks = blocks_of(message)
        is_result = any(block.get("type") == "tool_result" for block in blocks)
        name = "Tools" if is_result else NAMES[message["role"]]
        parts += [f"## {name}", *(_part(block) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _part(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block["text"]).strip()
        case "thinking":
            return "\n".join(f"> {line}" for line in str(block["thinking"]).splitlines())
        case "tool_use":
            call = json.dumps(block["input"], ensure_ascii=False, indent=1)
            return f"calls `{block['name']}`\n\n{_fenced(call, 'json')}"
        case "tool_result":
            return _result(block)
        case kind:
            return f"[{kind}]"


def _result(block: Mapping[str, Any]) -> str:
    content = block.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in content)
    return ("failed\n\n" if block.get("is_error") else "") + _fenced(content)


def _fenced(text: str, language: str = "") -> str:
    """In a fence that is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
