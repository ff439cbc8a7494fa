"""Tool definitions as models get them (spec §4.1, §4.4): nothing of a schema is left out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.wire.tools import (
    BashTool,
    ComputerTool,
    CustomTool,
    MemoryTool,
    TextEditorTool,
    Tool,
)

type Definition = dict[str, Any]
"""`name`, `description`, `parameters`: what chat templates call a function."""


def _string(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {}), **more}


_RANGE = {"type": "array", "items": {"type": "integer"}, "description": "First and last line"}
_POINT = {"type": "array", "items": {"type": "integer"}, "description": "x and y in pixels"}
_EDITS = {
    "path": _string("Absolute path of a file or directory"),
    "view_range": _RANGE,
    "old_str": _string("Text to replace; it must occur exactly once"),
    "new_str": _string("Text to put in its place"),
    "file_text": _string("Content of the file to create"),
    "insert_line": {"type": "integer", "description": "Line after which to insert"},
    "insert_text": _string("Text to insert"),
}
_ACTIONS = """
screenshot left_click right_click middle_click double_click triple_click mouse_move left_click_drag
left_mouse_down left_mouse_up cursor_position key hold_key type scroll wait zoom
"""


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _bash() -> Definition:
    properties = {
        "command": _string("The command to run"),
        "restart": {"type": "boolean", "description": "Restart the shell instead"},
    }
    return {
        "description": "Run a command in a bash shell that keeps its state.",
        "parameters": _object(properties),
    }


def _text_editor(tool: TextEditorTool) -> Definition:
    commands = ["view", "create", "str_replace", "insert"]
    if tool.name == "str_replace_editor":
        commands.append("undo_edit")
    return {
        "description": "View, create and edit text files.",
        "parameters": _object({"command": _string(enum=commands), **_EDITS}, "command", "path"),
    }


def _memory() -> Definition:
    commands = ["view", "create", "str_replace", "insert", "delete", "rename"]
    paths = {
        "old_path": _string("Path to rename from"),
        "new_path": _string("Path to rename to"),
    }
    return {
        "description": "Keep notes in files under /memories, and read them again later.",
        "parameters": _object({"command": _string(enum=commands), **_EDITS, **paths}, "command"),
    }


def _computer(tool: ComputerTool) -> Definition:
    properties = {
        "action": _string(enum=[name for name in _ACTIONS.split() if name != "zoom"
                                or tool.enable_zoom]),
        "coordinate": _POINT,
        "start_coordinate": _POINT,
        "text": _string("What to type, or keys such as ctrl+s"),
        "scroll_direction": _string(enum=["up", "down", "left", "right"]),
        "scroll_amount": {"type": "integer"},
        "duration": {"type": "number", "description": "Seconds"},
    }  # fmt: skip
    size = f"{tool.display_width_px} by {tool.display_height_px} pixels"
    return {
        "description": f"Use mouse and keyboard on a screen of {size}.",
        "parameters": _object(properties, "action"),
    }


def definition(tool: Tool) -> Definition:
    """What a model is told about a tool that the caller runs."""
    match tool:
        case CustomTool():
            described = {"description": tool.description} if tool.description else {}
            return {"name": tool.name, **described, "parameters": tool.input_schema}
        case BashTool():
            return {"name": tool.name, **_bash()}
        case TextEditorTool():
            return {"name": tool.name, **_text_editor(tool)}
        case MemoryTool():
            return {"name": tool.name, **_memory()}
        case ComputerTool():
            return {"name": tool.name, **_computer(tool)}
    raise AssertionError(f"the backend rejects {type(tool).__name__}")


def is_offered(tool: Tool) -> bool:
    """Deferred tools wait for a reference; some are for code execution only (spec §4.1, §4.5)."""
    callers = getattr(tool, "allowed_callers", None) or ["direct"]
    return not getattr(tool, "defer_loading", False) and "direct" in callers


def explanation(definitions: Sequence[Definition], *, start: str, end: str) -> str:
    """For templates that know no tools: a part of the system prompt that explains how to call."""
    listed = "\n".join(json.dumps(one, ensure_ascii=False) for one in definitions)
    shape = '{"name": <name of the function>, "arguments": <object with its arguments>}'
    return (
        "You can call functions. To call one, write nothing else than\n"
        f"{start}\n{shape}\n{end}\n"
        "and wait: its result comes back as the next message. Several calls follow each other, "
        "each in tags of its own. Call a function only if it helps with what was asked; otherwise "
        "answer directly. These are the functions, with JSON Schemas of their arguments:\n"
        f"{listed}"
    )
