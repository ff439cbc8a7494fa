"""Resources other than messages: models (spec §8.11, A.9) and the error envelope (§7.1)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType, field

from antiphon import errors
from antiphon.wire.structs import Plain, Tagged


class Support(Plain):
    """A leaf of the capabilities tree."""

    supported: bool = False


class ContextManagementSupport(Plain):
    supported: bool = False
    clear_thinking_20251015: Support = field(default_factory=Support)
    clear_tool_uses_20250919: Support = field(default_factory=Support)
    compact_20260112: Support = field(default_factory=Support)


class EffortSupport(Plain):
    supported: bool = False
    low: Support = field(default_factory=Support)
    medium: Support = field(default_factory=Support)
    high: Support = field(default_factory=Support)
    xhigh: Support = field(default_factory=Support)
    max: Support = field(default_factory=Support)


class ServerToolsSupport(Plain):
    supported: bool = False
    web_search: Support = field(default_factory=Support)
    code_execution: Support = field(default_factory=Support)


class ThinkingTypes(Plain):
    adaptive: Support = field(default_factory=Support)
    between_tools: Support = field(default_factory=Support)
    disabled: Support = field(default_factory=Support)
    enabled: Support = field(default_factory=Support)


class ThinkingSupport(Plain):
    supported: bool = False
    types: ThinkingTypes = field(default_factory=ThinkingTypes)


class ModelCapabilities(Plain, kw_only=True):
    """What a model can do. Without arguments: nothing. Clients require every key."""

    batch: Support = field(default_factory=Support)
    citations: Support = field(default_factory=Support)
    code_execution: Support = field(default_factory=Support)
    context_management: ContextManagementSupport = field(default_factory=ContextManagementSupport)
    effort: EffortSupport = field(default_factory=EffortSupport)
    image_input: Support = field(default_factory=Support)
    pdf_input: Support = field(default_factory=Support)
    server_tools: ServerToolsSupport = field(default_factory=ServerToolsSupport)
    structured_outputs: Support = field(default_factory=Support)
    thinking: ThinkingSupport = field(default_factory=ThinkingSupport)


class ModelInfo(Plain, kw_only=True):
    """One entry of `GET /v1/models`. `created_at` must know its time zone."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    deprecated_at: datetime | None = None
    retires_at: datetime | None = None
    line: Literal["haiku", "sonnet", "opus", "fable", "mythos"] | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: ModelCapabilities | None = field(default_factory=ModelCapabilities)


class ModelPage(Plain):
    """`GET /v1/models`, newest first."""

    data: list[ModelInfo]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class ErrorDetail(Plain):
    """`type` is one of the API's error types, `message` for people, `details` for programs."""

    type: str
    message: str
    details: Mapping[str, Any] | UnsetType | None = UNSET


class ErrorEnvelope(Tagged, tag="error"):
    error: ErrorDetail
    request_id: str | UnsetType | None = UNSET


def error_detail(error: errors.APIError) -> ErrorDetail:
    details = UNSET if error.details is None else error.details
    return ErrorDetail(error.type, error.message, details)


def error_envelope(error: errors.APIError, request_id: str) -> bytes:
    """The JSON body of an HTTP error (spec §7.1)."""
    return msgspec.json.encode(ErrorEnvelope(error_detail(error), request_id))


_ERRORS: dict[str, type[errors.APIError]] = {
    kind.type: kind
    for kind in (
        errors.InvalidRequestError,
        errors.AuthenticationError,
        errors.PermissionDeniedError,
        errors.NotFoundError,
        errors.RequestTooLargeError,
        errors.RequestTimeoutError,
        errors.RateLimitError,
        errors.OverloadedError,
    )
}


def api_error(detail: ErrorDetail) -> errors.APIError:
    """The exception that an error event stands for; unknown types are the server's fault."""
    details = None if detail.details is UNSET else detail.details
    return _ERRORS.get(detail.type, errors.InternalError)(detail.message, details=details)
