"""A model and a server in one, for the steps of a conversation: they are done without any I/O, and
every request is held to what the API accepts and to the window."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from anthropic.types import Message

from antiphon.conversation.steps import (
    Calls,
    Commit,
    Confirm,
    Count,
    Create,
    Step,
    Steps,
    Window,
)
from antiphon.wire.messages import CreateMessage
from antiphon.wire.validation import decode
from antiphon.wire.versions import VERSIONS, Contract

IMAGE_TOKENS = 1_600
TEMPLATE_TOKENS = 8  # around a message
# As the hosted API: an empty answer is not accepted, white space at the end of a prefill neither.
HOSTED = Contract(version=VERSIONS["2023-06-01"], strict=True)

Tokens = Callable[[str], int]
TOKENIZERS: Mapping[str, Tokens] = {
    "bytes": lambda text: len(text.encode()),
    "words": lambda text: len(text.split()),
    "four bytes": lambda text: len(text.encode()) // 4 + 1,
}


def check_legal(request: Mapping[str, Any], contract: Contract = HOSTED) -> None:
    """What our own server checks, and what others do beyond it."""
    decode(json.dumps(request).encode(), CreateMessage, contract)
    messages = request["messages"]
    assert messages[0]["role"] == "user"
    for one, other in pairwise(messages):
        assert one["role"] != other["role"], "roles alternate"
    for message in messages[:-1]:
        blocks = blocks_in(message)
        assert blocks
        if message["role"] == "assistant":
            assert blocks[-1]["type"] not in ("thinking", "redacted_thinking")
            assert all(b["type"] != "text" or b["text"].strip() for b in blocks)


def blocks_in(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


@dataclass
class Server:
    """`answers` gives the content and the stop reason of the next answer to the conversation."""

    window: int
    tokens: Tokens
    answers: Iterator[tuple[Sequence[Mapping[str, Any]], str]]
    results: Callable[[Mapping[str, Any]], Any] = lambda call: "sunny"
    fails: Callable[[Step], bool] = lambda step: False
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # kinds of steps, in order

    def __post_init__(self) -> None:
        self._numbers = count(1)

    def run[T](self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                self.asked.append(type(step).__name__)
                if self.fails(step):
                    step = steps.throw(ConnectionError("lost"))
                else:
                    step = steps.send(self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def count(self, request: Mapping[str, Any]) -> int:
        parts = [request.get("system") or "", *map(json.dumps, request.get("tools") or [])]
        total = sum(map(self.tokens, filter(None, parts)))
        for message in request["messages"]:
            total += TEMPLATE_TOKENS + sum(map(self._block, blocks_in(message)))
        return total

    def _block(self, block: Mapping[str, Any]) -> int:
        match block["type"]:
            case "image":
                return IMAGE_TOKENS
            case "tool_use":
                return self.tokens(block["name"] + json.dumps(block["input"]))
            case "tool_result" if isinstance(block["content"], list):
                return sum(map(self._block, block["content"]))
            case "tool_result":
                return self.tokens(block["content"])
            case kind:
                return self.tokens(block[kind])

    def _do(self, step: Step) -> Any:
        match step:
            case Window():
                return self.window
            case Count(fields):
                return self.count(fields)
            case Create(fields, shown):
                return self._answer(fields) if shown else self._summary(fields)
            case Confirm():
                return True
            case Calls(calls):
                return [
                    {"type": "tool_result", "tool_use_id": c["id"], "content": self.results(c)}
                    for c in calls
                ]
            case Commit():
                return None

    def _answer(self, request: Mapping[str, Any]) -> Message:
        check_legal(request)
        assert self.count(request) <= self.window
        self.requests.append(request)
        blocks, stop_reason = next(self.answers)
        named = [
            {**block, "id": f"toolu_{next(self._numbers)}"}
            if block["type"] == "tool_use"
            else block
            for block in blocks
        ]
        return self._message(request, named, stop_reason)

    def _summary(self, request: Mapping[str, Any]) -> Message:
        check_legal(request)
        assert self.count(request) + request["max_tokens"] <= self.window
        self.summaries.append(request["messages"][0]["content"])
        return self._message(request, [{"type": "text", "text": "They spoke."}], "end_turn")

    def _message(
        self, request: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]], stop_reason: str
    ) -> Message:
        usage = {
            "input_tokens": self.count(request),
            "output_tokens": sum(map(self._block, blocks)),
        }
        return Message.model_validate(
            {
                "id": f"msg_{next(self._numbers)}",
                "type": "message",
                "role": "assistant",
                "model": request["model"],
                "content": list(blocks),
                "stop_reason": stop_reason,
                "stop_sequence": None,
                "usage": usage,
            }
        )
