"""Messages as a tree: each knows the one before it, and its id is the hash of both.

Conversations with a common past share its nodes, in memory and in the file (`store.py`). A node
never changes: to take something back is to hold an earlier one.
"""

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

type Message = dict[str, Any]
"""As the API takes it: `role` and `content`, plain data."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node:
    """A message, and so everything before it. `depth` counts the messages up to this one."""

    message: Message
    parent: "Node | None"
    depth: int
    id: str


def append(parent: Node | None, role: str, content: Any) -> Node:
    """
    Raises:
        TypeError, ValueError: `content` is nothing that JSON can hold.
    """
    message = {"role": role, "content": plain(content)}
    canonical = json.dumps(message, sort_keys=True)
    digest = sha256(f"{parent.id if parent else ''}\n{canonical}".encode()).hexdigest()
    return Node(message, parent, parent.depth + 1 if parent else 1, digest)


def depth(node: Node | None) -> int:
    return node.depth if node else 0


def nodes(node: Node | None) -> list[Node]:
    """The way from the first message to this one."""
    found = []
    while node is not None:
        found.append(node)
        node = node.parent
    return found[::-1]


def path(node: Node | None) -> list[Message]:
    return [each.message for each in nodes(node)]


def plain(value: Any) -> Any:
    """A copy as JSON data. Blocks may be the client's own objects; files become base64, as the
    client itself would make them."""
    text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    # Models write halves of surrogate pairs, which neither HTTP nor SQLite can carry.
    return json.loads(text.encode(errors="replace"))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # what a client got: exactly what the server sent
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    if isinstance(value, os.PathLike):
        value = Path(value).read_bytes()
    elif hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


# What a message says --------------------------------------------------------------------------


def blocks_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A string is one block of text; an empty one is none."""
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def text_of(message: Mapping[str, Any]) -> str:
    """What is said in words, without calls and their results."""
    texts = (str(block["text"]) for block in blocks_of(message) if block.get("type") == "text")
    return "\n".join(texts)


def has_results(message: Mapping[str, Any]) -> bool:
    return any(block.get("type") == "tool_result" for block in blocks_of(message))


def exchange_starts(messages: Sequence[Message]) -> list[int]:
    """Indexes at which a user says something of his own: what follows, up to the next of them,
    belongs together. Calls and their results are never on two sides of a start."""
    return [
        index
        for index, message in enumerate(messages)
        if index == 0 or (message["role"] == "user" and not has_results(message))
    ]


def check(messages: Sequence[Message]) -> None:
    """
    Raises:
        ValueError: this is no history that the API accepts; the text says where.
    """
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            raise ValueError(f"messages.{index}: the role is one of user, assistant and system")
        if index == 0 and message["role"] != "user":
            raise ValueError("messages.0: a conversation begins with the user")
        if not blocks_of(message) and message["role"] != "assistant":
            raise ValueError(f"messages.{index}: there is nothing in it")
    calls: set[str] = set()
    for role, turn in groupby(messages, key=lambda message: message["role"]):
        blocks = [block for message in turn for block in blocks_of(message)]
        first = list(takewhile(lambda block: block.get("type") == "tool_result", blocks))
        results = [b["tool_use_id"] for b in blocks if b.get("type") == "tool_result"]
        if len(results) != len(first) or sorted(results) != sorted(calls):
            raise ValueError(f"calls {sorted(calls)} are answered by results {sorted(results)}")
        calls = {block["id"] for block in blocks if block.get("type") == "tool_use"}
        if calls and role != "assistant":
            raise ValueError("only an assistant calls tools")
    if calls:
        raise ValueError(f"calls {sorted(calls)} have no results")
