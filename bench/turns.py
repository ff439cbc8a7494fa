"""What turn 50 of a conversation costs: is it only what is new in it?

    python -m bench.turns [--turns 50] [--tokens 60] [--threads N]

One conversation through the official SDK, every turn with about 60 tokens of new text and a short
answer, on a random model in the shape of one with 0.6 billion parameters. "again" is what was
computed beyond what is new behind the last prompt and its answer, by the server's own count. The
first token of turn 2, and of the last five, is set against a bare decode: llama.cpp in process, the
same number of new tokens over a context as long, one batch, the same threads. The two take turns:
the server is idle while the bare one decodes. The bars are for the last turns; those of turn 2 are
the same, for comparison.
"""

import argparse
from dataclasses import dataclass
from statistics import median
from typing import Any

from antiphon.engines.llamacpp.loading import default_threads
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.placing import ALL_LAYERS
from bench.bare import Bare
from bench.models import small_model
from bench.serving import Running, antiphon, figures, table
from bench.watching import Asking, assistant, at_most, user, wait_until_quiet

ANSWER_TOKENS = 16
LAST = 5  # turns that the median is of
BARE_DECODES = 3  # for each of them
AGAIN_MAX, RATIO_MAX = 16, 1.2


@dataclass(frozen=True)
class Turn:
    number: int
    prompt: int  # tokens
    new: int  # of them, those behind the last prompt and its answer
    computed: int
    first_s: float
    bare_s: float | None  # the same without a server, where it was measured

    @property
    def again(self) -> int:
        return self.computed - self.new


def converse(server: Running, bare: Bare, turns: int, tokens: int) -> list[Turn]:
    done: list[Turn] = []
    messages: list[Any] = []
    asking, known = Asking(server), 0
    before = figures(server)["prompt_tokens_computed"]
    for number in range(1, turns + 1):
        messages.append(user(asking.text(tokens)))
        is_compared = number == 2 or number > turns - LAST
        if is_compared:
            wait_until_quiet(server)
        answer = asking.ask(messages, max_tokens=ANSWER_TOKENS)
        messages.append(assistant(answer))
        count = figures(server)["prompt_tokens_computed"]
        new = answer.prompt_tokens - known
        bare_s = None
        if is_compared:
            wait_until_quiet(server)
            bare.grow(known)
            bare_s = median(bare.seconds(new) for _ in range(BARE_DECODES))
        prompt, first_s = answer.prompt_tokens, answer.first_s
        done.append(Turn(number, prompt, new, count - before, first_s, bare_s))
        before, known = count, prompt + answer.tokens
    asking.close()
    return done


def row(name: str, turns: list[Turn]) -> list[object]:
    """The middle of some turns."""
    ratios = [turn.first_s / turn.bare_s for turn in turns if turn.bare_s]
    first_s = median(turn.first_s for turn in turns)
    bare_s = median(turn.bare_s or 0 for turn in turns)
    return [
        name,
        f"{median(turn.prompt for turn in turns):,.0f}",
        f"{median(turn.new for turn in turns):.0f}",
        f"{median(turn.computed for turn in turns):.0f}",
        f"{first_s * 1000:.0f} ms",
        f"{bare_s * 1000:.0f} ms",
        f"{median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        *at_most(median(ratios), RATIO_MAX),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=60, help="of new text, each turn")
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    path = small_model()
    cells = max(4096, -(-arguments.turns * (arguments.tokens + 60) // 1024) * 1024)
    runner = ModelRunner(path, gpu_layers=ALL_LAYERS, name=path.name)
    runner.open(cells=cells, sequence_ids=runner.sequence_ids_max, threads=arguments.threads)
    bare = Bare(runner)
    own = ("--model", str(path), "--context", str(cells), "--threads", str(arguments.threads))
    with antiphon(*own) as server:
        turns = converse(server, bare, arguments.turns, arguments.tokens)
    runner.close()
    again = [turn.again for turn in turns[1:]]
    head = ("", "prompt tokens", "new", "computed", "first token", "bare decode", "ratio",
            "in turns", "bar", "")  # fmt: skip
    last = turns[-LAST:]
    rows = [row("turn 2", turns[1:2]), row(f"turns {last[0].number} to {last[-1].number}", last)]
    print(table(head, rows))
    cells_of = (f"{median(again):.0f}", max(again), *at_most(max(again), AGAIN_MAX))
    print("\n" + table(("again a turn, median", "at most", "bar", ""), [cells_of]))


if __name__ == "__main__":
    main()
