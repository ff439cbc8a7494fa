"""Condensing what leaves a conversation: what the model is asked, in pieces that it can read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.conversation.state import result_text
from antiphon.conversation.tree import Message, blocks_of

NOTES_TOKENS_MAX = 400
PIECE_BYTES_MIN = 100  # in a window without room for so many, nothing is condensed
PIECES_MAX = 8  # of what leaves at once; what is older than they are is dropped
SUMMARISE = (
    "Condense the conversation below into notes that let you continue it: facts, names, numbers, "
    "decisions, open questions. Write the notes only."
)
UPDATE = "These are your notes on what came before it. Keep of them what still matters:"


def question(notes: str, piece: str) -> str:
    """What the model is asked; earlier notes are condensed with what comes behind them."""
    before = f"{UPDATE}\n{notes}\n\n" if notes else ""
    return f"{SUMMARISE}\n\n{before}The conversation:\n{piece}"


def transcript_bytes(messages: Sequence[Message]) -> int:
    return 1 + sum(len(line.encode()) for line in _lines(messages))


def pieces(messages: Sequence[Message], size_bytes_max: int) -> list[str]:
    """Messages as plain text, in pieces of at most so many bytes."""
    found: list[str] = []
    room = 0
    for line in _lines(messages):
        for part in _parts(line, size_bytes_max):
            needed = len(part.encode()) + 1
            if needed > room:
                found.append(part)
                room = size_bytes_max - needed
            else:
                found[-1] += "\n" + part
                room -= needed
    return found


def _parts(line: str, size_bytes_max: int) -> list[str]:
    """A line that is too long for a piece in several; four bytes are the most of a character."""
    if len(line.encode()) < size_bytes_max:
        return [line]
    step = max(1, size_bytes_max // 4 - 1)
    return [line[start : start + step] for start in range(0, len(line), step)]


def _lines(messages: Sequence[Message]) -> list[str]:
    return [
        f"{message['role']}: {said}"
        for message in messages
        for block in blocks_of(message)
        if (said := _said(block))
    ]


def _said(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block["text"]).strip()
        case "tool_use":
            return f"[calls {block['name']} with {json.dumps(block['input'], ensure_ascii=False)}]"
        case "tool_result":
            return f"[result: {result_text(block) or 'no text'}]"
        case "thinking" | "redacted_thinking":
            return ""
        case kind:
            return f"[{kind}]"
