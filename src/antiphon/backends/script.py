"""Scripts for the scripted backend: which request gets which reply (docs/scripted.md)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import field

from antiphon.errors import StartupError
from antiphon.wire.messages import StopReason
from antiphon.wire.structs import Object, Plain


class Strict(Plain, forbid_unknown_fields=True):
    """A misspelt key is an error, never ignored."""


class Match(Strict):
    """When a reply fits; what is absent fits everything. Texts are regular expressions that are
    searched for."""

    text: str | None = None  # of the last user message
    system: str | None = None
    model: str | None = None
    tool: str | None = None  # the name of a tool that is offered
    tool_result: str | None = None  # of the last user message
    turn: int | None = None  # assistant messages so far


class ToolUse(Strict):
    name: str
    input: Object = field(default_factory=dict)
    id: str | None = None  # one is made


class Block(Strict):
    """One of `text`, `thinking` (with a signature) and `tool_use`."""

    text: str | None = None
    thinking: str | None = None
    signature: str = "scripted"
    tool_use: ToolUse | None = None

    def __post_init__(self) -> None:
        if [self.text, self.thinking, self.tool_use].count(None) != 2:
            raise ValueError("a block has exactly one of text, thinking and tool_use")


class Failure(Strict):
    """An error of the API. Before the answer it is an HTTP error, within it an `event: error`."""

    type: str = "api_error"
    message: str = "The script says so."
    retry_after_s: float | None = None
    after_chars: int | None = None  # of the answer; None: before it


class Reply(Strict):
    match: Match = field(default_factory=Match)
    times: int | None = None  # so often at most; then the next reply that fits is used
    reply: str | list[Block] = ""
    stop_reason: StopReason | None = None  # None: what the blocks mean
    stop_sequence: str | None = None
    delay_s: float = 0.0  # before the answer
    pace_s: float = 0.0  # between two deltas
    chunk_chars: int = 12  # of a delta
    error: Failure | None = None

    def __post_init__(self) -> None:
        if self.chunk_chars < 1:
            raise ValueError("chunk_chars is at least 1")
        for pattern in (self.match.text, self.match.system, self.match.tool_result):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None

    @property
    def blocks(self) -> list[Block]:
        return [Block(text=self.reply)] if isinstance(self.reply, str) else list(self.reply)


class Script(Strict):
    replies: list[Reply]


def load(source: str | Path | Mapping[str, Any] | Script) -> Script:
    """From a file (YAML or JSON), or from what such a file holds.

    Raises:
        StartupError: no such file, not YAML, or not a script; the text says where.
    """
    if isinstance(source, Script):
        return source
    name = "the script" if isinstance(source, Mapping) else f"the script {source}"
    try:
        document = source if isinstance(source, Mapping) else _read(Path(source))
        return msgspec.convert(document, Script)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise StartupError(f"{name.capitalize()} cannot be read: {reason}.") from error
    except msgspec.ValidationError as error:
        raise StartupError(f"{name.capitalize()} is not valid: {error}.") from error


def _read(path: Path) -> Any:
    """JSON is YAML too."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
