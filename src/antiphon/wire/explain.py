"""Why a value does not fit a type, in the API's words (spec §2: Pydantic's wording, its paths).

msgspec says yes or no and is fast. Only when it says no does this walk over the same types find
the first fault: `messages.0.content.0.thinking.signature: Field required`. The path names the
variant of a union, as the API's does. Nothing here knows a field by name.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal, get_args, get_origin, get_type_hints

from msgspec import inspect

from antiphon.wire.sources import CacheControl
from antiphon.wire.tools import TOOL_TYPES, Tool, tool_type

type Path = tuple[str | int, ...]
type Fault = tuple[Path, str]
"""Where, and what is wrong there."""

TAG_CHARS_MAX = 200  # of an unknown tag, repeated in the answer
_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"
_NOT_AMONG = "Input should be one of its literals"  # see _not_among


def explain(value: Any, kind: type) -> Fault | None:
    """The first fault of `value`, a decoded JSON document; None if it fits."""
    return _check(_info(kind), value, ())


_infos: dict[type, inspect.Type] = {}


def _info(kind: type) -> inspect.Type:
    if kind not in _infos:
        _infos[kind] = inspect.type_info(kind)
    return _infos[kind]


def _check(kind: inspect.Type, value: Any, path: Path) -> Fault | None:
    match kind:
        case inspect.StructType():
            return _check_struct(kind, value, path)
        case inspect.UnionType():
            return _check_union(kind, value, path)
        case inspect.ListType(item_type=item):
            if not isinstance(value, list):
                return path, "Input should be a valid list"
            faults = (_check(item, entry, (*path, at)) for at, entry in enumerate(value))
            return next(filter(None, faults), None)
        case inspect.CustomType(cls=cls):
            assert cls is Tool
            return _check_tool(value, path)
        case _:
            text = _scalar_fault(kind, value)
            return (path, text) if text else None


# Objects and unions --------------------------------------------------------------------------


def _check_struct(kind: inspect.StructType, value: Any, path: Path) -> Fault | None:
    if not isinstance(value, dict):
        return path, _NO_OBJECT
    tag = kind.tag if kind.tag is None else value.get("type", kind.tag)  # may be left out here
    if tag != kind.tag:
        return (*path, "type"), f"Input should be '{kind.tag}'"
    # The API has a union of one variant here, and names it in the path.
    return _check_fields(kind, value, (*path, "ephemeral") if kind.cls is CacheControl else path)


def _check_fields(kind: inspect.StructType, value: dict[str, Any], path: Path) -> Fault | None:
    for field in kind.fields:
        at = (*path, field.encode_name)
        if field.encode_name in value:
            if fault := _check(field.type, value[field.encode_name], at):
                return (at, _not_among(kind.cls, field.name)) if fault[1] is _NOT_AMONG else fault
        elif field.required:
            return at, "Field required"
    return None


def _check_union(kind: inspect.UnionType, value: Any, path: Path) -> Fault | None:
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if value is None and len(options) < len(kind.types):
        return None
    structs = [option for option in options if isinstance(option, inspect.StructType)]
    if len(structs) > 1:
        return _check_tagged(structs, value, path)
    fitting = (option for option in options if isinstance(value, _shape(option)))
    # Of "a string or a list" the API misses the list.
    likely = (option for option in options if not isinstance(option, inspect.StrType))
    return _check(next(chain(fitting, likely, options)), value, path)


def _shape(kind: inspect.Type) -> type:
    match kind:
        case inspect.StrType():
            return str
        case inspect.ListType():
            return list
        case inspect.DictType() | inspect.StructType():
            return dict
        case _:
            return object


def _check_tagged(options: list[inspect.StructType], value: Any, path: Path) -> Fault | None:
    if not isinstance(value, dict):
        return path, _NO_OBJECT
    if "type" not in value:
        return (*path, "type"), "Field required"
    chosen = next((option for option in options if option.tag == value["type"]), None)
    if chosen is None:
        return path, _unknown_tag(value["type"], [option.tag for option in options])
    return _check_fields(chosen, value, (*path, value["type"]))


def _check_tool(value: Any, path: Path) -> Fault | None:
    if not isinstance(value, dict):
        return path, _NO_OBJECT
    tag = tool_type(value)
    if not isinstance(tag, str) or tag not in TOOL_TYPES:
        return path, _unknown_tag(tag, sorted(TOOL_TYPES))
    return _check(_info(TOOL_TYPES[tag]), value, (*path, tag))


def _unknown_tag(tag: Any, expected: Iterable[Any]) -> str:
    tags = ", ".join(f"'{name}'" for name in expected)
    found = str(tag)[:TAG_CHARS_MAX]
    return f"Input tag '{found}' found using 'type' does not match any of the expected tags: {tags}"


# Scalars -------------------------------------------------------------------------------------


def _scalar_fault(kind: inspect.Type, value: Any) -> str | None:
    match kind:
        case inspect.AnyType():
            return None
        case inspect.DictType():
            return None if isinstance(value, dict) else "Input should be a valid dictionary"
        case inspect.BoolType():
            return None if isinstance(value, bool) else "Input should be a valid boolean"
        case inspect.LiteralType(values=values):
            return None if value in values else _NOT_AMONG
        case inspect.StrType(pattern=pattern):
            if not isinstance(value, str):
                return "Input should be a valid string"
            if pattern is not None and not re.search(pattern, value):
                return f"String should match pattern '{pattern}'"
            return None
        case inspect.IntType():
            if not isinstance(value, int) or isinstance(value, bool):
                return "Input should be a valid integer"
            return _bounds_fault(kind, value)
        case inspect.FloatType():
            if not isinstance(value, int | float) or isinstance(value, bool):
                return "Input should be a valid number"
            return _bounds_fault(kind, value)
        case _:
            raise AssertionError(f"no words for {kind}")


def _bounds_fault(kind: inspect.IntType | inspect.FloatType, value: float) -> str | None:
    if kind.ge is not None and value < kind.ge:
        return f"Input should be greater than or equal to {kind.ge:g}"
    if kind.gt is not None and value <= kind.gt:
        return f"Input should be greater than {kind.gt:g}"
    if kind.le is not None and value > kind.le:
        return f"Input should be less than or equal to {kind.le:g}"
    return None


def _not_among(struct: type, field: str) -> str:
    """msgspec sorts the values of a `Literal`; the API names them in the order of declaration."""
    hint = get_type_hints(struct)[field]
    literal = next(option for option in (hint, *get_args(hint)) if get_origin(option) is Literal)
    *rest, last = (f"'{value}'" for value in get_args(literal))
    return f"Input should be {', '.join(rest)} or {last}" if rest else f"Input should be {last}"
