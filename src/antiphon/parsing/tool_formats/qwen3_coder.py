"""Qwen 3 Coder: one tag for the function and one for each parameter.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Rome
    </parameter>
    </function>
    </tool_call>

A value is text where the schema says string, and JSON otherwise.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from antiphon.parsing.tool_formats.base import CallInput, CallStart, Piece, Tools

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_CLOSE = re.compile(r"\s*</function>")


class Qwen3Coder:
    name = "qwen3_coder"
    start, end, separator = "<tool_call>", "</tool_call>", "\n"

    def fits(self, template: str) -> bool:
        return "<function=" in template and "<parameter=" in template

    def reader(self, tools: Tools) -> "Reader":
        return Reader(tools)

    def rules(self, schemas: Mapping[str, str], *, end: str, many: bool) -> str:
        lines = ["call: " + " | ".join(f"call_{index}" for index in range(len(schemas)))]
        for index, (name, schema) in enumerate(schemas.items()):
            decoded = json.loads(schema)
            properties, required = properties_of(decoded), decoded.get("required") or []
            parts = []
            for number, (key, value) in enumerate(properties.items()):
                rule = f"value_{index}_{number}"
                lines.append(_value_rule(rule, value))
                head = json.dumps(f"<parameter={key}>\n")
                optional = "" if key in required else "?"
                parts.append(f"({head} {rule}){optional}")
            head, tail = json.dumps(f"<function={name}>\n"), json.dumps("</function>")
            lines.append(f"call_{index}: {head} {' '.join(parts)} {tail}")
        return "\n".join([*lines, f'body: "\\n" call "\\n" {end}'])


def properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whatever a client calls a schema."""
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _value_rule(rule: str, schema: Any) -> str:
    """The value and the end of its tag."""
    if _is_text(schema):
        return f"{rule}[lazy]: /(?s:.*)\\n<\\/parameter>\\n/"
    return f'{rule}: %json {json.dumps(schema)} "\\n</parameter>\\n"'


def _is_text(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "string" and "enum" not in schema


class Reader:
    """One function. A parameter leaves when its tag is closed."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pending = ""
        self._name: str | None = None
        self._count = 0
        self._is_closed = False
        self.has_started = False

    def feed(self, text: str) -> list[Piece]:
        self._pending += text
        pieces: list[Piece] = []
        if self._name is None:
            head = _FUNCTION.match(self._pending)
            if head is None or head[1] not in self._tools:
                return []
            self._name, self.has_started = head[1], True
            self._pending = self._pending[head.end() :]
            pieces += [CallStart(self._name), CallInput("{")]
        while found := _PARAMETER.match(self._pending):
            key, value = found[1], self._value(found[1], found[2])
            separator = ", " if self._count else ""
            pieces.append(CallInput(f"{separator}{json.dumps(key)}: {value}"))
            self._count += 1
            self._pending = self._pending[found.end() :]
        if not self._is_closed and _CLOSE.match(self._pending):
            self._is_closed = True
            pieces.append(CallInput("}"))
        return pieces

    def finish(self) -> list[Piece]:
        return []

    def _value(self, key: str, text: str) -> str:
        schema = properties_of(self._tools[self._name or ""]).get(key)
        if schema is not None and not _is_text(schema):
            try:
                return json.dumps(json.loads(text), ensure_ascii=False)
            except ValueError:
                pass  # the schema may allow a string as well
        return json.dumps(text, ensure_ascii=False)
