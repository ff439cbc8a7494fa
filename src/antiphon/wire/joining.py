"""A content block plus its deltas: the arithmetic of `accumulate` (spec §6.3)."""

from typing import Any

import msgspec
from msgspec import structs

from antiphon.wire.content import (
    CompactionBlock,
    ContentBlock,
    McpToolUseBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from antiphon.wire.event_types import (
    CitationsDelta,
    CompactionDelta,
    Delta,
    InputJsonDelta,
    ProtocolError,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from antiphon.wire.partial_json import parse_prefix
from antiphon.wire.structs import Object


def join(block: ContentBlock, deltas: list[Delta], cut: bool) -> ContentBlock:
    """A block as it started plus its deltas; `cut` says that tool input may be incomplete."""
    if not deltas:
        return block
    match block:
        case TextBlock():
            text = "".join(d.text for d in deltas if isinstance(d, TextDelta))
            cited = [d.citation for d in deltas if isinstance(d, CitationsDelta)]
            citations = [*(block.citations or []), *cited] if cited else block.citations
            return structs.replace(block, text=block.text + text, citations=citations)
        case ThinkingBlock():
            thinking = "".join(d.thinking for d in deltas if isinstance(d, ThinkingDelta))
            signed = [d.signature for d in deltas if isinstance(d, SignatureDelta)]
            signature = signed[-1] if signed else block.signature
            return ThinkingBlock(block.thinking + thinking, signature)
        case ToolUseBlock() | ServerToolUseBlock() | McpToolUseBlock():
            text = "".join(d.partial_json for d in deltas if isinstance(d, InputJsonDelta))
            return structs.replace(block, input=_tool_input(text, cut)) if text.strip() else block
        case CompactionBlock():
            last = deltas[-1]
            assert isinstance(last, CompactionDelta)
            return structs.replace(
                block, content=last.content, encrypted_content=last.encrypted_content
            )
        case _:
            raise ProtocolError(f"deltas in a {type(block).__name__}")


def _tool_input(text: str, cut: bool) -> Object:
    """An object, always (spec §4.2). A client fails the whole stream over malformed JSON."""
    try:
        value: Any = parse_prefix(text) if cut else msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"tool input is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"tool input is no object: {text[:80]!r}")
    return value
