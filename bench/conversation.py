"""What trimming costs: tokens that the server computes for the same long conversation, trimmed in
big steps and every turn.

    python -m bench.conversation [--turns 80] [--window 1500]

On the built-in model, whose server keeps common prefixes. "every turn" is the same library with a
mark a hair below the one at which it trims.
"""

import argparse
import re
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import anthropic

from antiphon import Budget, Conversation
from antiphon.conversation.budget import Policy
from bench.serving import antiphon, table

MAX_TOKENS = 40
QUESTIONS = (
    "What is a monad?",
    "Give me a concrete example in Python.",
    "What is a token?",
    "What does max_tokens mean?",
    "What is a closure?",
    "Thank you. And what is recursion?",
    "How does attention work?",
)
HIGH = 0.9
CASES: tuple[tuple[Policy, str, float], ...] = (
    ("truncate", "90 % to 60 %", 0.6),
    ("truncate", "90 % to 30 %", 0.3),
    ("truncate", "every turn", HIGH - 0.001),
    ("summarise", "90 % to 60 %", 0.6),
    ("summarise", "every turn", HIGH - 0.001),
)


@dataclass(frozen=True)
class Cost:
    trims: int
    prompt: int  # tokens of all prompts
    computed: int  # of them, those that no prefix in the cache had


def computed_and_cached(port: int) -> tuple[int, int]:
    """Tokens of prompts, by the server's own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        page = response.read().decode()
    found = re.findall(r"^antiphon_prompt_tokens_(computed|cached)_total (\S+)", page, re.MULTILINE)
    counts = {name: int(float(value)) for name, value in found}
    return counts["computed"], counts["cached"]


def measure(turns: int, budget: Budget) -> Cost:
    """On a server of its own: nobody else's prefixes are in its cache."""
    with antiphon("--threads", "1") as server:
        client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key="x")
        with client:
            chat = Conversation(
                "m",
                client,
                budget=budget,
                on_truncated="return",
                max_tokens=MAX_TOKENS,
                extra_body={"temperature": 0},
            )
            firsts: list[Any] = []
            for turn in range(turns):
                chat.say(f"{QUESTIONS[turn % len(QUESTIONS)]} ({turn})")
                firsts.append(chat.messages[0]["content"])
            computed, cached = computed_and_cached(server.port)
    trims = sum(one != other for one, other in pairwise(firsts))
    return Cost(trims, computed + cached, computed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=80)
    parser.add_argument("--window", type=int, default=1500)
    arguments = parser.parse_args()
    costs = {
        (policy, name): measure(arguments.turns, Budget(arguments.window, policy, HIGH, low))
        for policy, name, low in CASES
    }
    worst = costs["truncate", "every turn"].computed
    rows = [
        (
            *case,
            cost.trims,
            f"{cost.prompt:,}",
            f"{cost.computed:,}",
            f"{cost.computed / worst:.2f}",
        )
        for case, cost in costs.items()
    ]
    print(table(("policy", "trimmed", "trims", "prompt tokens", "computed", "ratio"), rows))


if __name__ == "__main__":
    main()
