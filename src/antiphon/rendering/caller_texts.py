"""Every string of a conversation that is a caller's, so that none can speak special tokens."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from antiphon.rendering.turns import Call, Turn


def texts(value: object) -> Iterator[str]:
    """All strings inside, keys of objects too."""
    match value:
        case str():
            yield value
        case Turn():
            yield value.text
            yield from (thought.text for _, thought in value.thoughts)
            for call in value.calls:
                yield from texts([call.name, call.arguments])
            yield value.result_of.name if value.result_of else ""
        case Mapping():
            for key, inner in value.items():
                yield from texts([key, inner])
        case list() | tuple():
            for inner in value:
                yield from texts(inner)


def mapped_turn(turn: Turn, text: str, change: Callable[[str], str]) -> Turn:
    """`text` instead of its own, no thoughts, and everything else changed."""
    if not turn.calls and turn.result_of is None:
        return Turn(turn.role, text, said=turn.said)
    calls = tuple(_mapped_call(call, change) for call in turn.calls)
    result_of = _mapped_call(turn.result_of, change) if turn.result_of else None
    return Turn(turn.role, text, calls, result_of, said=turn.said)


def _mapped_call(call: Call, change: Callable[[str], str]) -> Call:
    return Call(change(call.id), change(call.name), mapped_json(call.arguments, change))


def mapped_json(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): mapped_json(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [mapped_json(inner, change) for inner in value]
    return value
