"""Model names lead to backends; unknown ones to the default, under the name that was asked for."""

import json

import pytest

from antiphon.backends.base import RequestContext
from antiphon.backends.native import NativeBackend
from antiphon.backends.router import Router
from antiphon.engines.stub import CHAT_TEMPLATE, StubEngine
from antiphon.errors import NotFoundError
from antiphon.ids import generator
from antiphon.parsing.tool_formats.table import GENERIC
from antiphon.rendering.chat_template import ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.content import TextBlock
from antiphon.wire.events import accumulate_async
from antiphon.wire.messages import CreateMessage, Message
from antiphon.wire.resources import ModelInfo
from antiphon.wire.validation import decode
from tests.serving import EPOCH, answering

CONTEXT = RequestContext(request_id="req_1")


def backend(name: str) -> NativeBackend:
    """A backend that answers with its own name."""
    engine = StubEngine(reply=answering(name))
    renderer = Renderer(probe(ChatTemplate(CHAT_TEMPLATE)), PromptEncoder(engine.tokenizer))
    model = ModelInfo(id=name, display_name=name.upper(), created_at=EPOCH)
    return NativeBackend(engine, renderer, model, generator(), GENERIC)


def router(*, strict: bool = False) -> Router:
    names = ("small", "large")
    return Router({name: backend(name) for name in names}, default="large", strict=strict)


async def ask(router: Router, model: str) -> Message:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
    request = decode(json.dumps(body).encode(), CreateMessage)
    return await accumulate_async(router.stream(request, CONTEXT))


@pytest.mark.parametrize(
    ("model", "answerer"), [("small", "small"), ("large", "large"), ("claude-x", "large")]
)
async def test_who_answers(model: str, answerer: str) -> None:
    message = await ask(router(), model)

    assert message.content == [TextBlock(answerer)]
    assert message.model == model


async def test_strict_knows_its_own_names_only() -> None:
    assert (await ask(router(strict=True), "small")).content == [TextBlock("small")]
    with pytest.raises(NotFoundError, match="model: claude-x"):
        await ask(router(strict=True), "claude-x")


async def test_models_are_listed_once_the_default_first() -> None:
    assert [info.id for info in await router().models()] == ["large", "small"]


async def test_an_alias_is_described_under_its_own_name() -> None:
    info = await router().model("claude-x")

    assert (info.id, info.display_name) == ("claude-x", "LARGE")


async def test_aliases_are_listed_behind_their_model_and_stand_when_strict() -> None:
    names = {name: backend(name) for name in ("small", "large")}
    aliases = {"claude-local-small": "small", "fast": "small"}
    routed = Router(names, default="large", strict=True, aliases=aliases)

    ids = [info.id for info in await routed.models()]
    assert ids == ["large", "small", "claude-local-small", "fast"]
    assert (await ask(routed, "fast")).content == [TextBlock("small")]
    assert (await routed.model("fast")).display_name == "SMALL"
    with pytest.raises(NotFoundError):
        await ask(routed, "claude-x")
