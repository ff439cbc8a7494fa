"""Ids of calls as a model's template wants them: some are particular about these."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec.structs import replace

from antiphon.rendering.turns import Call, Turn


class CallIds(StrEnum):
    AS_GIVEN = "as given"
    SHORT = "short"  # nine letters and digits: Mistral
    NUMBERED = "numbered"  # the name and a number, which the model writes itself: Kimi


def with_ids(turns: Sequence[Turn], style: CallIds) -> list[Turn]:
    """The turns with calls and results named so, numbered through the conversation."""
    if style is CallIds.AS_GIVEN:
        return list(turns)
    shown: dict[str, Call] = {}

    def named(call: Call) -> Call:
        if call.id not in shown:
            number = len(shown)
            short = f"call{number:05}"
            name = short if style is CallIds.SHORT else f"functions.{call.name}:{number}"
            shown[call.id] = replace(call, id=name)
        return shown[call.id]

    return [
        replace(
            turn,
            calls=tuple(map(named, turn.calls)),
            result_of=named(turn.result_of) if turn.result_of else None,
        )
        for turn in turns
    ]
