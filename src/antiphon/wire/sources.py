"""What stands inside content blocks: bytes and where to find them, cache marks, callers (§3.3)."""

from typing import Literal

from msgspec import UNSET, UnsetType

from antiphon.wire.structs import Tagged


class CacheControl(Tagged, tag="ephemeral"):
    """A cache breakpoint behind the block that carries it (spec §8.2)."""

    ttl: Literal["5m", "1h"] | UnsetType = UNSET


# Sources -------------------------------------------------------------------------------------


class Base64ImageSource(Tagged, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class Base64PdfSource(Tagged, tag="base64"):
    media_type: Literal["application/pdf"]
    data: str


class PlainTextSource(Tagged, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class UrlSource(Tagged, tag="url"):
    url: str


class FileSource(Tagged, tag="file"):
    file_id: str


ImageSource = Base64ImageSource | UrlSource | FileSource


# Who calls a tool ----------------------------------------------------------------------------


class DirectCaller(Tagged, tag="direct"):
    """The model itself."""


class CodeExecutionCaller(Tagged, tag="code_execution_20250825"):
    """Code that the server runs for the model."""

    tool_id: str


class CodeExecutionCaller20260120(Tagged, tag="code_execution_20260120"):
    tool_id: str


Caller = DirectCaller | CodeExecutionCaller | CodeExecutionCaller20260120
