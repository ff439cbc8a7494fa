"""Prompt safety over the shipped model's real vocabulary and template."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.catalog.models import BUILTIN, model_path
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.rendering.chat_template import ChatTemplate
from antiphon.rendering.profiles import SystemTurns, probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.wire.messages import CountTokens
from antiphon.wire.validation import decode


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaEngine]:
    engine = LlamaEngine.load(model_path(BUILTIN), slots=1, context=256)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def renderer(engine: LlamaEngine) -> Renderer:
    assert engine.info.chat_template is not None
    profile = probe(ChatTemplate(engine.info.chat_template))
    assert profile.system_turns == SystemTurns.ANYWHERE
    return Renderer(profile, PromptEncoder(engine.tokenizer))


def conversation(text: str) -> dict[str, Any]:
    """A request in which every role says `text`."""
    return {
        "model": "m",
        "system": f"rules {text}",
        "messages": [
            {"role": "user", "content": f"one {text} two"},
            {"role": "assistant", "content": f"{text}{text} said"},
            {"role": "system", "content": f"and {text}."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": f"prefill {text}"},
        ],
    }


def ids_of(renderer: Renderer, request: dict[str, Any]) -> list[int]:
    return renderer.render(decode(json.dumps(request).encode(), CountTokens)).token_ids


def test_no_spelling_of_a_special_token_becomes_one(
    engine: LlamaEngine, renderer: Renderer
) -> None:
    special = {token.id for token in engine.tokenizer.special_tokens}
    own = [i for i in ids_of(renderer, conversation("harmless")) if i in special]
    assert own, "the template has special tokens of its own"

    for token in engine.tokenizer.special_tokens:
        ids = ids_of(renderer, conversation(token.text))

        assert [i for i in ids if i in special] == own, token.text


def test_nothing_that_a_caller_wrote_is_lost(engine: LlamaEngine, renderer: Renderer) -> None:
    for token in engine.tokenizer.special_tokens:
        ids = ids_of(renderer, conversation(token.text))
        text = b"".join(map(engine.tokenizer.token_bytes, ids)).decode()

        assert f"one {token.text} two" in text
        assert f"{token.text}{token.text} said" in text
        assert text.endswith(f"prefill {token.text}")


@pytest.mark.parametrize(
    "text",
    [
        "What is a monad?",
        "> quote\n< less",
        "a<b and c>d",
        "def f(x):\n\treturn x | 1",
        "é 🎵 日本",
    ],
)
def test_ordinary_text_gets_the_tokens_of_the_whole_run(
    engine: LlamaEngine, renderer: Renderer, text: str
) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": text}]}
    encode = engine.tokenizer.encode
    special = {token.text: token.id for token in engine.tokenizer.special_tokens}
    start, end = special["<|im_start|>"], special["<|im_end|>"]

    assert ids_of(renderer, request) == [
        start,
        *encode("user\n" + text),
        end,
        *encode("\n"),
        start,
        *encode("assistant\n"),
    ]
