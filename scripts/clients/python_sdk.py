"""Probe: the official Python SDK, in any version from 0.84."""

import anthropic
from checks import MAX_TOKENS, MODEL, QUESTION, TOO_LONG, check, expect_too_long

client = anthropic.Anthropic(max_retries=0)
MESSAGES = [{"role": "user", "content": QUESTION}]


@check("version")
def version() -> object:
    return f"anthropic {anthropic.__version__}"


@check("text")
def text() -> object:
    message = client.messages.create(model=MODEL, max_tokens=MAX_TOKENS, messages=MESSAGES)
    assert message.model == MODEL
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.content[0].text
    return message.content[0].text


@check("stream")
def stream() -> object:
    with client.messages.stream(model=MODEL, max_tokens=MAX_TOKENS, messages=MESSAGES) as events:
        pieces = list(events.text_stream)
        final = events.get_final_message()
    assert "".join(pieces) == final.content[0].text
    assert len(pieces) > 1
    assert final.usage.output_tokens > 0
    return f"{len(pieces)} pieces"


@check("beta")
def beta() -> object:
    message = client.beta.messages.create(model=MODEL, max_tokens=MAX_TOKENS, messages=MESSAGES)
    assert message.content[0].text
    return message.content[0].text


@check("error")
def error() -> object:
    too_long = [{"role": "user", "content": TOO_LONG}]
    try:
        client.messages.create(model=MODEL, max_tokens=MAX_TOKENS, messages=too_long)
    except anthropic.BadRequestError as refused:
        return expect_too_long(refused)
    raise AssertionError("it was accepted")


@check("count")
def count() -> object:
    counted = client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens
    message = client.messages.create(model=MODEL, max_tokens=1, messages=MESSAGES)
    assert counted == message.usage.input_tokens
    return counted


@check("models")
def models() -> object:
    first = next(iter(client.models.list()))
    assert client.models.retrieve(first.id).id == first.id
    return first.id
