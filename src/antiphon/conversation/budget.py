"""How long a conversation may become, and what leaves it when it is too long. Pure.

Trimming happens in big steps: nothing leaves until the conversation fills `high` of the room, and
then so much that it fills `low`. A server that caches prefixes computes the whole prompt anew after
every trim, so a message a turn would cost it everything every turn.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from antiphon.conversation.state import State, kept
from antiphon.conversation.tree import Message, blocks_of, exchange_starts, path

Policy = Literal["truncate", "summarise", "refuse"]
POLICIES = ("truncate", "summarise", "refuse")

MESSAGE_TOKENS = 16  # at most, of what a chat template writes around a message
IMAGE_TOKENS = 1_600  # of one of common size
IMAGE_TOKENS_MAX = 5_000  # the API scales down what would be more
UNKNOWN_TOKENS = 1_000_000  # at most, of what only the server can see: files, addresses
BYTES_PER_TOKEN = 4  # of English text
BYTES_PER_TOKEN_MAX = 16  # a prompt that loses this many bytes loses a token at least
DOCUMENT_BYTES_PER_TOKEN = 30  # of base64; a page has some 2,000 tokens


@dataclass(frozen=True, slots=True)
class Budget:
    """`window` is the model's context in tokens; None asks the server for it.

    When the conversation fills more than `high` of what the window has beside the answer, the
    oldest exchanges leave until it fills `low`: they are dropped ("truncate"), or the model
    condenses them into notes ("summarise"). "refuse" raises OverBudgetError when it is full.
    """

    window: int | None = None
    policy: Policy = "summarise"
    high: float = 0.9
    low: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high <= 1:
            raise ValueError("0 < low < high <= 1")
        if self.policy not in POLICIES:
            raise ValueError(f"no policy {self.policy!r}: it is one of {', '.join(POLICIES)}")
        if self.window is not None and self.window < 1:
            raise ValueError("a window has at least one token")


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves: everything before index `left` of what was said that is not pinned."""

    left: int
    messages: Sequence[Message]


def leaving(state: State, tokens: int, target: int) -> Leaving:
    """The oldest exchanges, until about `target` of `tokens` are left. Whole exchanges: a call is
    never parted from its result. The last one stays, and so do pinned ones."""
    sizes = {index: size(message) for index, message in kept(state)}
    per_size = tokens / max(1, sum(sizes.values()))
    said = path(state.head)
    starts = [start for start in exchange_starts(said) if start >= state.left]
    gone: list[Message] = []
    left, rest = state.left, float(tokens)
    for start, end in pairwise(starts):
        if rest <= target:
            break
        left = end
        if start not in state.pinned:
            gone += said[start:end]
            rest -= per_size * sum(sizes[index] for index in range(start, end))
    return Leaving(left, gone) if gone else Leaving(state.left, ())


# Tokens without asking anybody ----------------------------------------------------------------


def size(message: Mapping[str, Any]) -> int:
    """About as many tokens as a message has."""
    return 4 + sum(_block_size(block) for block in blocks_of(message))


def size_max(message: Mapping[str, Any]) -> int:
    """No tokenizer makes more tokens of a message: none has less than a byte."""
    return MESSAGE_TOKENS + sum(_block_size_max(block) for block in blocks_of(message))


def size_min(message: Mapping[str, Any]) -> int:
    return sum(text_bytes(block) for block in blocks_of(message)) // BYTES_PER_TOKEN_MAX


def text_bytes(value: Any) -> int:
    """Of a value as JSON, base64 data left out."""
    return len(json.dumps(_without_data(value), ensure_ascii=False).encode())


def _without_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        is_media = value.get("type") == "base64"
        return {k: _without_data(v) for k, v in value.items() if not (is_media and k == "data")}
    if isinstance(value, list | tuple):
        return [_without_data(each) for each in value]
    return value


def _block_size(block: Mapping[str, Any]) -> int:
    return text_bytes(block) // BYTES_PER_TOKEN + sum(_media_sizes(block, IMAGE_TOKENS, False))


def _block_size_max(block: Mapping[str, Any]) -> int:
    return text_bytes(block) + sum(_media_sizes(block, IMAGE_TOKENS_MAX, True))


def _media_sizes(block: Any, image: int, at_most: bool) -> list[int]:
    """Tokens of each image and document in a block, its nested ones too."""
    if isinstance(block, list | tuple):
        return [each for part in block for each in _media_sizes(part, image, at_most)]
    if not isinstance(block, Mapping):
        return []
    source = block.get("source")
    if not isinstance(source, Mapping):
        return _media_sizes(block.get("content"), image, at_most)
    if block.get("type") == "image":
        return [image]
    if source.get("type") == "base64":
        per_token = 1 if at_most else DOCUMENT_BYTES_PER_TOKEN
        return [len(str(source.get("data"))) // per_token]
    if source.get("type") in ("url", "file"):
        return [UNKNOWN_TOKENS if at_most else IMAGE_TOKENS]
    return _media_sizes(source.get("content"), image, at_most)
