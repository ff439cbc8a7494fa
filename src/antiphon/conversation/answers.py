"""From the client's message objects to plain data: replies, usage, and what the history keeps."""

from collections.abc import Mapping
from typing import Any

from antiphon.conversation.reply import Block, Reply
from antiphon.conversation.tree import plain

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def reply_of(message: Any) -> Reply:
    """`message` is the client's object; blocks keep exactly what the server sent."""
    blocks = plain(message.content)
    for block in blocks:
        block.pop("parsed_output", None)  # the client adds it when it parses
    return Reply(blocks, message.stop_reason, plain(message.usage))


def add_usage(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers are added, of everything else the later one counts."""
    total = {**one, **{key: value for key, value in other.items() if value is not None}}
    for key, value in one.items():
        later = other.get(key)
        if _is_count(value) and _is_count(later):
            total[key] = value + later
        elif isinstance(value, Mapping) and isinstance(later, Mapping):
            total[key] = add_usage(value, later)
    return total


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def prompt_tokens(usage: Mapping[str, Any]) -> int:
    """All of the prompt, cached or not; 0 if the server does not say."""
    return sum(int(usage.get(name) or 0) for name in COUNTS if name != "output_tokens")


def output_tokens_max(reply: Reply) -> int:
    """The most tokens that an answer has when it is rendered again, which need not give the same
    tokens; a quarter more has never been seen."""
    return int(reply.usage.get("output_tokens") or 0) * 5 // 4


def kept_blocks(reply: Reply) -> list[Block]:
    """What of an answer is history: calls that will not be run, because the answer was cut or
    stopped for another reason, would never be answered."""
    is_calling = reply.stop_reason == "tool_use"
    return [block for block in reply.blocks if is_calling or block["type"] != "tool_use"]
