"""A request's system prompt, tools and messages become the token ids of one prompt.

The request is reduced to turns (`turns.py`), the turns to what the model's template can express,
and the template's text to tokens. Creating a message and counting its tokens take this same path,
so the two numbers cannot differ.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.rendering.profiles import ModelProfile, SystemTurns
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.tools import Definition, definition, explanation, is_offered
from antiphon.rendering.turns import BLOCK_SEPARATOR, Call, Turn, conversation, merged
from antiphon.wire.messages import PromptParams

RESPONSE_START, RESPONSE_END = "<tool_response>", "</tool_response>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine continues."""

    token_ids: list[int]


class Renderer:
    """Renders requests for one model. Safe to use from several threads."""

    def __init__(
        self, profile: ModelProfile, encoder: PromptEncoder, *, begin_id: int | None = None
    ) -> None:
        """`begin_id`: the token that every prompt begins with, where the vocabulary wants one."""
        self._profile = profile
        self._encoder = encoder
        self._begin_id = begin_id

    def render(self, request: PromptParams) -> Prompt:
        """
        Raises:
            InvalidRequestError: the model's template refuses the conversation.
        """
        turns = conversation(request)
        prefill = ""
        if turns and turns[-1].role == "assistant" and not turns[-1].calls:
            prefill = turns.pop().text.rstrip()
        offered = [definition(tool) for tool in request.tools or () if is_offered(tool)]

        sentinels = self._encoder.sentinels(_texts([prefill, turns, offered]))

        def protect(text: str) -> str:
            return self._encoder.protect(text, sentinels)

        turns = [_mapped(turn, protect) for turn in turns]
        offered = [_mapped_json(one, protect) for one in offered]
        if not self._profile.knows_tools:
            turns = self._explained(turns, offered)
            offered = []
        turns = place_system_turns(turns, self._profile.system_turns)
        rendered = self._profile.template.render(
            [self._message(turn) for turn in turns],
            tools=[{"type": "function", "function": one} for one in offered] or None,
        )
        ids = self._encoder.encode(rendered + protect(prefill), sentinels)
        if self._begin_id is not None and ids[:1] != [self._begin_id]:
            ids.insert(0, self._begin_id)
        return Prompt(token_ids=ids)

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


# Every string that is a caller's ---------------------------------------------------------------


def _texts(value: object) -> Iterator[str]:
    """All strings inside, keys of objects too."""
    match value:
        case str():
            yield value
        case Turn():
            yield value.text
            for call in value.calls:
                yield from _texts([call.name, call.arguments])
            yield value.result_of.name if value.result_of else ""
        case Mapping():
            for key, inner in value.items():
                yield from _texts([key, inner])
        case list() | tuple():
            for inner in value:
                yield from _texts(inner)


def _mapped(turn: Turn, change: Callable[[str], str]) -> Turn:
    return replace(
        turn,
        text=change(turn.text),
        calls=tuple(_mapped_call(call, change) for call in turn.calls),
        result_of=_mapped_call(turn.result_of, change) if turn.result_of else None,
    )


def _mapped_call(call: Call, change: Callable[[str], str]) -> Call:
    return Call(change(call.id), change(call.name), _mapped_json(call.arguments, change))


def _mapped_json(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _mapped_json(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mapped_json(inner, change) for inner in value]
    return value
