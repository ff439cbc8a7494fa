"""Probe: langchain-anthropic."""

from importlib.metadata import version as version_of

from checks import MAX_TOKENS, MODEL, QUESTION, TOO_LONG, check, expect_too_long
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage

chat = ChatAnthropic(model=MODEL, max_tokens=MAX_TOKENS, temperature=0.5, max_retries=0)


@check("version")
def version() -> object:
    sdk = version_of("anthropic")
    return f"langchain-anthropic {version_of('langchain-anthropic')} (anthropic {sdk})"


@check("text")
def text() -> object:
    answer = chat.invoke([("system", "Answer briefly."), ("human", QUESTION)])
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0
    return answer.text


@check("stream")
def stream() -> object:
    pieces = [chunk for chunk in chat.stream(QUESTION) if chunk.text]
    assert len(pieces) > 1
    return f"{len(pieces)} pieces"


@check("error")
def error() -> object:
    try:
        chat.invoke(TOO_LONG)
    except Exception as refused:
        return expect_too_long(refused)
    raise AssertionError("it was accepted")


@check("count")
def count() -> object:
    counted = chat.get_num_tokens_from_messages([HumanMessage(QUESTION)])
    assert counted == chat.invoke(QUESTION).usage_metadata["input_tokens"]
    return counted
