"""Where a conversation stands: all that was said, and what of it is sent. Values without I/O.

What was said is never cut; what is sent is a view of it. The view is part of the state and stored
with it, so that a conversation that is resumed sends the very prefix that a server may have cached.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

from antiphon.conversation.tree import (
    Message,
    Node,
    append,
    blocks_of,
    check,
    exchange_starts,
    path,
    plain,
)

NOTES = "Notes on the earlier part of this conversation:\n"
NEVER_LAST = ("thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use")
MARKS_MAX = 4  # cache breakpoints that the API takes in one request


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class State:
    """After a turn. `previous` is what undo goes back to.

    Of the messages before index `left` only the exchanges in `pinned` (indexes of their first
    messages) are sent; `notes` stand for the others. `cuts` are the characters that are sent of
    each tool result in a message. What is sent has at most `tokens` tokens, if that is known.
    """

    head: Node | None = None
    previous: "State | None" = None
    left: int = 0
    notes: str = ""
    pinned: frozenset[int] = frozenset()
    cuts: Mapping[int, int] = field(default_factory=dict)
    tokens: int | None = None
    id: str = ""


EMPTY = State()


def finished(state: State, previous: State) -> State:
    """The state after a turn that began with `previous`, with its id."""
    head = state.head.id if state.head else ""
    view = (state.left, state.notes, sorted(state.pinned), sorted(state.cuts.items()))
    digest = sha256(f"{previous.id}\n{head}\n{view}".encode()).hexdigest()
    return replace(state, previous=previous, id=digest)


def imported(messages: Sequence[Mapping[str, Any]]) -> State:
    """A history from elsewhere, which can be undone exchange by exchange.

    Raises:
        ValueError: it is not one that the API accepts.
    """
    listed: list[Message] = plain(messages)
    check(listed)
    state = EMPTY
    starts = [*exchange_starts(listed), len(listed)]
    for start, end in pairwise(starts):
        head = state.head
        for message in listed[start:end]:
            head = append(head, message["role"], message["content"])
        state = finished(State(head, left=0), state)
    return state


# What is sent ---------------------------------------------------------------------------------


def sent(state: State, marks_max: int = MARKS_MAX) -> list[Message]:
    """The messages of the next request: roles alternate, nothing in them is empty, calls stand
    with their results, and no more than `marks_max` cache breakpoints are left, the last ones."""
    messages: list[Message] = []
    for index, message in kept(state):
        role, blocks = message["role"], _shown(message, state.cuts.get(index))
        if index == state.left and state.notes:
            blocks.insert(0, {"type": "text", "text": NOTES + state.notes})
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            blocks = [*blocks_of(messages.pop()), *blocks]
        is_text = isinstance(message["content"], str) and len(blocks) == 1
        messages.append({"role": role, "content": blocks[0]["text"] if is_text else blocks})
    return _with_marks(messages, marks_max)


def kept(state: State) -> Iterator[tuple[int, Message]]:
    """What is sent of what was said, with its indexes."""
    said = path(state.head)
    starts = set(exchange_starts(said[: state.left])) if state.pinned else set()
    is_pinned = False
    for index, message in enumerate(said):
        if index in starts:
            is_pinned = index in state.pinned
        if index >= state.left or is_pinned:
            yield index, message


def _shown(message: Message, chars: int | None) -> list[Mapping[str, Any]]:
    """What of a message is sent. A model may say nothing, or think and say nothing, but the API
    does not take that back."""
    blocks = blocks_of(message)
    if message["role"] == "assistant":
        blocks = [b for b in blocks if b.get("type") != "text" or b["text"].strip()]
        while blocks and blocks[-1].get("type") in NEVER_LAST:
            blocks.pop()
    if chars is not None:
        blocks = [_cut(b, chars) if b.get("type") == "tool_result" else b for b in blocks]
    return blocks


def result_text(block: Mapping[str, Any]) -> str:
    """What a tool gave, in words."""
    content = block.get("content") or ""
    return content if isinstance(content, str) else "\n".join(b.get("text", "") for b in content)


def _cut(block: Mapping[str, Any], chars: int) -> Mapping[str, Any]:
    content, text = block.get("content") or "", result_text(block)
    if isinstance(content, str) and len(text) <= chars:
        return block
    left_out = f"{max(0, len(text) - chars):,} of {len(text):,} characters"
    if not isinstance(content, str) and any(part.get("type") != "text" for part in content):
        left_out += " and what is no text"
    note = f"[no room here for {left_out} of this result]"
    return {**block, "content": f"{text[:chars]}\n{note}".strip()}


def _with_marks(messages: list[Message], marks_max: int) -> list[Message]:
    found = [
        (at, place)
        for at, message in enumerate(messages)
        for place, block in enumerate(blocks_of(message))
        if block.get("cache_control")
    ]
    for at, place in found[: max(0, len(found) - marks_max)]:
        content = list(messages[at]["content"])
        content[place] = {k: v for k, v in content[place].items() if k != "cache_control"}
        messages[at] = {**messages[at], "content": content}
    return messages
