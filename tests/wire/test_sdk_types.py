"""The client's own types know no block, tool, event or field that ours do not."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from anthropic import types
from anthropic.types import beta
from anthropic.types import message_count_tokens_params as count_params
from anthropic.types import message_create_params as create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_params
from anthropic.types.beta import message_create_params as beta_create_params
from msgspec import inspect
from pydantic import BaseModel

from antiphon.wire.content import ContentBlock, ContentBlockParam, ToolResultContent
from antiphon.wire.events import Delta, DeltaUsage, Event
from antiphon.wire.messages import (
    CountTokens,
    CreateMessage,
    Message,
    MessageParam,
    Thinking,
    Usage,
)
from antiphon.wire.resources import ModelInfo
from antiphon.wire.tools import TOOL_TYPES, ToolChoice


def variants(annotation: Any) -> Iterator[Any]:
    """The classes of a union, however deeply it is wrapped."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from variants(argument)


def fields(theirs: Any) -> dict[str, Any]:
    """Names on the wire and types of a class of the client's."""
    if isinstance(theirs, type) and issubclass(theirs, BaseModel):
        return {
            field.alias or name: field.annotation for name, field in theirs.model_fields.items()
        }
    return get_type_hints(theirs)


def tags(theirs: Any) -> tuple[str, ...]:
    annotation = fields(theirs)["type"]
    literals = [a for a in (annotation, *get_args(annotation)) if get_origin(a) is Literal]
    return tuple(value for literal in literals for value in get_args(literal))


def ours(union: Any) -> dict[Any, set[str]]:
    """Tag → field names of a union of ours."""
    structs = inspect.type_info(list[union]).item_type.types  # type: ignore[attr-defined]
    return {struct.tag: {field.encode_name for field in struct.fields} for struct in structs}


UNIONS = [
    (types.ContentBlockParam, ContentBlockParam),
    (types.ContentBlock, ContentBlock),
    (beta.BetaContentBlockParam, ContentBlockParam),
    (beta.BetaContentBlock, ContentBlock),
    (types.tool_result_block_param.Content, ToolResultContent),
    (types.RawContentBlockDelta, Delta),
    (beta.BetaRawContentBlockDelta, Delta),
    (types.RawMessageStreamEvent, Event),
    (types.ThinkingConfigParam, Thinking),
    (types.ToolChoiceParam, ToolChoice),
]


@pytest.mark.parametrize(("theirs", "union"), UNIONS)
def test_variants(theirs: Any, union: Any) -> None:
    known = ours(union)

    for variant in variants(theirs):
        for tag in tags(variant):
            assert tag in known
            assert fields(variant).keys() - {"type"} <= known[tag], tag


@pytest.mark.parametrize("theirs", [types.ToolUnionParam, beta.BetaToolUnionParam])
def test_tools(theirs: Any) -> None:
    for variant in variants(theirs):
        for tag in tags(variant):
            struct = TOOL_TYPES[tag]
            known = {field.encode_name for field in msgspec.structs.fields(struct)}  # type: ignore[arg-type]
            assert fields(variant).keys() <= known, tag


@pytest.mark.parametrize(
    ("theirs", "struct"),
    [
        (create_params.MessageCreateParamsNonStreaming, CreateMessage),
        (beta_create_params.MessageCreateParamsNonStreaming, CreateMessage),
        (count_params.MessageCountTokensParams, CountTokens),
        (beta_count_params.MessageCountTokensParams, CountTokens),
        (beta.BetaUserMessageParam, MessageParam),
        (beta.BetaSystemMessageParam, MessageParam),
        (types.Message, Message),
        (beta.BetaMessage, Message),
        (types.Usage, Usage),
        (beta.BetaUsage, Usage),
        (types.MessageDeltaUsage, DeltaUsage),
        (beta.BetaMessageDeltaUsage, DeltaUsage),
        (types.ModelInfo, ModelInfo),
    ],
)
def test_fields(theirs: Any, struct: type[msgspec.Struct]) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    in_headers = {"betas", "user_profile_id", "workspace_id"}

    assert fields(theirs).keys() - in_headers <= known
