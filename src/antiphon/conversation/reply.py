"""What a conversation answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Ends at which nothing is missing. `pause_turn` and `max_tokens` and a full window are no ends.
COMPLETE = ("end_turn", "stop_sequence", "tool_use", "refusal")

type Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `blocks` are the API's content blocks as plain data, `usage` counts the tokens of
    all requests that it took, and `messages` is what the turn added to the history: what was said,
    calls and their results, and this answer."""

    blocks: Sequence[Block]
    stop_reason: str | None
    usage: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]] = ()

    @property
    def text(self) -> str:
        return "".join(str(block["text"]) for block in self.blocks if block["type"] == "text")

    @property
    def complete(self) -> bool:
        """Always check `stop_reason`: an answer may have been cut."""
        return self.stop_reason in COMPLETE
