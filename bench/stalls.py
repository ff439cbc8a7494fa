"""A long prompt is computed beside a running stream: how long the stream stands still, and what the
prompt loses.

    python -m bench.stalls [--tokens 4000] [--rounds 2] [--threads N]

On a random model in the shape of one with 0.6 billion parameters. The gaps are those between the
pieces of the running stream, as its client sees them, from when the prompt was sent until its first
token; a step may hold a stream up for 200 ms, as set, and the bar allows half as much again. The
prompt's speed is its computed tokens over the time to its first token, in turns alone and beside
the stream, each on a server of its own, since what a server has computed before stays in the cells
and slows what comes.
"""

import argparse
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from antiphon.engines.llamacpp.engine import STEP_S
from antiphon.engines.llamacpp.loading import default_threads
from bench.models import small_model
from bench.serving import Running, antiphon, figures, percentile, table
from bench.watching import Answer, Asking, at_least, at_most, user

STREAM_TOKENS = 8192  # more than come while a prompt is computed
BEGUN_PIECES = 8  # of the stream, before the prompt is sent
GAP_MAX_S = 1.5 * STEP_S
SPEED_MIN = 0.75


@dataclass(frozen=True)
class Beside:
    tokens_s: float  # of the prompt
    gaps_s: list[float]  # of the stream


def prompt(server: Running, asking: Asking, tokens: int) -> tuple[Answer, float]:
    """An answer of one token, and how many tokens of its prompt were computed a second."""
    before = figures(server)["prompt_tokens_computed"]
    answer = asking.ask([user(asking.text(tokens))], max_tokens=1)
    computed = figures(server)["prompt_tokens_computed"] - before
    return answer, computed / answer.first_s


def beside_a_stream(server: Running, asking: Asking, tokens: int) -> Beside:
    over, begun = threading.Event(), threading.Semaphore(0)

    def leave() -> bool:
        begun.release()
        return over.is_set()

    streaming = Asking(server, seed=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            streaming.ask, [user("Go on.")], max_tokens=STREAM_TOKENS, leave=leave
        )
        for _ in range(BEGUN_PIECES):
            if not begun.acquire(timeout=60):
                raise SystemExit("the stream did not begin")
        answer, tokens_s = prompt(server, asking, tokens)
        over.set()
        times = running.result().times
    streaming.close()
    if times[-1] < answer.times[0]:
        raise SystemExit("the stream ended before the prompt was computed")
    first = answer.begun + answer.first_s
    gaps_s = [b - a for a, b in pairwise(times) if b > answer.begun and a < first]
    return Beside(tokens_s, gaps_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=4000, help="of the prompt")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    own = ("--model", str(small_model()), "--context", str(8192 + 2 * arguments.tokens),
           "--threads", str(arguments.threads))  # fmt: skip
    alone: list[float] = []
    beside: list[Beside] = []
    for _ in range(arguments.rounds):
        with antiphon(*own) as server, contextlib.closing(Asking(server)) as asking:
            alone.append(prompt(server, asking, arguments.tokens)[1])
        with antiphon(*own) as server, contextlib.closing(Asking(server)) as asking:
            beside.append(beside_a_stream(server, asking, arguments.tokens))
    gaps_s = [gap for one in beside for gap in one.gaps_s]
    p50, p99, most = (percentile(gaps_s, share) for share in (0.5, 0.99, 1.0))
    shares = [one.tokens_s / speed for one, speed in zip(beside, alone, strict=True)]
    both = median(one.tokens_s for one in beside)
    gap_bar, gap_verdict = at_most(p99 * 1000, GAP_MAX_S * 1000)
    speed = f"{both:,.0f} tokens/s beside it, {median(alone):,.0f} alone"
    rows = [
        ("gaps of the stream", len(gaps_s), "", ""),
        ("p50", f"{p50 * 1000:.0f} ms", "", ""),
        ("p99", f"{p99 * 1000:.0f} ms", f"{gap_bar} ms", gap_verdict),
        ("longest", f"{most * 1000:.0f} ms", "", ""),
        ("speed of the prompt", speed, "", ""),
        ("of that alone", f"{median(shares):.2f}", *at_least(median(shares), SPEED_MIN)),
    ]
    print(table((f"a prompt of {arguments.tokens:,} tokens beside a stream", "", "bar", ""), rows))


if __name__ == "__main__":
    main()
