"""A request's system prompt and messages become the token ids of one prompt.

The request is reduced to turns (role and text), the turns to what the model's template can
express, and the template's text to tokens. Creating a message and counting its tokens take this
same path, so the two numbers cannot differ.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from antiphon.rendering.profiles import ModelProfile, SystemTurns
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.wire.content import TextBlock
from antiphon.wire.messages import MessageParam, PromptParams

BLOCK_SEPARATOR = "\n\n"  # between the blocks and merged turns of one side
BILLING_HEADER = "x-anthropic-billing-header:"  # an agent's first system block, not a prompt


class Turn(NamedTuple):
    role: str
    text: str


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
        if turns and turns[-1].role == "assistant":
            prefill = turns.pop().text.rstrip()
        turns = place_system_turns(turns, self._profile.system_turns)

        sentinels = self._encoder.sentinels([prefill, *(turn.text for turn in turns)])
        rendered = self._profile.template.render(
            [
                {"role": turn.role, "content": self._encoder.protect(turn.text, sentinels)}
                for turn in turns
            ]
        )
        rendered += self._encoder.protect(prefill, sentinels)
        ids = self._encoder.encode(rendered, sentinels)
        if self._begin_id is not None and ids[:1] != [self._begin_id]:
            ids.insert(0, self._begin_id)
        return Prompt(token_ids=ids)


def conversation(request: PromptParams) -> list[Turn]:
    """The turns of a request: system first, neighbours of one role merged (spec §3.1)."""
    said = [Turn("system", _system_text(request))]
    said += [Turn(message.role, _text(message)) for message in _standing(request.messages)]
    return _merged(turn for turn in said if turn.text or turn.role != "system")


def _standing(messages: Sequence[MessageParam]) -> list[MessageParam]:
    """Without the system messages that were for one turn which is over (`clear_at`, spec §2.2)."""
    users = (at for at, message in enumerate(messages) if message.role == "user")
    last_user = max(users, default=-1)
    return [
        message
        for at, message in enumerate(messages)
        if at > last_user or message.role != "system" or message.clear_at != "next_user_message"
    ]


def place_system_turns(turns: Sequence[Turn], where: SystemTurns) -> list[Turn]:
    """Move system text that the template cannot hold in place into the user's turn (spec §3.2)."""
    placed = []
    for number, turn in enumerate(turns):
        if turn.role == "system" and not _fits(number, where):
            marked = turn.text if number == 0 else f"<system>\n{turn.text}\n</system>"
            turn = Turn("user", marked)
        placed.append(turn)
    return _merged(placed)


def _fits(number: int, where: SystemTurns) -> bool:
    return where == SystemTurns.ANYWHERE or (where == SystemTurns.FIRST and number == 0)


def _system_text(request: PromptParams) -> str:
    system = request.system
    if not isinstance(system, list):
        return system if isinstance(system, str) else ""
    texts = [block.text for block in system]
    if texts and texts[0].startswith(BILLING_HEADER):
        texts = texts[1:]
    return BLOCK_SEPARATOR.join(texts)


def _text(message: MessageParam) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        assert isinstance(block, TextBlock), "the backend rejects what cannot be rendered"
        texts.append(block.text)
    return _separator(message.role).join(texts)


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbours of one role become one turn; every text is copied once."""
    groups = groupby(turns, key=lambda turn: turn.role)
    return [Turn(role, _separator(role).join(turn.text for turn in same)) for role, same in groups]


def _separator(role: str) -> str:
    """An assistant's text was one text, so its parts join seamlessly."""
    return "" if role == "assistant" else BLOCK_SEPARATOR
