"""Four agents at once: the same system prompt and tools, and six calls with their results each.

    python -m bench.agents --peer-python PYTHON [--rounds 3] [--turns 6] [--step-ms 200]

On a random model in the shape of Qwen3 0.6B (`bench.models`), through the official SDK. 2,700
tokens, the system prompt and the tools, are the same for all. Every turn is an answer of 16 tokens;
a random model makes no sensible call, so the client takes the text as it came, puts a call beside
it, and sends it back with a result of 100 tokens, on both sides alike. An agent's last request, to
which the results of all its calls have come back, is answered with text.

"new" is what anybody has to compute: the shared tokens once, and of every prompt what stands behind
the last one and its answer. What was computed is each server's own count. Each round is new
servers and other texts, the two taking turns to begin; of the rounds the middle one is shown, and
the lowest and highest ratio beside that of the middle one. Antiphon is to take at most a third of
the peer's time.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import anthropic

from bench import models
from bench.models import text
from bench.prefixes import ANSWER_OPENS, Asking
from bench.serving import Running, antiphon, llama_server, table

AGENTS, SHARED, TASK, RESULT, ANSWER = 4, 2700, 40, 100, 16  # the others are tokens
CELLS = 24_576
WALL_BAR = 1 / 3
NAMES = ("read_file", "write_file", "list_files", "search", "run_tests", "fetch_page")


@dataclass(frozen=True)
class Prefix:
    """What all agents have in common."""

    system: str
    tools: list[dict[str, Any]]


@dataclass(frozen=True)
class Cost:
    prompt: int
    new: int
    computed: int
    wall_s: float


def tool(name: str, draw: random.Random) -> dict[str, Any]:
    fields = ("path", "pattern", "limit")
    properties = {name: {"type": "string", "description": text(draw, 25)} for name in fields}
    schema = {"type": "object", "properties": properties, "required": ["path"]}
    return {"name": name, "description": text(draw, 120), "input_schema": schema}


def prefix(client: anthropic.Anthropic, draw: random.Random) -> Prefix:
    """Exactly so many tokens of it: the system prompt has what the tools leave."""
    tools: list[Any] = [tool(name, draw) for name in NAMES]
    counted = client.messages.count_tokens(
        model="m", messages=[{"role": "user", "content": text(draw, 1)}],
        system=text(draw, 1), tools=tools,
    )  # fmt: skip
    least = counted.input_tokens - 1 - ANSWER_OPENS
    return Prefix(text(draw, 1 + SHARED - least), tools)


def call(turn: int, draw: random.Random) -> dict[str, Any]:
    arguments = {"path": text(draw, 3), "pattern": text(draw, 3)}
    name = draw.choice(NAMES)
    return {"type": "tool_use", "id": f"toolu_{turn:024}", "name": name, "input": arguments}


def result(turn: int, draw: random.Random) -> dict[str, Any]:
    said = text(draw, RESULT)
    return {"type": "tool_result", "tool_use_id": f"toolu_{turn:024}", "content": said}


def work(asking: Asking, draw: random.Random, common: Prefix, turns: int) -> int:
    """One agent from its task to its last word; the tokens of its first prompt."""
    messages: list[Any] = [{"role": "user", "content": text(draw, TASK - ANSWER_OPENS)}]
    first = known = 0
    for turn in range(turns + 1):
        said, prompt, answered = asking.ask(
            messages, max_tokens=ANSWER, system=common.system, tools=common.tools,
            extra_body={"temperature": 0},
        )  # fmt: skip
        asking.new += prompt - known
        first, known = first or prompt, prompt + answered
        block = {"type": "text", "text": said}
        messages.append({"role": "assistant", "content": [block, call(turn, draw)]})
        messages.append({"role": "user", "content": [result(turn, draw)]})
    return first


def cost(server: Running, common: Prefix, seed: int, turns: int, *, has_metrics: bool) -> Cost:
    """All agents at once, each with a client of its own, on a server that has done nothing yet."""
    askings = [Asking(server, has_metrics=has_metrics) for _ in range(AGENTS)]
    draws = [random.Random(f"{seed} {number}") for number in range(AGENTS)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(AGENTS) as pool:
        firsts = list(pool.map(partial(work, common=common, turns=turns), askings, draws))
    wall_s = time.perf_counter() - begun
    if has_metrics and set(firsts) != {SHARED + TASK}:
        raise SystemExit(f"first prompts of {firsts} tokens, not of {SHARED} and {TASK}")
    by_each = [asking.computed for asking in askings]
    for asking in askings:
        asking.close()
    return Cost(
        prompt=sum(asking.prompt for asking in askings),
        new=sum(asking.new for asking in askings) - sum(first - TASK for first in firsts[1:]),
        computed=by_each[0] if has_metrics else sum(by_each),  # its metrics are of all agents
        wall_s=wall_s,
    )


def round_of(arguments: argparse.Namespace, path: Path, seed: int) -> list[Cost]:
    """Ours and theirs."""
    turns = arguments.turns
    both = ("--threads", arguments.threads, "--slots", str(AGENTS))
    own = ("--model", str(path), "--context", str(CELLS), "--step-ms", arguments.step_ms)
    with (
        antiphon(*both, *own) as ours,
        llama_server(arguments.peer_python, *both, model=path, cells=CELLS) as theirs,
    ):
        url = f"http://127.0.0.1:{ours.port}"
        with anthropic.Anthropic(base_url=url, api_key="x") as client:
            common = prefix(client, random.Random(seed))
        pair = [(ours, True), (theirs, False)]
        costs = {
            server: cost(server, common, seed, turns, has_metrics=has_metrics)
            for server, has_metrics in (pair if seed % 2 else reversed(pair))
        }
        return [costs[ours], costs[theirs]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--threads", default="2", help="of both")
    parser.add_argument("--model", choices=models.BY_NAME, default="small")
    parser.add_argument("--step-ms", default="200", help="of Antiphon")
    arguments = parser.parse_args()
    path, turns = models.BY_NAME[arguments.model](), arguments.turns
    rounds = [round_of(arguments, path, seed) for seed in range(arguments.rounds)]
    by_ratio = sorted(rounds, key=lambda pair: pair[0].wall_s / pair[1].wall_s)
    ratios = [ours.wall_s / theirs.wall_s for ours, theirs in by_ratio]
    middle = by_ratio[len(by_ratio) // 2]
    rows = [
        (name, f"{one.prompt:,}", f"{one.new:,}", f"{one.computed:,}", f"{one.wall_s:.1f} s")
        for name, one in zip(("Antiphon", "llama-server"), middle, strict=True)
    ]
    of_agents = f"{AGENTS} agents, {turns} calls each"
    print(table((of_agents, "prompt tokens", "new", "computed", "all of them take"), rows))
    print(f"\nRatio of times: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), ", end="")
    print(f"to be {WALL_BAR:.2f} at most.")


if __name__ == "__main__":
    main()
