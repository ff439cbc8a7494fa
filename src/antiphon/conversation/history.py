"""One turn of a conversation as a procedure without I/O: ask, run what is called, ask again.

A turn works on states that nobody else sees. Only when it is over, the last of them becomes the
conversation's: what fails or is cancelled has never been said, and needs no putting back.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from antiphon.conversation.answers import (
    COUNTS,
    add_usage,
    kept_blocks,
    output_tokens_max,
    prompt_tokens,
    reply_of,
)
from antiphon.conversation.budget import MESSAGE_TOKENS
from antiphon.conversation.errors import StoreError, ToolLimitError, TruncatedError
from antiphon.conversation.fitting import Fitting
from antiphon.conversation.reply import Reply
from antiphon.conversation.state import EMPTY, State, finished, sent
from antiphon.conversation.steps import (
    Calls,
    Commit,
    Confirm,
    Create,
    Follows,
    Settings,
    Steps,
)
from antiphon.conversation.tree import Message, append, depth, path

BAD_REQUEST = 400


class History:
    """Where a conversation stands, and what is done with it. `usage` counts the tokens of every
    request that was answered, whether its answer was kept or not."""

    def __init__(
        self,
        settings: Settings,
        state: State = EMPTY,
        *,
        usage: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self.usage = {name: int((usage or {}).get(name, 0)) for name in COUNTS}
        self._clock = clock
        self._is_busy = False
        self.settings = settings

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """What was counted for another model or system prompt is not known any more."""
        self._settings = settings
        self._fitting = Fitting(settings, self._used)
        self.state = replace(self.state, tokens=None)

    def say(self, content: Any, *, pin: bool = False) -> Steps[Reply]:
        """
        Raises:
            ValueError: there is nothing to say.
            TruncatedError: the answer was cut, and the policy is not to return it.
            OverBudgetError: it does not fit, and nothing can leave.
            ToolLimitError: too many rounds of calls, or too long.
        """
        return self._turn(self.state, content, pin)

    def retry(self) -> Steps[Reply]:
        """Say the last thing again, and forget what came of it if it is answered.

        Raises:
            ValueError: nothing has been said yet.
        """
        base = self.before_last()
        at = depth(base.head)
        return self._turn(base, path(self.state.head)[at]["content"], at in self.state.pinned)

    def before_last(self) -> State:
        """The state that undo goes back to.

        Raises:
            ValueError: nothing has been said yet.
        """
        if self.state.previous is None:
            raise ValueError("nothing has been said yet")
        return replace(self.state.previous, tokens=None)  # was counted for settings of that time

    @property
    def window(self) -> int | None:
        return self._fitting.window

    @property
    def is_busy(self) -> bool:
        return self._is_busy

    def _turn(self, base: State, content: Any, pin: bool) -> Steps[Reply]:
        if self._is_busy:
            raise RuntimeError("a conversation has one turn at a time: fork it, or wait")
        if not content:
            raise ValueError("there is nothing to say")
        self._is_busy = True
        try:
            pinned = base.pinned | {depth(base.head)} if pin else base.pinned
            state = replace(base, head=append(base.head, "user", content), pinned=pinned)
            reply, state = yield from self._answer(state)
            state = finished(state, base)
            try:
                yield Commit(state)
            except StoreError as error:
                error.reply = reply
                raise
            self.state = state
        finally:
            self._is_busy = False
        return replace(reply, messages=path(state.head)[depth(base.head) :])

    def _answer(self, state: State) -> Steps[tuple[Reply, State]]:
        usage: Mapping[str, Any] = {}
        end = self._clock() + self._settings.tool_seconds
        for tool_round in count():
            state = yield from self._fitting.fit(state)
            reply, tokens = yield from self._whole(state)
            usage = add_usage(usage, reply.usage)
            reply = replace(reply, usage=usage)
            if not reply.complete and self._settings.on_truncated != "return":
                raise TruncatedError(reply)
            blocks = kept_blocks(reply)
            state = replace(state, head=append(state.head, "assistant", blocks), tokens=tokens)
            calls = [block for block in blocks if block["type"] == "tool_use"]
            if not calls:
                break
            if tool_round == self._settings.tool_rounds:
                raise ToolLimitError(f"{tool_round} rounds", reply)
            results, waited = yield from self._run(calls, end, reply)
            end += waited
            state = replace(state, head=append(state.head, "user", results))
        return reply, state

    # Calls ------------------------------------------------------------------------------------

    def _run(
        self, calls: Sequence[Mapping[str, Any]], end: float, reply: Reply
    ) -> Steps[tuple[list[Message], float]]:
        """Results in the order of the calls, and the seconds that somebody was asked for."""
        begun = self._clock()
        refused: dict[str, Message] = {}
        for call in calls:
            verdict = yield Confirm(call)
            if verdict is not True:
                reason = verdict if isinstance(verdict, str) else "The user declined this call."
                refused[call["id"]] = failure(call, reason)
        waited = self._clock() - begun
        allowed = [call for call in calls if call["id"] not in refused]
        ran: list[Message] = []
        left_s = end + waited - self._clock()
        try:
            if left_s <= 0:
                raise TimeoutError
            if allowed:
                ran = yield Calls(allowed, left_s)
        except TimeoutError:
            raise ToolLimitError(f"{self._settings.tool_seconds:g} s", reply) from None
        results = {**refused, **{result["tool_use_id"]: result for result in ran}}
        return [results[call["id"]] for call in calls], waited

    # Requests ---------------------------------------------------------------------------------

    def _whole(self, state: State) -> Steps[tuple[Reply, int | None]]:
        """One answer, continued where it was cut if that is the policy; and the most tokens that
        the messages have with it. Its usage is that of all requests."""
        messages = sent(state, self._settings.marks_max)
        reply = yield from self._create(messages)
        last = reply
        for _ in range(self._settings.continuations):
            blocks, follows = self._continued(reply)
            if follows == "nothing":
                break
            try:
                last = yield from self._create(
                    [*messages, {"role": "assistant", "content": blocks}], follows
                )
            except Exception as error:
                if getattr(error, "status_code", None) == BAD_REQUEST:  # the model takes no prefill
                    raise TruncatedError(reply) from error
                raise
            blocks = _joined(blocks, list(last.blocks), follows)
            reply = Reply(blocks, last.stop_reason, add_usage(reply.usage, last.usage))
        known = prompt_tokens(last.usage)
        return reply, known + output_tokens_max(last) + MESSAGE_TOKENS if known else None

    def _continued(self, reply: Reply) -> tuple[list[Mapping[str, Any]], Follows]:
        """What to send so that the model goes on with an answer, and why."""
        blocks = list(reply.blocks)
        if reply.stop_reason == "pause_turn":
            return blocks, "pause"
        is_text = reply.text.strip() and all(block["type"] == "text" for block in blocks)
        is_cut = reply.stop_reason == "max_tokens"  # a full window has no room to go on
        if not (is_cut and is_text and self._settings.on_truncated == "continue"):
            return blocks, "nothing"
        while not blocks[-1]["text"].strip():
            blocks.pop()
        blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"].rstrip()}
        return blocks, "prefill"

    def _create(self, messages: Sequence[Message], follows: Follows = "nothing") -> Steps[Reply]:
        message = yield Create(self._settings.request(messages), follows=follows)
        reply = reply_of(message)
        self._used(reply.usage)
        return reply

    def _used(self, usage: Mapping[str, Any]) -> None:
        for name in COUNTS:
            self.usage[name] += int(usage.get(name) or 0)


def failure(call: Mapping[str, Any], text: str) -> Message:
    return {
        "type": "tool_result",
        "tool_use_id": call["id"],
        "content": text,
        "is_error": True,
    }


def _joined(
    blocks: list[Mapping[str, Any]], more: list[Mapping[str, Any]], follows: Follows
) -> list[Mapping[str, Any]]:
    """A prefilled text and its continuation are one block."""
    if follows == "prefill" and more and more[0]["type"] == "text":
        whole = {**blocks[-1], "text": blocks[-1]["text"] + more[0]["text"]}
        return [*blocks[:-1], whole, *more[1:]]
    return [*blocks, *more]
