"""Conversations with either official client against a scripted server: what is sent and kept."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing
from itertools import islice, pairwise
from typing import Any

import anthropic
import pytest
from anthropic.lib.tools import ToolError

from antiphon.conversation import (
    AsyncConversation,
    Budget,
    Conversation,
    OverBudgetError,
    Reply,
    ToolLimitError,
    TruncatedError,
)
from antiphon.testing import ScriptedServer
from antiphon.testing.plugin import StartServer

SCRIPT = {
    "replies": [
        {"match": {"text": "Condense the conversation"}, "reply": "The user is called Ann."},
        {"match": {"text": "break"}, "error": {"message": "It broke."}},
        {"match": {"text": "cut"}, "reply": "one two three four five six seven"},
        {"match": {"text": "^one two$"}, "reply": " and three"},
        {"match": {"text": "spaces"}, "reply": "one two  three"},
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
        kind: Any = AsyncConversation if is_async else Conversation
        client: Any = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        self.client = client(base_url=server.url, api_key="x", max_retries=0)
        self.chat = kind("m", self.client, **options)
        self._loop = asyncio.new_event_loop() if is_async else None

    def say(self, content: Any, chat: Any = None, **options: Any) -> Any:
        return self._run((chat or self.chat).say(content, **options))

    def retry(self) -> Any:
        return self._run(self.chat.retry())

    def stream(self, content: str, pieces_max: int = 1_000) -> Any:
        """So many pieces, and then it is closed."""
        pieces = self.chat.stream(content)
        if self._loop is None:
            taken = list(islice(pieces, pieces_max))
            pieces.close()
            return taken

        async def collect() -> list[Any]:
            taken: list[Any] = []
            async with aclosing(pieces):
                async for piece in pieces:
                    taken.append(piece)
                    if len(taken) == pieces_max:
                        break
            return taken

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


def test_a_stream_that_is_left_has_not_been_said(talk: StartTalk) -> None:
    one = talk()
    assert len(one.stream("Hello", pieces_max=1)) == 1

    assert one.chat.messages == []
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


def without_ids(messages: Any) -> str:
    return re.sub(r"toolu_\w+", "toolu", json.dumps(messages))


def test_a_stream_has_the_text_around_calls_and_of_continuations(talk: StartTalk) -> None:
    one = talk(tools=[get_weather])
    *pieces, reply = one.stream("How is the weather?")
    assert "".join(pieces) == "Let me look.\n\nTake sunglasses."
    assert [message["role"] for message in reply.messages] == ["user", "assistant"] * 2
    assert without_ids(reply.messages) == without_ids(
        talk(tools=[get_weather]).say("How is the weather?").messages
    )

    other = talk(max_tokens=2, on_truncated="continue")
    *pieces, reply = other.stream("spaces")
    assert "".join(pieces) == reply.text == "one two and three"


def test_calls_of_one_answer_run_side_by_side(talk: StartTalk) -> None:
    both = threading.Barrier(2)

    def get_weather(city: str) -> str:
        """The weather in a city."""
        both.wait(10)  # for the other one
        return f"sunny in {city}"

    one = talk(tools=[get_weather])
    one.say("How is the weather?")

    results = one.chat.messages[2]["content"]
    assert [result["content"] for result in results] == ["sunny in Rome", "sunny in Atlantis"]


def test_a_tool_may_answer_with_blocks_and_with_data(talk: StartTalk) -> None:
    block: Any = {"type": "text", "text": "sunny"}

    def get_weather(city: str) -> Any:
        """The weather in a city."""
        if city == "Atlantis":
            raise ToolError([block])
        return [block] if city == "Rome" else None

    one = talk(tools=[anthropic.beta_tool(get_weather)])
    one.say("How is the weather?")

    results = one.chat.messages[2]["content"]
    assert [result["content"] for result in results] == [[block], [block]]
    assert [result.get("is_error", False) for result in results] == [False, True]

    def degrees(city: str) -> Any:
        """The weather in a city."""
        return {"sunny": city, "°C": None}

    other = talk(tools=[anthropic.beta_tool(degrees, name="get_weather")])
    other.say("How is the weather?")
    assert other.chat.messages[2]["content"][0]["content"] == '{"sunny": "Rome", "°C": null}'


def test_a_call_that_is_declined_is_not_run(talk: StartTalk) -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        ran.append(city)
        return "sunny"

    def confirm(name: str, input: Mapping[str, Any]) -> bool | str:
        asked.append((name, input))
        return True if input["city"] == "Rome" else "There is no Atlantis."

    one = talk(tools=[get_weather], confirm=confirm)
    one.say("How is the weather?")

    assert asked == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Atlantis"})]
    assert ran == ["Rome"]
    result = one.chat.messages[2]["content"][1]
    assert (result["content"], result["is_error"]) == ("There is no Atlantis.", True)


def test_a_tool_that_does_not_end_is_left_alone(talk: StartTalk) -> None:
    ended = threading.Event()

    def get_weather(city: str) -> str:
        """The weather in a city."""
        ended.wait(60)
        return "sunny"

    one = talk(tools=[get_weather], tool_seconds=0.05)
    try:
        with pytest.raises(ToolLimitError, match=r"for 0\.05 s"):
            one.say("How is the weather?")
        assert one.chat.messages == []
    finally:
        ended.set()


def test_a_tool_that_nobody_has_is_told_so(talk: StartTalk) -> None:
    def other_tool() -> str:
        """Something else."""
        return ""

    one = talk(tools=[other_tool])
    one.say("How is the weather?")

    result = one.chat.messages[2]["content"][0]
    assert result["content"] == "There is no tool 'get_weather'."
    assert result["is_error"]


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


def test_arguments_that_are_none_are_refused(talk: StartTalk) -> None:
    with pytest.raises(TypeError, match="the conversation itself decides about stream"):
        talk(stream=True)
    with pytest.raises(ValueError, match="on_truncated is one of"):
        talk(on_truncated="ignore")
    with pytest.raises(ValueError, match="no policy 'forget'"):
        Budget(policy="forget")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 < low < high <= 1"):
        Budget(low=0.9, high=0.8)


def test_model_and_system_prompt_may_change_between_turns(talk: StartTalk) -> None:
    one = talk(system="Be kind.")
    one.say("Hello")
    one.chat.model, one.chat.system = "other", None
    one.say("Hello")

    assert requests(one)[-1]["model"] == "other"
    assert "system" not in requests(one)[-1]
    assert len(requests(one)[-1]["messages"]) == 3


def test_what_is_exported_can_be_read_and_gone_on_with(talk: StartTalk) -> None:
    one = talk(system="Be kind.", tools=[get_weather])
    one.say("How is the ```weather```?")
    exported = json.loads(one.chat.to_json())
    assert (exported["model"], exported["system"]) == ("m", "Be kind.")
    other = talk(messages=exported["messages"], tools=[get_weather])
    assert other.chat.messages == one.chat.messages
    assert other.chat.undo()

    page = one.chat.to_markdown()
    assert page.startswith("*m*\n\n## System\n\nBe kind.\n\n## User\n\nHow is the ```weather```?")
    assert 'calls `get_weather`\n\n```json\n{\n "city": "Rome"\n}\n```' in page
    assert "## Tools\n\n```\nsunny\n```\n\nfailed\n\n```\nLookupError: no such city\n```" in page
    assert page.endswith("## Assistant\n\nTake sunglasses.\n")


async def test_what_is_cancelled_has_not_been_said(antiphon_server: StartServer) -> None:
    """Tools that are coroutines are cancelled with it."""
    is_running, was_cancelled = asyncio.Event(), asyncio.Event()

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        is_running.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()
        return "sunny"

    server = antiphon_server(SCRIPT)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="x") as client:
        chat = AsyncConversation("m", client, tools=[get_weather])
        turn = asyncio.create_task(chat.say("How is the weather?"))
        await is_running.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn

        assert was_cancelled.is_set()
        assert chat.messages == []
        assert (await chat.say("Hello")).text == "Yes, I see."


async def test_a_coroutine_may_be_asked_before_a_call(antiphon_server: StartServer) -> None:
    async def confirm(name: str, input: Mapping[str, Any]) -> bool:
        return False

    server = antiphon_server(SCRIPT)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="x") as client:
        chat = AsyncConversation("m", client, tools=[get_weather], confirm=confirm)
        await chat.say("How is the weather?")
    (result, _) = server.requests[-1]["messages"][-1]["content"]

    assert result["content"] == "The user declined this call."


def test_a_coroutine_needs_an_asynchronous_conversation() -> None:
    async def look() -> str:
        """Look."""
        return "sunny"

    with pytest.raises(TypeError, match="the tool 'look' is a coroutine: use AsyncConversation"):
        Conversation("m", anthropic.Anthropic(api_key="x"), tools=[look])
