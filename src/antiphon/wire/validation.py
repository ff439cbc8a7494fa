"""Request bodies: bytes → struct, or an error in the API's own words (spec §2, §7.5, §7.6)."""

from typing import Any

import msgspec

from antiphon import errors
from antiphon.wire.tools import Tool, decode_tool

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    def hook(annotation: type, value: Any) -> Any:
        assert annotation is Tool, f"msgspec cannot decode {annotation}"
        return decode_tool(value)

    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=hook)
    return _decoders[kind]


def decode[T](body: bytes, kind: type[T]) -> T:
    try:
        value: T = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise errors.InvalidRequestError(str(error)) from error
    except msgspec.DecodeError as error:
        raise errors.invalid_json(str(error)) from error
    return value
