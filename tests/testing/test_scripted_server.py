"""A user's own tests: the official SDK and its tool runner against a script."""

from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool

from antiphon.errors import StartupError
from antiphon.testing import ScriptedServer, scripted_server
from antiphon.testing.plugin import StartServer

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
SCRIPT = {
    "replies": [
        {"match": {"tool_result": "degrees"}, "reply": "It is warm in Paris."},
        {
            "match": {"text": "weather in (\\w+)", "tool": "get_weather"},
            "reply": [
                {"text": "Let me look."},
                {"tool_use": {"name": "get_weather", "input": {"city": "Paris"}}},
            ],
        },
        {
            "match": {"text": "think"},
            "reply": [{"thinking": "Hm.", "signature": "sig"}, {"text": "Done."}],
        },
        {"match": {"text": "busy"}, "error": {"type": "overloaded_error", "message": "Full."}},
        {
            "match": {"text": "break"},
            "reply": "This answer breaks in the middle.",
            "error": {"after_chars": 12, "message": "It broke."},
        },
        {"match": {"text": "once"}, "times": 1, "reply": "First."},
        {"match": {"text": "once"}, "reply": "Later."},
        {"match": {"text": "long"}, "reply": "one two three four five"},
        {"match": {"text": "refuse"}, "reply": "", "stop_reason": "refusal"},
    ]
}


def client_of(server: ScriptedServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0)


def ask(server: ScriptedServer, text: str, **more: Any) -> anthropic.types.Message:
    with client_of(server) as client:
        messages: list[Any] = [{"role": "user", "content": text}]
        fields: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": messages, **more}
        message: anthropic.types.Message = client.messages.create(**fields)
    return message


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_the_tool_runner_finishes_by_sending_the_whole_conversation(
    antiphon_server: StartServer,
) -> None:
    server = antiphon_server(SCRIPT)
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "24 degrees"

    with client_of(server) as client:
        runner = client.beta.messages.tool_runner(
            model="m", max_tokens=100, messages=ASK, tools=[get_weather]
        )
        final = runner.until_done()

    assert asked == ["Paris"]
    assert text_of(final) == "It is warm in Paris."
    roles = [message["role"] for message in server.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_blocks_come_as_they_stand_in_the_script(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    message = ask(server, "think about it")
    with (
        client_of(server) as client,
        client.messages.stream(
            model="m", max_tokens=100, messages=[{"role": "user", "content": "think"}]
        ) as stream,
    ):
        streamed = stream.get_final_message()

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert [block.type for block in streamed.content] == ["thinking", "text"]
    assert text_of(streamed) == text_of(message) == "Done."
    assert message.stop_reason == "end_turn"


def test_errors_are_the_clients_own(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    with pytest.raises(anthropic.InternalServerError, match="Full"):
        ask(server, "are you busy?")
    with pytest.raises(anthropic.BadRequestError, match="None of the script's 9 replies fits"):
        ask(server, "something else")


def test_an_answer_breaks_where_the_script_says(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    seen: list[str] = []

    def read() -> None:
        with (
            client_of(server) as client,
            client.messages.stream(
                model="m", max_tokens=100, messages=[{"role": "user", "content": "break"}]
            ) as stream,
        ):
            seen.extend(stream.text_stream)

    with pytest.raises(anthropic.APIStatusError, match=r"It broke\."):
        read()

    assert "".join(seen) == "This answer "
    with pytest.raises(anthropic.InternalServerError, match=r"It broke\."):
        ask(server, "break")


def test_a_reply_can_be_used_up(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)

    assert [text_of(ask(server, "once")) for _ in range(3)] == ["First.", "Later.", "Later."]


def test_max_tokens_counts_words_and_stop_sequences_cut(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    cut = ask(server, "long", max_tokens=2)
    stopped = ask(server, "long", stop_sequences=["thr"])
    nothing = ask(server, "long", max_tokens=0)

    assert (text_of(cut), cut.stop_reason, cut.usage.output_tokens) == ("one two ", "max_tokens", 2)
    assert (text_of(stopped), stopped.stop_sequence) == ("one two ", "thr")
    assert (nothing.content, nothing.stop_reason) == ([], "max_tokens")
    assert ask(server, "refuse").stop_reason == "refusal"


def test_counting_is_the_same_everywhere(antiphon_server: StartServer) -> None:
    server = antiphon_server(SCRIPT)
    with client_of(server) as client:
        messages: list[Any] = [{"role": "user", "content": "a long question"}]
        count = client.messages.count_tokens(model="m", messages=messages)

    assert count.input_tokens == ask(server, "a long question").usage.input_tokens


def test_scripts_are_yaml_too(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text("replies:\n  - match: {text: hi}\n    reply: Hello!\n", encoding="utf-8")

    with scripted_server(file) as server:
        assert text_of(ask(server, "hi")) == "Hello!"
        assert server.requests[0]["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ({"replies": [{"replay": "x"}]}, r"unknown field `replay` - at `\$.replies\[0\]`"),
        ({"replies": [{"match": {"text": "("}}]}, "no regular expression"),
        ({"replies": [{"reply": [{}]}]}, "exactly one of text, thinking and tool_use"),
        ({"replies": [{"stop_reason": "tired"}]}, "Invalid enum value 'tired'"),
        ({}, "missing required field `replies`"),
        ("/no/such/file.yaml", "cannot be read"),
    ],
)
def test_a_wrong_script_says_where(script: Any, text: str) -> None:
    with pytest.raises(StartupError, match=text), scripted_server(script):
        pass
