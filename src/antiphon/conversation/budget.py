"""How long a conversation may become, and what leaves it when it is too long. Pure.

Trimming happens in big steps: nothing leaves until the conversation fills `high` of the room, and
then so much that it fills `low`. A server that caches prefixes computes the whole prompt anew after
every trim, so a message a turn would cost it everything every turn.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Policy = Literal["truncate", "summarise", "refuse"]

type MessageDict = Mapping[str, Any]


class OverBudgetError(Exception):
    """The conversation does not fit, and nothing may or can leave it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`window` is the model's context in tokens; None asks the server for it."""

    window: int | None = None
    policy: Policy = "truncate"
    high: float = 0.9
    low: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high <= 1:
            raise ValueError("0 < low < high <= 1")
        if self.policy not in ("truncate", "summarise", "refuse"):
            raise ValueError(f"no policy {self.policy!r}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What belongs together: a user's message and everything up to the next one of his that is
    more than results of tools. Calls and their results are never parted."""

    start: int
    end: int
    size: int  # characters, as a measure of its share


def exchanges(messages: Sequence[MessageDict]) -> list[Exchange]:
    starts = [
        index
        for index, message in enumerate(messages)
        if index == 0 or (message["role"] == "user" and not _is_results(message))
    ]
    ends = [*starts[1:], len(messages)]
    return [
        Exchange(start, end, sum(_size(message) for message in messages[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def to_drop(
    messages: Sequence[MessageDict], tokens: int, target: int, pinned: frozenset[int]
) -> list[int]:
    """Indexes of the messages that leave, oldest exchanges first, until about `target` tokens are
    left of `tokens`. The last exchange stays, and so do those with a pinned message."""
    parts = exchanges(messages)
    total = sum(part.size for part in parts) or 1
    dropped: list[int] = []
    left = float(tokens)
    for part in parts[:-1]:
        if left <= target:
            break
        indexes = range(part.start, part.end)
        if pinned.isdisjoint(indexes):
            dropped += indexes
            left -= tokens * part.size / total
    return dropped


def _is_results(message: MessageDict) -> bool:
    content = message["content"]
    if isinstance(content, str):
        return False
    return any(block.get("type") == "tool_result" for block in content)


def _size(message: MessageDict) -> int:
    return len(json.dumps(message["content"], default=str)) + 20
