"""Probe: pydantic-ai with its Anthropic model."""

import asyncio
from importlib.metadata import version as version_of

from checks import MAX_TOKENS, MODEL, QUESTION, TOO_LONG, check, expect_too_long
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.settings import ModelSettings

settings = ModelSettings(max_tokens=MAX_TOKENS)


def agent() -> Agent:
    """A new one for every check, since its connections live on one event loop."""
    return Agent(AnthropicModel(MODEL), instructions="Answer briefly.", model_settings=settings)


@check("version")
def version() -> object:
    return f"pydantic-ai {version_of('pydantic-ai-slim')} (anthropic {version_of('anthropic')})"


@check("text")
def text() -> object:
    result = agent().run_sync(QUESTION)
    assert result.output
    return result.output


@check("stream")
def stream() -> object:
    async def pieces() -> list[str]:
        async with agent().run_stream(QUESTION) as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    found = asyncio.run(pieces())
    assert len(found) > 1
    return f"{len(found)} pieces"


@check("error")
def error() -> object:
    try:
        agent().run_sync(TOO_LONG)
    except ModelHTTPError as refused:
        return expect_too_long(refused)
    raise AssertionError("it was accepted")


@check("count")
def count() -> object:
    request = [ModelRequest.user_text_prompt(QUESTION)]
    usage = AnthropicModel(MODEL).count_tokens(request, settings, ModelRequestParameters())
    counted = asyncio.run(usage).input_tokens
    assert counted > 0
    return counted
