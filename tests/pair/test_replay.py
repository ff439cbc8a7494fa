"""A conversation with tools through the official SDK: every turn computes what is new, and no more.
The client keeps what it got as its own objects and sends it back, as every client does."""

import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from tests.cli.test_serve import server, url_of
from tests.pair.test_tools import NOW, WEATHER

TURNS = 20
SLACK = 16  # tokens of a turn that may be computed again
CHOICES: list[Any] = [
    {"type": "any", "disable_parallel_tool_use": True},
    {"type": "none"},
    {"type": "tool", "name": "get_weather"},
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server("--engine", "llamacpp", "--threads", "1") as (_, lines):
        yield url_of(lines)


def computed(url: str) -> int:
    """Prompt tokens that were not in the cache, of all requests so far."""
    text = httpx.get(f"{url}/metrics").text
    counts = dict(re.findall(r'^antiphon_tokens_total{kind="(\w+)"} (\d+)', text, re.MULTILINE))
    return int(counts.get("input", 0)) - int(counts.get("reused", 0))


def test_twenty_turns_with_tools_compute_every_token_once(url: str) -> None:
    messages: list[Any] = []
    known = 0  # tokens of the last prompt and its answer
    with anthropic.Anthropic(base_url=url, api_key="x") as client:
        results: list[Any] = []
        for turn in range(TURNS):
            text = {"type": "text", "text": f"And what about number {turn}?"}
            messages.append({"role": "user", "content": [*results, text]})
            before = computed(url)
            answer = client.messages.create(
                model="m",
                max_tokens=200,
                messages=messages,
                tools=[WEATHER, NOW],  # type: ignore[list-item]
                tool_choice=CHOICES[turn % 3],
                extra_body={"temperature": 1},
            )
            total = answer.usage.input_tokens

            assert computed(url) - before <= total - known + SLACK, f"turn {turn}"

            known = total + answer.usage.output_tokens
            messages.append({"role": "assistant", "content": answer.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": f"{turn}"}
                for block in answer.content
                if block.type == "tool_use"
            ]
