"""Tool input that `max_tokens` cut off: keep what is complete (spec §4.2, §6.6).

The clients parse a cut-off prefix with jiter's partial mode: a value that is certainly incomplete
goes, with its key; open arrays and objects are closed. The answer that is not streamed must be
the same, so the same rule stands here.
"""

from typing import Any

import msgspec

_CLOSERS = {"{": "}", "[": "]"}


def parse_prefix(text: str) -> Any:
    """Parse the longest complete part of `text`, a prefix of a JSON document.

    Raises `msgspec.DecodeError` if it is no such prefix.
    """
    cut, closers, whole = _scan(text)
    try:
        return msgspec.json.decode(text + whole)  # all that is missing are brackets
    except msgspec.DecodeError:
        return msgspec.json.decode(text[:cut] + closers)


def _scan(text: str) -> tuple[int, str, str]:
    """Where the last complete value ends, the brackets that close it, and those of all `text`."""
    stack: list[str] = []
    cut, closers = 0, ""
    in_string = escaped = False
    for at, char in enumerate(text):
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            stack.append(_CLOSERS[char])
            cut, closers = at + 1, "".join(reversed(stack))
        elif char in "}]" and stack:
            stack.pop()
            cut, closers = at + 1, "".join(reversed(stack))
        elif char == ",":
            cut = at
    return cut, closers, "".join(reversed(stack))
