"""A request's system prompt, tools and messages become the token ids of one prompt.

The request is reduced to turns (`turns.py`), the turns to what the model's template can express,
and the template's text to tokens. Creating a message and counting its tokens take this same path,
so the two numbers cannot differ.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from antiphon.rendering.breakpoints import Breakpoint, Marks, is_marked
from antiphon.rendering.call_ids import with_ids
from antiphon.rendering.caller_texts import mapped_json, texts
from antiphon.rendering.opening import Opening
from antiphon.rendering.profiles import ModelProfile, SystemTurns
from antiphon.rendering.prompt_safety import PromptEncoder, Sentinels
from antiphon.rendering.replay import Prefix, ReplayMap, Spoken, meaning
from antiphon.rendering.signatures import Signer, thought_in
from antiphon.rendering.splices import Splices
from antiphon.rendering.thinking import Thought, wants_thinking
from antiphon.rendering.tools import Definition, definition, explanation, is_offered
from antiphon.rendering.turns import BLOCK_SEPARATOR, Call, Turn, conversation, merged, said_in
from antiphon.wire.content import ThinkingBlock
from antiphon.wire.messages import PromptParams

RESPONSE_START, RESPONSE_END = "<tool_response>", "</tool_response>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine continues. `before` and `opened` are counts of tokens: in front of the turn
    that the answer belongs to, and in front of what it says. `prefill` is what it says already,
    `thinking` what stands behind the tag, where it begins by thinking. `breakpoints` in order."""

    token_ids: list[int]
    before: int | None  # None: the template does not let it be said
    opened: int
    prefill: str
    thinking: Sequence[int] | None = None
    breakpoints: Sequence[Breakpoint] = ()


class Renderer:
    """Renders requests for one model. Safe to use from several threads."""

    def __init__(
        self,
        profile: ModelProfile,
        encoder: PromptEncoder,
        *,
        begin_id: int | None = None,
        replays: ReplayMap | None = None,
        signer: Signer | None = None,
    ) -> None:
        """`begin_id`: the token that every prompt begins with, where the vocabulary wants one.
        `replays`: None renders every answer again from its text. `signer`: None signs with a key
        of its own."""
        self.profile = profile
        self._encoder = encoder
        self._begin_id = begin_id
        self._replays = replays
        self.signer = signer or Signer(secrets.token_bytes(32), b"")

    def thinks(self, request: PromptParams) -> bool:
        """Whether the answer may begin by thinking: not where it has begun already (spec §8.4)."""
        last = request.messages[-1]
        return (
            self.profile.tags is not None
            and wants_thinking(request)
            and not (last.role == "assistant" and last.content)
        )

    def render(self, request: PromptParams, owner: str = "") -> Prompt:
        """`owner`: whose answers may be replayed.

        Raises:
            InvalidRequestError: the model's template refuses the conversation.
        """
        thinks = self.thinks(request)
        read = self._read if self.profile.tags else None
        turns = conversation(request, read)
        tools = [tool for tool in request.tools or () if is_offered(tool)]
        offered = [definition(tool) for tool in tools]
        sentinels = self._encoder.sentinels(texts([turns, offered]))
        marks = Marks(request, *sentinels.marks) if is_marked(request) else None
        if marks is not None:
            turns = conversation(request, read, marks.of)
            pairs = zip(tools[:-1], offered, strict=False)  # the last one's is in the turns
            offered[:-1] = [marks.in_definition(tool, shown) for tool, shown in pairs]
        prefill = Turn("assistant", "")
        if turns and turns[-1].role == "assistant" and not turns[-1].calls:
            prefill = turns.pop()

        def protect(text: str) -> str:
            return self._encoder.protect(text, sentinels)

        def encode(text: str, continues: bool) -> list[int]:
            return self._encode(text, sentinels, continues)

        splices = Splices(
            self.profile, self._encoder, sentinels, encode,
            replays=self._replays, owner=owner, thinks=thinks, marks=marks,
        )  # fmt: skip
        turns = splices.protected(turns)
        offered = [mapped_json(one, protect) for one in offered]
        if not self.profile.knows_tools:
            turns = self._explained(turns, offered)
            offered = []
        turns = place_system_turns(turns, self.profile.system_turns)
        rendered = self.profile.render(
            [self._message(turn) for turn in with_ids(turns, self.profile.call_ids)],
            [{"type": "function", "function": one} for one in offered] or None,
            thinking=thinks,
        )
        said, last_marks = splices.unmarked(prefill.text)
        prefill = replace(prefill, text=said)
        ids, tail = splices.put_in(rendered)
        tail = splices.marked_text(tail + last_marks, ids)
        opening = self.profile.openings.get(thinks) or Opening("", "")
        before, opened = self._encoded(tail, opening.asked, bool(ids), sentinels)
        last = splices.begun(prefill, ids, before, tail, opened)
        is_known = (
            tail.endswith(opening.asked) and _begins(opened, before) and _begins(last, opened)
        )
        return Prompt(
            ids + last,
            before=len(ids) + len(before) if is_known else None,
            opened=len(ids) + len(opened),
            prefill=prefill.text.rstrip(),
            thinking=self._begun_thinking(tail, opened) if thinks else None,
            breakpoints=sorted(splices.breakpoints),
        )

    def remember(
        self, prompt: Prompt, content: Iterable[object], ids: Sequence[int], owner: str = ""
    ) -> None:
        """`content` is what the client got as the answer to `prompt`, `ids` what the engine
        generated for it, the end of the turn left out. Render it as the same from now on."""
        if self._replays is None or prompt.before is None:
            return
        said = said_in(content, self._read if self.profile.tags else None)
        if len(said) == 1 and said[0][0] == "text":  # a stop sequence is not part of the text
            ids = self._encoder.cut(ids, said[0][1])
        before = Prefix().digest(prompt.token_ids[: prompt.before])
        spoken = Spoken(
            [*prompt.token_ids[prompt.before :], *ids], opening=prompt.opened - prompt.before
        )
        whole = meaning(owner, [("text", prompt.prefill), *said])
        self._replays.remember(whole, before, spoken)

    def _read(self, block: ThinkingBlock) -> Thought:
        return thought_in(block, self.signer)

    def _begun_thinking(self, tail: str, opened: Sequence[int]) -> Sequence[int] | None:
        """What of its thinking a prompt says already, from the tag on."""
        tags = self.profile.tags
        if tags is None or tags.opened_at(tail) is None:
            return None
        start = self._encoder.token(tags.start)
        return opened[len(opened) - opened[::-1].index(start) :] if start in opened else []

    def _encode(self, text: str, sentinels: Sentinels, continues: bool) -> list[int]:
        ids = self._encoder.encode(text, sentinels, continues=continues)
        return ids if continues else self._from_the_beginning(ids)

    def _encoded(
        self, tail: str, asked: str, continues: bool, sentinels: Sentinels
    ) -> tuple[list[int], list[int]]:
        """`tail` without what asks for an answer at its end, and all of it. What is in front of the
        last turn, nearly all of a long prompt, is encoded once for both."""
        shorter = tail.removesuffix(asked)
        head = self._encoder.whole_up_to(tail, len(shorter))
        if not head:
            encode = self._encode
            return encode(shorter, sentinels, continues), encode(tail, sentinels, continues)
        first = self._encode(tail[:head], sentinels, continues)
        before, opened = (
            first + self._encoder.encode(text[head:], sentinels) for text in (shorter, tail)
        )
        return before, opened

    def _from_the_beginning(self, ids: list[int]) -> list[int]:
        if self._begin_id is None or ids[:1] == [self._begin_id]:
            return ids
        return [self._begin_id, *ids]

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
        if self.profile.arguments_as_text:
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": call.name, "arguments": arguments}
        return {"type": "function", "id": call.id, "function": function}

    def _explained(self, turns: list[Turn], offered: Sequence[Definition]) -> list[Turn]:
        """Tools for a template that knows none: explained by the system prompt, calls as the
        assistant's text, results as the user's."""
        start, end = self.profile.call_tags
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
