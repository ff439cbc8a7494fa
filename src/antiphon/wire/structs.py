"""The two bases of every wire struct. Wire values are frozen: two equal values are the same value.

An absent optional field is `UNSET` and is not encoded; `null` is `None` and is. Fields keep the
order in which the API sends them. Unknown keys of the other side are dropped when decoding.
"""

from typing import Any, dataclass_transform

from msgspec import Struct, field

type Object = dict[str, Any]
"""A JSON object whose inside is somebody else's: a tool's input, a JSON Schema, a history blob."""


# Tells type checkers what msgspec does: subclasses of a frozen struct are frozen too.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Plain(Struct, frozen=True):
    """An object told apart by where it stands."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Tagged(Struct, frozen=True, tag_field="type"):
    """A variant of a union, told apart by its `type` key, which is encoded first."""
