"""What conversations cost that nobody continues: the step of one stream beside them.

    python -m bench.idle [--conversations 16] [--tokens 2000] [--rounds 5] [--threads N]

Two servers on a random model in the shape of one with 0.6 billion parameters, 40,960 tokens of
context each. One has had no conversation, the other 16 of 2,000 tokens, which have ended and which
it keeps. The same stream of 64 tokens is asked of both in turn, when nothing is being saved any
more; a step is the middle of the times between its tokens, as the client sees them.
"""

import argparse
from dataclasses import dataclass
from statistics import median

from antiphon.engines.llamacpp.loading import default_threads
from bench.models import small_model
from bench.serving import Running, antiphon, figures, table
from bench.watching import Asking, at_most, user, wait_until_quiet

STREAM_TOKENS = 64
RATIO_MAX = 1.1
CACHE_RAM_MIB = 6144  # more than 16 conversations of 2,000 tokens take


@dataclass(frozen=True)
class Step:
    """Of one stream: its time, and how much its server held when it began."""

    seconds: float
    cells: int
    ram_bytes: int


def had(server: Running, conversations: int, tokens: int) -> None:
    """One after the other, and each to its end."""
    asking = Asking(server)
    for _ in range(conversations):
        asking.ask([user(asking.text(tokens))], max_tokens=1)
    asking.close()


def step(server: Running, asking: Asking) -> Step:
    held = wait_until_quiet(server)
    answer = asking.ask([user("Tell me of the harbour.")], max_tokens=STREAM_TOKENS)
    if len(answer.times) < STREAM_TOKENS // 2:
        raise SystemExit(f"a stream of {len(answer.times)} pieces says nothing about its steps")
    return Step(median(answer.gaps_s), held["cells_used"], held["ram_bytes_used"])


def row(name: str, steps: list[Step]) -> list[object]:
    """The server's size is that before the last of them: its own streams have not grown it."""
    return [
        name,
        f"{median(one.seconds for one in steps) * 1000:.1f} ms",
        f"{steps[-1].cells:,}",
        f"{steps[-1].ram_bytes / (1 << 20):,.0f} MiB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--conversations", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2000, help="of each")
    parser.add_argument("--context", type=int, default=40_960)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    own = ("--model", str(small_model()), "--context", str(arguments.context),
           "--cache-ram", str(CACHE_RAM_MIB), "--threads", str(arguments.threads))  # fmt: skip
    steps: dict[str, list[Step]] = {"empty": [], "idle": []}
    with antiphon(*own) as empty, antiphon(*own) as idle:
        had(idle, arguments.conversations, arguments.tokens)
        computed = figures(idle)["prompt_tokens_computed"]
        asking = {"empty": Asking(empty), "idle": Asking(idle)}
        for _ in range(arguments.rounds):
            steps["empty"].append(step(empty, asking["empty"]))
            steps["idle"].append(step(idle, asking["idle"]))
        for client in asking.values():
            client.close()
    pairs = zip(steps["idle"], steps["empty"], strict=True)
    ratios = [one.seconds / other.seconds for one, other in pairs]
    ratio = median(ratios)
    of_rounds = f"{min(ratios):.2f} to {max(ratios):.2f}"
    name = f"{arguments.conversations} idle conversations, {computed:,} tokens"
    head = ("", "step", "cells in use", "in memory", "ratio", "in rounds", "bar", "")
    rows = [
        [*row("nothing else", steps["empty"]), "", "", "", ""],
        [*row(name, steps["idle"]), f"{ratio:.2f}", of_rounds, *at_most(ratio, RATIO_MAX)],
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
