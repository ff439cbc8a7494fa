"""What a conversation with tools and thinking costs when it comes back: prompt tokens that are
computed though they had been computed or generated before.

    python -m bench.replay --peer-python PYTHON [--turns 20]

The official SDK sends its own objects back, turn by turn, to Antiphon, to Antiphon without replay,
and to llama.cpp's server, each on the built-in model. Every turn is a question, with the result of
the call before it if there was one.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import anthropic

from bench.serving import COMPUTED, Running, antiphon, figures, llama_server, table

MAX_TOKENS = 300
TOOLS: list[Any] = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]
CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Porto")


@dataclass(frozen=True)
class Turn:
    prompt: int  # tokens
    new: int  # of them, those behind the last prompt and its answer
    computed: int


Count = Callable[[anthropic.types.Message], tuple[int, int]]
"""Of an answer: tokens of its prompt, and of them those that were computed."""


def by_metrics(server: Running) -> Count:
    before = 0

    def count(message: anthropic.types.Message) -> tuple[int, int]:
        nonlocal before
        total, last = figures(server)[COMPUTED], before
        before = total
        return message.usage.input_tokens, total - last

    return count


def by_usage(message: anthropic.types.Message) -> tuple[int, int]:
    """The peer reports what it took from its cache, always."""
    read = message.usage.cache_read_input_tokens or 0
    return message.usage.input_tokens + read, message.usage.input_tokens


def converse(server: Running, turns: int, count: Count) -> list[Turn]:
    done: list[Turn] = []
    messages: list[Any] = []
    results: list[Any] = []
    known = 0
    url = f"http://127.0.0.1:{server.port}"
    with anthropic.Anthropic(base_url=url, api_key="x") as client:
        for number in range(turns):
            question = f"What is the weather in {CITIES[number % len(CITIES)]}?"
            text = {"type": "text", "text": question}
            messages.append({"role": "user", "content": [*results, text]})
            answer = client.messages.create(
                model="m", max_tokens=MAX_TOKENS, messages=messages, tools=TOOLS,
                thinking={"type": "adaptive"}, extra_body={"temperature": 1},
            )  # fmt: skip
            prompt, computed = count(answer)
            done.append(Turn(prompt, prompt - known, computed))
            known = prompt + answer.usage.output_tokens
            messages.append({"role": "assistant", "content": answer.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "18 degrees"}
                for block in answer.content
                if block.type == "tool_use"
            ]
    return done


def row(name: str, turns: list[Turn]) -> list[object]:
    again = [turn.computed - turn.new for turn in turns[1:]]
    computed = sum(turn.computed for turn in turns)
    return [
        name,
        f"{sum(turn.prompt for turn in turns):,}",
        f"{sum(turn.new for turn in turns):,}",
        f"{computed:,}",
        f"{median(again):.0f}",
        max(again),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()
    turns = arguments.turns
    rows = []
    with antiphon("--threads", "1") as server:
        rows.append(row("Antiphon", converse(server, turns, by_metrics(server))))
    with antiphon("--threads", "1", module="bench.without_replay") as server:
        rows.append(row("Antiphon without replay", converse(server, turns, by_metrics(server))))
    peer = ("--slots", "8", "--threads", "1", "--thinks")
    with llama_server(arguments.peer_python, *peer) as server:
        rows.append(row("llama-server", converse(server, turns, by_usage)))
    head = ("", "prompt tokens", "new", "computed", "again a turn, median", "at most")
    print(table(head, rows))


if __name__ == "__main__":
    main()
