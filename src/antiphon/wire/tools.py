"""Tools that a request offers (spec §4.1, §4.4-4.6) and `tool_choice` (§4.3).

`type` may be absent or null (a custom tool), and several dated types share a shape, so tools are
no tagged union: `decode_tool` looks the struct up by `type`. `Tool` is the common base class.
"""

from typing import Annotated, Any, Literal, get_args, get_type_hints

from msgspec import UNSET, Meta, UnsetType, convert

from antiphon.wire.citations import CitationsConfig
from antiphon.wire.sources import CacheControl
from antiphon.wire.structs import Object, Plain, Tagged

ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]


class Tool:
    """Any entry of `tools`. Not a struct itself: msgspec hands each entry to `decode_tool`."""

    __slots__ = ()


class CustomTool(Tool, Plain):
    """A tool that the caller describes and runs (spec §4.1)."""

    name: ToolName
    input_schema: Object
    type: Literal["custom"] | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    input_examples: list[Object] | UnsetType = UNSET
    defer_loading: bool | UnsetType = UNSET
    allowed_callers: list[str] | UnsetType = UNSET
    eager_input_streaming: bool | UnsetType | None = UNSET
    cache_control: CacheControl | UnsetType | None = UNSET


class BuiltinTool(Tool, Plain, kw_only=True):
    """A tool whose definition the API knows by its `type`; the rest is common to all of them."""

    type: str
    name: str
    strict: bool | UnsetType = UNSET
    input_examples: list[Object] | UnsetType = UNSET
    defer_loading: bool | UnsetType = UNSET
    allowed_callers: list[str] | UnsetType = UNSET
    cache_control: CacheControl | UnsetType | None = UNSET


# Run by the caller (spec §4.4) ----------------------------------------------------------------


class BashTool(BuiltinTool, kw_only=True):
    type: Literal["bash_20250124", "bash_20241022"]
    name: Literal["bash"]


class TextEditorTool(BuiltinTool, kw_only=True):
    type: Literal[
        "text_editor_20250728",
        "text_editor_20250429",
        "text_editor_20250124",
        "text_editor_20241022",
    ]
    name: Literal["str_replace_based_edit_tool", "str_replace_editor"]
    max_characters: int | UnsetType | None = UNSET


class MemoryTool(BuiltinTool, kw_only=True):
    type: Literal["memory_20250818"]
    name: Literal["memory"]


class ComputerTool(BuiltinTool, kw_only=True):
    type: Literal["computer_20251124", "computer_20250124", "computer_20241022"]
    name: Literal["computer"]
    display_width_px: int
    display_height_px: int
    display_number: int | UnsetType | None = UNSET
    enable_zoom: bool | UnsetType = UNSET


class ClientToolset(Tool, Plain):
    """One entry that stands for many member tools; it has no name of its own."""

    type: Literal["computer_toolset_20260801", "browser_toolset_20260801"]
    configs: Object | UnsetType | None = UNSET
    cache_control: CacheControl | UnsetType | None = UNSET


# Run by the server (spec §4.5, §4.6) ----------------------------------------------------------


class WebSearchTool(BuiltinTool, kw_only=True):
    type: Literal["web_search_20250305", "web_search_20260209", "web_search_20260318"]
    name: Literal["web_search"]
    allowed_domains: list[str] | UnsetType | None = UNSET
    blocked_domains: list[str] | UnsetType | None = UNSET
    max_uses: int | UnsetType | None = UNSET
    user_location: Object | UnsetType | None = UNSET
    response_inclusion: str | UnsetType = UNSET


class WebFetchTool(BuiltinTool, kw_only=True):
    type: Literal[
        "web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318"
    ]
    name: Literal["web_fetch"]
    allowed_domains: list[str] | UnsetType | None = UNSET
    blocked_domains: list[str] | UnsetType | None = UNSET
    citations: CitationsConfig | UnsetType | None = UNSET
    max_content_tokens: int | UnsetType | None = UNSET
    max_uses: int | UnsetType | None = UNSET
    response_inclusion: str | UnsetType = UNSET
    url_sources: Any = UNSET
    use_cache: bool | UnsetType = UNSET


class CodeExecutionTool(BuiltinTool, kw_only=True):
    type: Literal[
        "code_execution_20250522",
        "code_execution_20250825",
        "code_execution_20260120",
        "code_execution_20260521",
    ]
    name: Literal["code_execution"]


class ToolSearchTool(BuiltinTool, kw_only=True):
    type: Literal[
        "tool_search_tool_regex_20251119",
        "tool_search_tool_regex",
        "tool_search_tool_bm25_20251119",
        "tool_search_tool_bm25",
    ]
    name: Literal["tool_search_tool_regex", "tool_search_tool_bm25"]


class AdvisorTool(BuiltinTool, kw_only=True):
    """Beta."""

    type: Literal["advisor_20260301"]
    name: Literal["advisor"]
    model: str
    caching: CacheControl | UnsetType | None = UNSET
    max_tokens: int | UnsetType | None = UNSET
    max_uses: int | UnsetType | None = UNSET


class McpToolset(Tool, Plain):
    """Beta: the tools of one entry of `mcp_servers`."""

    type: Literal["mcp_toolset"]
    mcp_server_name: str
    configs: Object | UnsetType | None = UNSET
    default_config: Object | UnsetType = UNSET
    tools: list[Object] | UnsetType | None = UNSET
    cache_control: CacheControl | UnsetType | None = UNSET


CLIENT_TOOLS = (BashTool, TextEditorTool, MemoryTool, ComputerTool, ClientToolset)
SERVER_TOOLS = (
    WebSearchTool, WebFetchTool, CodeExecutionTool, ToolSearchTool, AdvisorTool, McpToolset,
)  # fmt: skip

TOOL_TYPES: dict[str, type[Tool]] = {"custom": CustomTool} | {
    name: struct
    for struct in CLIENT_TOOLS + SERVER_TOOLS
    for name in get_args(get_type_hints(struct)["type"])
}
"""Every value of `tools[].type` that the API knows, and its shape."""


def tool_type(entry: Object) -> Any:
    """The tag of an entry of `tools`: without `type`, or with null, it is a custom tool."""
    kind = entry.get("type")
    return "custom" if kind is None else kind


def decode_tool(entry: Any) -> Tool:
    """Raises `msgspec.ValidationError`; `explain.py` then finds the API's words for it."""
    if not isinstance(entry, dict):
        return convert(entry, CustomTool)
    kind = tool_type(entry)
    struct = TOOL_TYPES.get(kind) if isinstance(kind, str) else None
    return convert(entry, struct or CustomTool)


# tool_choice (spec §4.3) ----------------------------------------------------------------------


class ToolChoiceAuto(Tagged, tag="auto"):
    disable_parallel_tool_use: bool | UnsetType = UNSET


class ToolChoiceAny(Tagged, tag="any"):
    disable_parallel_tool_use: bool | UnsetType = UNSET


class ToolChoiceTool(Tagged, tag="tool"):
    name: str
    disable_parallel_tool_use: bool | UnsetType = UNSET


class ToolChoiceNone(Tagged, tag="none"):
    pass


ToolChoice = ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone
