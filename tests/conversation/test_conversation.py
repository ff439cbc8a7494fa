"""Conversations with either official client against a scripted server: what is sent and kept."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anthropic
import pytest

from antiphon.conversation import (
    AsyncConversation,
    Budget,
    Conversation,
    OverBudgetError,
    Reply,
    TruncatedError,
)
from antiphon.testing import ScriptedServer
from antiphon.testing.plugin import StartServer

SCRIPT = {
    "replies": [
        {"match": {"text": "Condense the conversation"}, "reply": "The user is called Ann."},
        {"match": {"text": "break"}, "error": {"message": "It broke."}},
        {"match": {"text": "cut"}, "reply": "one two three four five six seven"},
        {"match": {"tool_result": "sunny"}, "reply": "Take sunglasses."},
        {"match": {"tool_result": "no such city"}, "reply": "I cannot find it."},
        {"match": {"text": "weather"}, "reply": [
            {"text": "Let me look."},
            {"tool_use": {"name": "get_weather", "input": {"city": "Rome"}}},
            {"tool_use": {"name": "get_weather", "input": {"city": "Atlantis"}}},
        ]},
        {"reply": "Yes, I see."},
    ]
}  # fmt: skip


def get_weather(city: str) -> str:
    """The weather in a city."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return "sunny"


class Talk:
    """One way of talking for the tests of both."""

    def __init__(self, server: ScriptedServer, is_async: bool, **options: Any) -> None:
        self._loop = asyncio.new_event_loop() if is_async else None
        kind: Any = AsyncConversation if is_async else Conversation
        client: Any = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        self.client = client(base_url=server.url, api_key="x", max_retries=0)
        self.chat = kind("m", self.client, **options)

    def say(self, content: Any, chat: Any = None, **options: Any) -> Any:
        return self._run((chat or self.chat).say(content, **options))

    def retry(self) -> Any:
        return self._run(self.chat.retry())

    def stream(self, content: str) -> Any:
        if self._loop is None:
            return list(self.chat.stream(content))

        async def collect() -> list[Any]:
            return [piece async for piece in self.chat.stream(content)]

        return self._run(collect())

    def close(self) -> None:
        self._run(self.client.close())
        if self._loop is not None:
            self._loop.close()

    def _run(self, value: Any) -> Any:
        return self._loop.run_until_complete(value) if self._loop is not None else value


StartTalk = Callable[..., Talk]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest, antiphon_server: StartServer) -> Any:
    started: list[Talk] = []
    server = antiphon_server(SCRIPT)

    def start(**options: Any) -> Talk:
        started.append(Talk(server, request.param, **options))
        started[-1].server = server  # type: ignore[attr-defined]
        return started[-1]

    yield start
    for one in started:
        one.close()


def requests(talk: Talk) -> list[dict[str, Any]]:
    server: ScriptedServer = talk.server  # type: ignore[attr-defined]
    return server.requests


def test_each_turn_sends_the_whole_conversation(talk: StartTalk) -> None:
    one = talk(system="Be kind.", max_tokens=50, extra_body={"temperature": 0})
    first = one.say("Hello")
    one.say("Again")

    assert (first.text, first.complete) == ("Yes, I see.", True)
    sent = requests(one)[-1]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert (sent["system"], sent["max_tokens"], sent["temperature"]) == ("Be kind.", 50, 0)
    assert [message["role"] for message in one.chat.messages] == ["user", "assistant"] * 2
    assert one.chat.usage["output_tokens"] == 6


def test_what_fails_has_not_been_said(talk: StartTalk) -> None:
    one = talk()
    one.say("Hello")
    before = one.chat.messages
    with pytest.raises(anthropic.InternalServerError, match="It broke"):
        one.say("break")
    with pytest.raises(anthropic.InternalServerError, match="It broke"):
        one.stream("break")

    assert one.chat.messages == before
    assert one.say("Hello again").text == "Yes, I see."


def test_a_stream_ends_with_the_reply(talk: StartTalk) -> None:
    one = talk()
    *pieces, reply = one.stream("Hello")

    assert "".join(pieces) == reply.text == "Yes, I see."
    assert isinstance(reply, Reply)
    assert len(one.chat.messages) == 2


def test_an_answer_that_was_cut_is_not_taken_for_a_whole_one(talk: StartTalk) -> None:
    one = talk(max_tokens=3)
    with pytest.raises(TruncatedError) as caught:
        one.say("cut")

    assert caught.value.reply.text == "one two three "
    assert caught.value.reply.stop_reason == "max_tokens"
    assert one.chat.messages == []

    lenient = talk(max_tokens=3, on_truncated="return")
    reply = lenient.say("cut")
    assert (reply.text, reply.complete) == ("one two three ", False)
    assert len(lenient.chat.messages) == 2


def test_an_answer_that_was_cut_goes_on_from_where_it_was(talk: StartTalk) -> None:
    one = talk(max_tokens=4, on_truncated="continue")
    reply = one.say("cut")

    assert reply.text.startswith("one two three four")
    assert requests(one)[-1]["messages"][-1]["role"] == "assistant"
    assert reply.text == one.chat.messages[-1]["content"][0]["text"]


def test_tools_are_called_and_their_errors_are_told(talk: StartTalk) -> None:
    one = talk(tools=[get_weather])
    reply = one.say("How is the weather?")

    assert reply.text == "Take sunglasses."
    results = one.chat.messages[2]["content"]
    assert [result.get("is_error", False) for result in results] == [False, True]
    assert [result["content"] for result in results] == ["sunny", "LookupError: no such city"]
    assert requests(one)[0]["tools"][0]["name"] == "get_weather"


def test_undo_retry_and_fork(talk: StartTalk) -> None:
    one = talk(tools=[get_weather])
    one.say("Hello")
    one.say("weather")
    other = one.chat.fork()
    assert one.chat.undo()
    assert len(one.chat.messages) == 2
    assert len(other.messages) == 6

    one.say("Here", chat=other)
    assert len(other.messages) == 8
    assert one.retry().text == "Yes, I see."
    assert len(one.chat.messages) == 2
    assert one.chat.undo()
    assert not one.chat.undo()


def fill(one: Talk, turns: int) -> None:
    for number in range(turns):
        one.say(f"This is what I say in turn {number}, and it has some length.")


def test_old_exchanges_leave_in_big_steps_and_pinned_ones_stay(talk: StartTalk) -> None:
    one = talk(budget=Budget(window=400), max_tokens=40)
    one.say("My name is Ann.", pin=True)
    fill(one, 30)

    lengths = [len(request["messages"]) for request in requests(one)]
    trims = sum(after < before for before, after in pairwise(lengths))
    assert 2 <= trims <= 6  # of 30 turns
    assert one.chat.messages[0]["content"] == "My name is Ann."
    assert one.chat.messages[-2]["content"].startswith("This is what I say in turn 29")
    roles = [message["role"] for message in one.chat.messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_what_leaves_is_summarised(talk: StartTalk) -> None:
    one = talk(budget=Budget(window=400, policy="summarise"), max_tokens=40)
    fill(one, 20)

    assert one.chat.messages[0]["content"][0]["text"] == (
        "Notes on the earlier part of this conversation:\nThe user is called Ann."
    )
    assert sum("Condense" in str(request["messages"]) for request in requests(one)) >= 1


def test_a_conversation_may_refuse_to_grow(talk: StartTalk) -> None:
    one = talk(budget=Budget(window=200, policy="refuse"), max_tokens=40)
    with pytest.raises(OverBudgetError, match="tokens do not fit into"):
        fill(one, 30)
    before = one.chat.messages
    with pytest.raises(OverBudgetError):
        one.say("x " * 500)

    assert one.chat.messages == before


def test_one_message_that_is_too_long_says_so(talk: StartTalk) -> None:
    one = talk(budget=Budget(window=100), max_tokens=10)
    with pytest.raises(OverBudgetError, match="no more can leave"):
        one.say("word " * 300)
    assert one.chat.messages == []
