"""What a conversation answers, and the error that says it is only part of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Ends at which nothing is missing. `pause_turn` and `max_tokens` and a full window are no ends.
COMPLETE = ("end_turn", "stop_sequence", "tool_use", "refusal")

type Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `blocks` are the API's content blocks as plain data."""

    blocks: Sequence[Block]
    stop_reason: str | None
    usage: Mapping[str, Any]

    @property
    def text(self) -> str:
        return "".join(str(block["text"]) for block in self.blocks if block["type"] == "text")

    @property
    def complete(self) -> bool:
        """Always check `stop_reason`: an answer may have been cut."""
        return self.stop_reason in COMPLETE


class TruncatedError(Exception):
    """The answer was cut. The history is as it was before; `reply` is what there is of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(
            f"The answer was cut ({reply.stop_reason}) after {reply.usage.get('output_tokens')} "
            "tokens: raise max_tokens, or choose on_truncated='continue'."
        )
        self.reply = reply
