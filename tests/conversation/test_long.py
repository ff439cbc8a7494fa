"""Long conversations in a small window: never over it, never an illegal request, rarely a trim, and
what matters is still there."""

from itertools import pairwise
from typing import Any

import anthropic
import pytest

from antiphon.backends.scripted import count_words
from antiphon.conversation import Budget, Conversation
from antiphon.testing.plugin import StartServer
from antiphon.wire.messages import CreateMessage
from antiphon.wire.validation import decode
from tests.cli.test_serve import server, url_of
from tests.conversation.simulation import check_legal

WINDOW = 4_096
TURNS = 200
TURNS_BETWEEN_TRIMS_MIN = 9
LONG = "Here is what I know about it, in some detail and at some length: " + "so it goes on " * 20
SCRIPT = {
    "replies": [
        {"match": {"text": "Condense"}, "reply": "The user is called Ann and lives in Rome."},
        {"match": {"tool_result": "sunny"}, "reply": "Take sunglasses."},
        {
            "match": {"text": r"weather in turn \d+"},
            "reply": [{"text": "Let me look."}, {"tool_use": {"name": "get_weather", "input": {}}}],
        },
        {"reply": LONG},
    ]
}


def get_weather() -> str:
    """The weather here."""
    return "sunny " * 50


def trims(requests: list[dict[str, Any]]) -> list[int]:
    """Numbers of the requests that do not begin as the one before them."""
    prompts = [request["messages"] for request in requests]
    return [
        number
        for number, (before, after) in enumerate(pairwise(prompts), start=1)
        if after[: len(before)] != before
    ]


@pytest.mark.parametrize("policy", ["truncate", "summarise"])
def test_200_turns_in_a_window_of_4096_tokens(antiphon_server: StartServer, policy: Any) -> None:
    scripted = antiphon_server(SCRIPT)
    counts: list[Any] = []
    with anthropic.Anthropic(base_url=scripted.url, api_key="x") as client:
        count_tokens = client.messages.count_tokens
        client.messages.count_tokens = lambda **fields: counts.append(1) or count_tokens(**fields)  # type: ignore[method-assign, func-returns-value]
        chat = Conversation(
            "m",
            client,
            system="Be brief.",
            tools=[get_weather],
            budget=Budget(window=WINDOW, policy=policy),
            max_tokens=400,
        )
        chat.say("My name is Ann, and I live in Rome.", pin=policy == "truncate")
        for turn in range(1, TURNS):
            question = "How is the weather in turn" if turn % 7 == 0 else "What do you say in turn"
            assert chat.say(f"{question} {turn}?").complete

    requests = [r for r in scripted.requests if "Condense" not in str(r["messages"][-1])]
    for request in requests:
        check_legal({**request, "max_tokens": 400})
        decoded = decode(anthropic_body(request), CreateMessage)
        assert count_words(decoded) + 400 <= WINDOW
    breaks = trims(requests)
    assert len(breaks) >= 5
    assert min(later - earlier for earlier, later in pairwise(breaks)) >= TURNS_BETWEEN_TRIMS_MIN
    assert "called Ann" in str(chat.messages) or "name is Ann" in str(chat.messages)
    assert len(chat.transcript) == 2 * TURNS + 2 * ((TURNS - 1) // 7)
    assert len(counts) < TURNS / 2


def anthropic_body(request: dict[str, Any]) -> bytes:
    import json

    return json.dumps(request).encode()


@pytest.mark.parametrize("policy", ["truncate", "summarise"])
def test_40_turns_on_the_built_in_model(policy: Any) -> None:
    """Its server refuses what is longer than the window."""
    questions = ["What is a monad?", "Give me an example in Python.", "What is a token?", "Thanks!"]
    with (
        server("--engine", "llamacpp", "--threads", "1", "--context", "1024") as (_, lines),
        anthropic.Anthropic(base_url=url_of(lines), api_key="x", max_retries=0) as client,
    ):
        chat = Conversation(
            "m",
            client,
            budget=Budget(policy=policy),
            on_truncated="return",
            max_tokens=60,
        )
        chat.say("My name is Ann.", pin=True)
        sent = [len(chat.messages)]
        for turn in range(1, 40):
            chat.say(questions[turn % len(questions)])
            check_legal({"model": "m", "max_tokens": 1, "messages": [*chat.messages, *GO_ON]})
            sent.append(len(chat.messages))

    assert chat.messages[0]["content"] == "My name is Ann."
    assert len(chat.transcript) == 80
    assert len(chat.messages) < 80
    assert bool(chat.notes) == (policy == "summarise")
    breaks = [number for number, (one, two) in enumerate(pairwise(sent)) if two < one]
    assert all(later - earlier >= 4 for earlier, later in pairwise(breaks))


GO_ON = [{"role": "user", "content": "Go on."}]
