"""Prompt tokens that are computed though they had been computed before: shared beginnings, turns
of several conversations in turn, and long ones.

    python -m bench.prefixes --peer-python PYTHON [--rounds 3] [--model small]

First on a tiny random model (`bench.models`), whose time is nothing: what counts is tokens, by each
server's own count. "new" is what stands behind the last prompt of the same beginning and its
answer, the template's tokens included. "again" is the most that any turn of a conversation computed
beyond that; it is to be 16 at most where all of them fit into the cells, which 12 do not.

Then time, on a random model in the shape of Qwen3 0.6B: 8 requests at once, which share 1,500
tokens and have 100 of their own, and answers of one token. Cold, nobody has seen the 1,500, so that
2,300 tokens are to be computed; warm, 8 others follow, of which 800 are new. Antiphon is to compute
no more than 1.01 times that, and to take at most a fifth of the peer's time. Each round is new
servers and other texts, the two servers taking turns; of the rounds the middle one is shown.

Both get the same requests over HTTP, through the official SDK, and one pool of cells for 8 answers.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import anthropic

from bench import models
from bench.models import text
from bench.serving import COMPUTED, Running, antiphon, figures, llama_server, table

CONTEXT, CONTEXT_TIMED = 32_768, 16_384
ANSWER_TOKENS = 8
SHARED, OWN, CLIENTS = 1500, 100, 8
SYSTEM_OPENS, ANSWER_OPENS = 10, 5  # tokens of the template around what is shared, and behind all
AGAIN_BAR, COMPUTED_BAR, WALL_BAR = 16, 1.01, 0.2


@dataclass(frozen=True)
class Asked:
    """Tokens of prompts; `new` is how many of them anybody would have to compute."""

    prompt: int
    new: int
    computed: int
    again: int  # beyond the new ones, in any turn but a conversation's first


class Asking:
    """A client, and what its requests have cost."""

    def __init__(self, server: Running, *, has_metrics: bool) -> None:
        url = f"http://127.0.0.1:{server.port}"
        self.client = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=3600)
        self._server = server if has_metrics else None
        self._by_usage = 0
        self.prompt = self.new = self.again = 0

    @property
    def computed(self) -> int:
        """Prompt tokens so far; the peer reports with each answer what it took from its cache."""
        return figures(self._server)[COMPUTED] if self._server else self._by_usage

    def ask(
        self, messages: Sequence[Any], *, max_tokens: int = ANSWER_TOKENS, **fields: Any
    ) -> tuple[str, int, int]:
        """The answer, the tokens of its prompt, and its own."""
        message: anthropic.types.Message = self.client.messages.create(
            model="m", max_tokens=max_tokens, messages=list(messages), **fields
        )
        usage = message.usage
        created = usage.input_tokens + (usage.cache_creation_input_tokens or 0)
        prompt = created + (usage.cache_read_input_tokens or 0)
        self.prompt += prompt
        self._by_usage += created
        return message.content[0].text, prompt, usage.output_tokens  # type: ignore[union-attr]

    def close(self) -> None:
        self.client.close()


def user(said: str) -> dict[str, str]:
    return {"role": "user", "content": said}


def ask_at_once(asking: Asking, draw: random.Random, system: str, max_tokens: int) -> None:
    """Eight requests with this beginning and, exactly, so many tokens of their own."""
    own = [text(draw, OWN - ANSWER_OPENS) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = pool.map(
            lambda said: asking.ask([user(said)], system=system, max_tokens=max_tokens), own
        )
        prompts = {prompt for _, prompt, _ in asked}
    if prompts != {SHARED + OWN}:
        raise SystemExit(f"prompts of {prompts} tokens, not of {SHARED} and {OWN}")
    asking.new += CLIENTS * OWN


def shared(asking: Asking, draw: random.Random) -> None:
    """8 requests at once with one beginning, and 8 others behind it."""
    system = text(draw, SHARED - SYSTEM_OPENS)
    asking.new += SHARED
    for _ in range(2):
        ask_at_once(asking, draw, system, ANSWER_TOKENS)


def alternating(conversations: int) -> Callable[[Asking, random.Random], None]:
    """Conversations of 10 turns, a turn of each in turn; 300 tokens a turn."""

    def run(asking: Asking, draw: random.Random) -> None:
        threads: list[list[Any]] = [[] for _ in range(conversations)]
        known = [0] * conversations
        for turn in range(10):
            for number, thread in enumerate(threads):
                before = asking.computed
                thread.append(user(text(draw, 300)))
                answer, prompt, answered = asking.ask(thread)
                thread.append({"role": "assistant", "content": answer})
                new, known[number] = prompt - known[number], prompt + answered
                asking.new += new
                if turn:
                    asking.again = max(asking.again, asking.computed - before - new)

    return run


def branches(asking: Asking, draw: random.Random) -> None:
    """A beginning of 2,000 tokens that is continued in 16 ways, one after the other."""
    system = text(draw, 2000 - SYSTEM_OPENS)
    asking.new += 2000
    for _ in range(16):
        _, prompt, _ = asking.ask([user(text(draw, 60 - ANSWER_OPENS))], system=system)
        asking.new += prompt - 2000


CASES: dict[str, Callable[[Asking, random.Random], None]] = {
    "8 times 1,500 shared and 100 own, and 8 others": shared,
    "2 conversations in turn, 10 turns": alternating(2),
    "4 conversations in turn, 10 turns": alternating(4),
    "12 conversations in turn, 10 turns": alternating(12),
    "16 branches of 2,000 tokens": branches,
}
FITTING = ("2 conversations in turn, 10 turns", "4 conversations in turn, 10 turns")


def measure(asking: Asking, case: Callable[[Asking, random.Random], None]) -> Asked:
    case(asking, random.Random(1))
    asking.close()
    return Asked(asking.prompt, asking.new, asking.computed, asking.again)


def counts(peer_python: str) -> str:
    """The table of tokens."""
    path, rows = models.tiny_model(), []
    common = ("--threads", "1", "--slots", str(CLIENTS))
    own = ("--model", str(path), "--context", str(CONTEXT))
    for name, case in CASES.items():
        with antiphon(*common, *own) as server:
            ours = measure(Asking(server, has_metrics=True), case)
        with llama_server(peer_python, *common, model=path, cells=CONTEXT) as server:
            theirs = measure(Asking(server, has_metrics=False), case)
        tokens = (ours.prompt, ours.new, ours.computed, theirs.computed)
        shown = [f"{count:,}" for count in tokens]
        again = [one.again if "turns" in name else "" for one in (ours, theirs)]
        bar = AGAIN_BAR if name in FITTING else ""
        rows.append((name, *shown, f"{ours.computed / theirs.computed:.2f}", *again, bar))
    head = ("", "prompt tokens", "new", "Antiphon", "llama-server", "ratio", "again, Antiphon",
            "again, llama-server", "bar")  # fmt: skip
    return table(head, rows)


@dataclass(frozen=True)
class Timed:
    """What eight requests at once have cost."""

    computed: int
    wall_s: float

    @classmethod
    def of(cls, asking: Asking, seed: int, temperature: str) -> "Timed":
        """The same system prompt for a seed, and own texts for each temperature of the cache."""
        system = text(random.Random(seed), SHARED - SYSTEM_OPENS)
        before, begun = asking.computed, time.perf_counter()
        ask_at_once(asking, random.Random(f"{seed} {temperature}"), system, max_tokens=1)
        wall_s = time.perf_counter() - begun
        return cls(asking.computed - before, wall_s)


def round_of(peer_python: str, path: Path, threads: str, seed: int) -> dict[str, list[Timed]]:
    """Cold and warm, ours and theirs."""
    common = ("--threads", threads, "--slots", str(CLIENTS))
    own = ("--model", str(path), "--context", str(CONTEXT_TIMED))
    with (
        antiphon(*common, *own) as ours,
        llama_server(peer_python, *common, model=path, cells=CONTEXT_TIMED) as theirs,
    ):
        pair = [Asking(ours, has_metrics=True), Asking(theirs, has_metrics=False)]
        timed = {
            temperature: [Timed.of(asking, seed, temperature) for asking in pair]
            for temperature in ("cold", "warm")
        }
        for asking in pair:
            asking.close()
    return timed


def timed_rows(rounds: Sequence[dict[str, list[Timed]]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for temperature, best in (("cold", SHARED + CLIENTS * OWN), ("warm", CLIENTS * OWN)):
        by_ratio = sorted(
            (one[temperature] for one in rounds), key=lambda pair: pair[0].wall_s / pair[1].wall_s
        )
        ours, theirs = by_ratio[len(by_ratio) // 2]
        ratios = [one.wall_s / other.wall_s for one, other in by_ratio]
        most = max(one.computed for one, _ in by_ratio)
        rows.append(
            (
                f"{CLIENTS} times ({SHARED:,} shared + {OWN} own), {temperature}",
                f"{best:,}",
                f"{most:,}",
                f"{most / best:.3f}",
                COMPUTED_BAR,
                f"{theirs.computed:,}",
                f"{ours.wall_s:.2f} s",
                f"{theirs.wall_s:.2f} s",
                f"{median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                WALL_BAR,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="of what is timed; 0 leaves it out")
    parser.add_argument("--model", choices=models.BY_NAME, default="small", help="that is timed")
    parser.add_argument("--threads", default="2", help="of both, where time counts")
    arguments = parser.parse_args()
    print(counts(arguments.peer_python))
    if arguments.rounds:
        path = models.BY_NAME[arguments.model]()
        rounds = [
            round_of(arguments.peer_python, path, arguments.threads, seed)
            for seed in range(arguments.rounds)
        ]
        head = ("", "new", "Antiphon", "of new", "bar", "llama-server", "Antiphon takes",
                "llama-server takes", "ratio", "in rounds", "bar")  # fmt: skip
        print("\n" + table(head, timed_rows(rounds)))


if __name__ == "__main__":
    main()
