"""What the native backend cannot honour yet is rejected with its path, never dropped.

docs/compatibility.md lists the same fields. What is ignored on purpose is not here: leaving it
out changes no answer.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from antiphon.errors import InvalidRequestError, not_supported_yet
from antiphon.wire.content import ContentBlockParam, TextBlock
from antiphon.wire.messages import CreateMessage, PromptParams, ThinkingDisabled

# Fields that change what an answer means, and what to call them in the error.
REJECTED_FIELDS = {
    "tools": "tools are",
    "tool_choice": "tools are",
    "output_format": "structured output is",
    "mcp_servers": "MCP servers are",
    "compaction": "compaction is",
    "container": "containers are",
    "fallbacks": "fallback models are",
    "safeguards": "safeguards are",
}

# Of these, what an operator may choose to drop instead (`--unsupported ignore`): the answer is the
# model's own all the same, and the response names them.
DROPPABLE = ("mcp_servers", "compaction", "container", "fallbacks")


def drop_unsupported[P: PromptParams](request: P) -> tuple[P, list[str]]:
    """The request without the droppable fields, and the names of those it had."""
    given = [name for name in DROPPABLE if getattr(request, name, UNSET) not in (UNSET, None, [])]
    return msgspec.structs.replace(request, **dict.fromkeys(given, UNSET)), given


def reject_unsupported(request: PromptParams) -> None:
    """
    Raises:
        InvalidRequestError: the request uses something this server cannot do yet.
    """
    for name, what in REJECTED_FIELDS.items():
        if getattr(request, name, UNSET) not in (UNSET, None, []):
            raise not_supported_yet(name, what)
    if request.thinking is not UNSET and not isinstance(request.thinking, ThinkingDisabled):
        raise not_supported_yet("thinking", "extended thinking is")
    if request.output_config is not UNSET and request.output_config.format not in (UNSET, None):
        raise not_supported_yet("output_config.format", "structured output is")
    _reject_compaction_edits(request)
    if isinstance(request, CreateMessage) and request.thread not in (UNSET, None):
        raise _thread_unsupported()
    for number, message in enumerate(request.messages):
        if not isinstance(message.content, str):
            _reject_blocks(f"messages.{number}.content", message.content)


def _reject_blocks(path: str, blocks: Sequence[ContentBlockParam]) -> None:
    for number, block in enumerate(blocks):
        if not isinstance(block, TextBlock):
            tag = block.__struct_config__.tag
            raise not_supported_yet(f"{path}.{number}", f"`{tag}` blocks are")


def _reject_compaction_edits(request: PromptParams) -> None:
    """The other edits clear tool results and thinking, of which there is none to clear yet."""
    management = request.context_management
    if not isinstance(management, dict):
        return
    edits = management.get("edits")
    for number, edit in enumerate(edits if isinstance(edits, list) else []):
        if isinstance(edit, dict) and str(edit.get("type", "")).startswith("compact"):
            raise not_supported_yet(f"context_management.edits.{number}", "compaction is")


def _thread_unsupported() -> InvalidRequestError:
    """With exactly this code the SDK's tool runner goes on with the whole history (spec A.1)."""
    return InvalidRequestError(
        "thread: message threads are not supported by this server. "
        "Send the full conversation without `thread`.",
        details={"error_code": "thread_unsupported_request"},
    )
