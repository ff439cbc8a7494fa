"""A request's system prompt, tools and messages become the token ids of one prompt.

The request is reduced to turns (`turns.py`), the turns to what the model's template can express,
and the template's text to tokens. Creating a message and counting its tokens take this same path,
so the two numbers cannot differ.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from antiphon.rendering.caller_texts import mapped_json, mapped_turn, texts
from antiphon.rendering.opening import Opening
from antiphon.rendering.profiles import ModelProfile, SystemTurns
from antiphon.rendering.prompt_safety import PromptEncoder, Sentinels
from antiphon.rendering.replay import Prefix, ReplayMap, Spoken, meaning
from antiphon.rendering.tools import Definition, definition, explanation, is_offered
from antiphon.rendering.turns import BLOCK_SEPARATOR, Call, Turn, conversation, merged, said_in
from antiphon.wire.messages import PromptParams

SPLICED = "spliced"  # the role of an answer that is known as tokens
RESPONSE_START, RESPONSE_END = "<tool_response>", "</tool_response>"
type Known = tuple[bytes, Spoken]
"""What an answer says, and the latest that said it."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine continues. `before` and `opened` are counts of tokens: in front of the turn
    that the answer belongs to, and in front of what it says. `prefill` is what it says already."""

    token_ids: list[int]
    before: int | None  # None: the template does not let it be said
    opened: int
    prefill: str


class Renderer:
    """Renders requests for one model. Safe to use from several threads."""

    def __init__(
        self,
        profile: ModelProfile,
        encoder: PromptEncoder,
        *,
        begin_id: int | None = None,
        replays: ReplayMap | None = None,
    ) -> None:
        """`begin_id`: the token that every prompt begins with, where the vocabulary wants one.
        `replays`: None renders every answer again from its text."""
        self._profile = profile
        self._encoder = encoder
        self._begin_id = begin_id
        self._replays = replays

    def render(self, request: PromptParams, owner: str = "") -> Prompt:
        """`owner`: whose answers may be replayed.

        Raises:
            InvalidRequestError: the model's template refuses the conversation.
        """
        turns = conversation(request)
        prefill = Turn("assistant", "")
        if turns and turns[-1].role == "assistant" and not turns[-1].calls:
            prefill = turns.pop()
        offered = [definition(tool) for tool in request.tools or () if is_offered(tool)]
        sentinels = self._encoder.sentinels(texts([prefill, turns, offered]))

        def protect(text: str) -> str:
            return self._encoder.protect(text, sentinels)

        known, turns = self._known(turns, owner)
        turns = [self._protected(turn, sentinels) for turn in turns]
        offered = [mapped_json(one, protect) for one in offered]
        if not self._profile.knows_tools:
            turns = self._explained(turns, offered)
            offered = []
        turns = place_system_turns(turns, self._profile.system_turns)
        rendered = self._profile.template.render(
            [self._message(turn) for turn in turns],
            tools=[{"type": "function", "function": one} for one in offered] or None,
        )
        return self._encoded(rendered, known, sentinels, prefill, owner)

    def remember(
        self, prompt: Prompt, content: Iterable[object], ids: Sequence[int], owner: str = ""
    ) -> None:
        """`content` is what the client got as the answer to `prompt`, `ids` what the engine
        generated for it, the end of the turn left out. Render it as the same from now on."""
        if self._replays is None or prompt.before is None:
            return
        said = said_in(content)
        if len(said) == 1 and said[0][0] == "text":  # a stop sequence is not part of the text
            ids = self._encoder.cut(ids, said[0][1])
        before = Prefix().digest(prompt.token_ids[: prompt.before])
        spoken = Spoken(
            [*prompt.token_ids[prompt.before :], *ids], opening=prompt.opened - prompt.before
        )
        whole = meaning(owner, [("text", prompt.prefill), *said])
        self._replays.remember(whole, before, spoken)

    def _known(self, turns: Sequence[Turn], owner: str) -> tuple[list[Known], list[Turn]]:
        """Answers that are known as tokens, and the turns with their indexes in their places."""
        known: list[Known] = []
        left: list[Turn] = []
        for role, group in groupby(turns, key=lambda turn: turn.role):
            same = list(group)
            answer = self._answer(same, owner) if role == "assistant" else None
            if answer is None:
                left += same
            else:
                left.append(Turn(SPLICED, str(len(known))))
                known.append(answer)
        return known, left

    def _answer(self, answer: Sequence[Turn], owner: str) -> Known | None:
        if self._replays is None or self._profile.opening is None:
            return None
        if not self._profile.shows_answers_whole and any(turn.calls for turn in answer):
            return None
        said = meaning(owner, [part for turn in answer for part in turn.said])
        latest = self._replays.latest(said)
        return None if latest is None else (said, latest)

    def _spoken(self, known: Known, before: bytes) -> Spoken:
        """The answer that was given there, or else the latest that says the same."""
        assert self._replays is not None
        return self._replays.exact(known[0], before) or known[1]

    def _protected(self, turn: Turn, sentinels: Sentinels) -> Turn:
        if turn.role == SPLICED:
            return Turn("assistant", f"{sentinels.splice}{turn.text}{sentinels.splice}")
        return mapped_turn(turn, lambda text: self._encoder.protect(text, sentinels))

    def _encoded(
        self,
        rendered: str,
        known: Sequence[Known],
        sentinels: Sentinels,
        prefill: Turn,
        owner: str,
    ) -> Prompt:
        """Text to token ids, with the answers that are known as such in their places."""
        opening = self._profile.opening or Opening("", "")
        prefix = Prefix()
        ids: list[int] = []
        *heads, tail = rendered.split(sentinels.splice)
        for text, number in zip(heads[::2], heads[1::2], strict=True):
            ids += self._encode(text.removesuffix(opening.told), sentinels, bool(ids))
            ids += self._spoken(known[int(number)], prefix.digest(ids)).ids
        opened = self._encode(tail, sentinels, bool(ids))
        before = opened
        if opening.asked:
            before = self._encode(tail.removesuffix(opening.asked), sentinels, bool(ids))
        begun = prefill.text.rstrip()
        last = opened
        if begun and (same := self._answer([prefill], owner)):
            spoken = self._spoken(same, prefix.digest([*ids, *before]))
            last = opened + self._encoder.cut(spoken.generated, begun)
        elif begun:
            text = tail + self._encoder.protect(begun, sentinels)
            last = self._encode(text, sentinels, bool(ids))
        is_known = (
            tail.endswith(opening.asked) and _begins(opened, before) and _begins(last, opened)
        )
        return Prompt(
            ids + last,
            before=len(ids) + len(before) if is_known else None,
            opened=len(ids) + len(opened),
            prefill=begun,
        )

    def _encode(self, text: str, sentinels: Sentinels, continues: bool) -> list[int]:
        ids = self._encoder.encode(text, sentinels, continues=continues)
        if not continues and self._begin_id is not None and ids[:1] != [self._begin_id]:
            ids.insert(0, self._begin_id)
        return ids

    def _message(self, turn: Turn) -> dict[str, Any]:
        """A turn as chat templates want it."""
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [self._call(call) for call in turn.calls]
        if turn.result_of is not None:
            message |= {"name": turn.result_of.name, "tool_call_id": turn.result_of.id}
        return message

    def _call(self, call: Call) -> dict[str, Any]:
        arguments: object = call.arguments
        if self._profile.arguments_as_text:
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": call.name, "arguments": arguments}
        return {"type": "function", "id": call.id, "function": function}

    def _explained(self, turns: list[Turn], offered: Sequence[Definition]) -> list[Turn]:
        """Tools for a template that knows none: explained by the system prompt, calls as the
        assistant's text, results as the user's."""
        start, end = self._profile.call_tags
        spoken = [_as_text(turn, start, end) for turn in turns]
        if offered:
            text = explanation(offered, start=start, end=end)
            if spoken and spoken[0].role == "system":
                text = spoken.pop(0).text + BLOCK_SEPARATOR + text
            spoken.insert(0, Turn("system", text))
        return merged(spoken)


def _begins(ids: Sequence[int], beginning: Sequence[int]) -> bool:
    return ids[: len(beginning)] == beginning


def place_system_turns(turns: Sequence[Turn], where: SystemTurns) -> list[Turn]:
    """Move system text that the template cannot hold in place into the user's turn (spec §3.2)."""
    placed = []
    for number, turn in enumerate(turns):
        if turn.role == "system" and not _fits(number, where):
            marked = turn.text if number == 0 else f"<system>\n{turn.text}\n</system>"
            turn = Turn("user", marked)
        placed.append(turn)
    return merged(placed)


def _fits(number: int, where: SystemTurns) -> bool:
    return where == SystemTurns.ANYWHERE or (where == SystemTurns.FIRST and number == 0)


def _as_text(turn: Turn, start: str, end: str) -> Turn:
    if turn.role == "tool":
        return Turn("user", f"{RESPONSE_START}\n{turn.text}\n{RESPONSE_END}")
    parts = [turn.text] if turn.text else []
    for call in turn.calls:
        body = {"name": call.name, "arguments": call.arguments}
        parts.append(f"{start}\n{json.dumps(body, ensure_ascii=False)}\n{end}")
    return Turn(turn.role, "\n".join(parts))
