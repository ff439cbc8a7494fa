"""A conversation as a procedure without I/O: it says what it needs, and is told the result.

Each method is a generator of steps: `Create`, `Count`, `Window` and `Calls`. Whoever drives it (see
`conversation.py`) does them with a client of either kind, so there is one implementation for both.
A step that fails is thrown into the generator, which puts the history back as it was.
"""

from collections.abc import Generator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.conversation.budget import Budget, OverBudgetError, to_drop
from antiphon.conversation.reply import Reply, TruncatedError

MAX_TOKENS = 1024
STEPS_MAX = 16  # rounds of tool calls in one turn
CONTINUATIONS_MAX = 8
SUMMARY_TOKENS = 400
SUMMARISE = (
    "Condense the conversation below into notes that let you continue it: facts, names, numbers, "
    "decisions, open questions. Write the notes only."
)
NOTES = "Notes on the earlier part of this conversation:\n"

OnTruncated = Literal["raise", "return", "continue"]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """The answer to `fields`. `shown`: the user may read it while it is written."""

    fields: Mapping[str, Any]
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that the model's context has; None if the server does not say."""

    model: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Run these calls; the answer is a list of their results, as blocks."""

    blocks: Sequence[Mapping[str, Any]]


Step = Create | Count | Window | Calls
Steps = Generator[Step, Any, Reply]


class History:
    """The messages of one conversation and what is done with them."""

    def __init__(
        self,
        model: str,
        *,
        system: str | None,
        tools: Sequence[Mapping[str, Any]],
        budget: Budget,
        on_truncated: OnTruncated,
        fields: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.system = system
        self.budget = budget
        self.on_truncated: OnTruncated = on_truncated
        self.messages: list[Message] = []
        self.pinned: set[int] = set()
        self.input_tokens = self.output_tokens = 0
        self._tools = list(tools)
        self._fields = {"max_tokens": MAX_TOKENS, **fields}
        self._window = budget.window

    def fork(self) -> "History":
        """The same conversation so far; what follows is apart."""
        other = History(
            self.model,
            system=self.system,
            tools=self._tools,
            budget=self.budget,
            on_truncated=self.on_truncated,
            fields=self._fields,
        )
        other.messages = deepcopy(self.messages)
        other.pinned = set(self.pinned)
        other._window = self._window
        return other

    def undo(self) -> Message | None:
        """Take back the last thing the user said and all that came of it; return it."""
        starts = [
            index
            for index, message in enumerate(self.messages)
            if message["role"] == "user" and not _has(message["content"], "tool_result")
        ]
        if not starts:
            return None
        said = self.messages[starts[-1]]
        del self.messages[starts[-1] :]
        self.pinned = {index for index in self.pinned if index < len(self.messages)}
        return said

    def say(self, content: str | Sequence[Any], *, pin: bool = False) -> Steps:
        """
        Raises:
            TruncatedError: the answer was cut, and the policy is to raise.
            OverBudgetError: it does not fit, and nothing can leave.
        """
        before, pinned = list(self.messages), set(self.pinned)
        try:
            if pin:
                self.pinned.add(len(self.messages))
            self.messages.append({"role": "user", "content": content})
            yield from self._fit()
            reply = yield from self._answer()
        except BaseException:  # also a generator that is closed: the user has left
            self.messages, self.pinned = before, pinned
            raise
        return reply

    def _answer(self) -> Steps:
        """Ask, run what is called, ask again; the last answer is the reply."""
        for _ in range(STEPS_MAX):
            reply = yield from self._whole_reply()
            if not reply.complete and self.on_truncated == "raise":
                raise TruncatedError(reply)
            self.messages.append({"role": "assistant", "content": list(reply.blocks)})
            calls = [block for block in reply.blocks if block["type"] == "tool_use"]
            if not calls or reply.stop_reason != "tool_use" or not self._tools:
                return reply
            results = yield Calls(calls)
            self.messages.append({"role": "user", "content": results})
        raise RuntimeError(f"the model called tools {STEPS_MAX} times and did not come to an end")

    def _whole_reply(self) -> Steps:
        reply = yield from self._create(self.messages)
        if self.on_truncated != "continue":
            return reply
        for _ in range(CONTINUATIONS_MAX):
            text_only = all(block["type"] == "text" for block in reply.blocks)
            if reply.complete or not text_only or not reply.text.strip():
                break
            prefix = reply.text.rstrip()
            prefilled = [*self.messages, {"role": "assistant", "content": prefix}]
            more = yield from self._create(prefilled)
            block = {"type": "text", "text": prefix + more.text}
            reply = Reply([block], more.stop_reason, more.usage)
        return reply

    def _create(self, messages: Sequence[Message]) -> Steps:
        message = yield Create(self._request(messages))
        reply = reply_of(message)
        self.input_tokens += int(reply.usage.get("input_tokens") or 0)
        self.output_tokens += int(reply.usage.get("output_tokens") or 0)
        return reply

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        return {**self._prompt(messages), **self._fields}

    def _prompt(self, messages: Sequence[Message]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.model, "messages": list(messages)}
        if self.system is not None:
            fields["system"] = self.system
        if self._tools:
            fields["tools"] = self._tools
        return fields

    def _fit(self) -> Generator[Step, Any, None]:
        """Make room before asking. One count a turn, two if something leaves."""
        if self._window is None:
            self._window = yield Window(self.model)
        if self._window is None:
            return
        room = self._window - min(int(self._fields["max_tokens"]), self._window // 4)
        tokens = yield Count(self._prompt(self.messages))
        if tokens <= self.budget.high * room:
            return
        if self.budget.policy == "refuse":
            raise OverBudgetError(f"{tokens} tokens do not fit into {room}.")
        yield from self._trim(tokens, int(self.budget.low * room))
        tokens = yield Count(self._prompt(self.messages))
        if tokens > room:
            raise OverBudgetError(f"{tokens} tokens do not fit into {room}, and no more can leave.")

    def _trim(self, tokens: int, target: int) -> Generator[Step, Any, None]:
        leaving = to_drop(self.messages, tokens, target, frozenset(self.pinned))
        if not leaving:
            return
        notes = ""
        if self.budget.policy == "summarise":
            notes = yield from self._summary([self.messages[index] for index in leaving])
        kept = [index for index in range(len(self.messages)) if index not in set(leaving)]
        shift = 1 if notes else 0
        self.pinned = {shift + kept.index(index) for index in self.pinned}
        self.messages = [self.messages[index] for index in kept]
        if notes:
            self.messages.insert(0, {"role": "user", "content": NOTES + notes})

    def _summary(self, messages: Sequence[Message]) -> Generator[Step, Any, str]:
        """What leaves, in few words; "" if the model gives none, and then it just leaves."""
        asked = f"{SUMMARISE}\n\n{transcript(messages)}"
        request = {
            "model": self.model,
            "max_tokens": SUMMARY_TOKENS,
            "messages": [{"role": "user", "content": asked}],
        }
        try:
            message = yield Create(request, shown=False)
        except Exception:  # whatever went wrong, the conversation goes on without
            return ""
        return reply_of(message).text.strip()


def reply_of(message: Any) -> Reply:
    """From the client's own object."""
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    for block in blocks:  # what clients add to parsed blocks is not the API's
        block.pop("parsed_output", None)
    return Reply(blocks, message.stop_reason, message.usage.model_dump(exclude_none=True))


def transcript(messages: Sequence[Message]) -> str:
    """Messages as plain text, for a summary."""
    lines = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            said = block.get("text") or block.get("content") or block.get("input") or ""
            lines.append(f"{message['role']}: {said}")
    return "\n".join(lines)


def _has(content: Any, kind: str) -> bool:
    if isinstance(content, str):
        return False
    return any(block.get("type") == kind for block in content)
