"""Conversations leave the cells for memory: does the server answer others meanwhile?

    python -m bench.spilling [--tokens 2000] [--rounds 5] [--every-ms 2] [--threads N]

On a random model in the shape of one with 0.6 billion parameters. `GET /health` is asked every few
milliseconds on one kept connection; it carries the engine's figures, by which every answer says how
much is in memory. A conversation of 2,000 tokens ends and is more than half of the cells, so its
blocks are stored. "while blocks leave" are the answers from the last one before the first block was
stored to the first one that had all of them; "idle" are 500 before each conversation, when nothing
happens. Bytes are those that `/metrics` has gained.
"""

import argparse
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from antiphon.engines.llamacpp.loading import default_threads
from bench.models import small_model
from bench.overhead import Client
from bench.serving import Running, antiphon, figures, percentile, table
from bench.watching import Asking, at_most, user, wait_until_quiet

HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
P99_MAX_MS = 50
IDLE_SAMPLES = 500
ENOUGH_MIB = 8192  # of memory for blocks: none of them is dropped for another


@dataclass(frozen=True)
class Sample:
    seconds: float
    ram_bytes: int


@dataclass
class Asked:
    """What happened to health requests, and to the memory for blocks in the meantime."""

    seconds: list[float] = field(default_factory=list)
    bytes_stored: int = 0

    def row(self, name: str, *verdict: str) -> list[object]:
        p50, p99, most = (percentile(self.seconds, share) * 1000 for share in (0.5, 0.99, 1.0))
        shown = [f"{value:.1f} ms" for value in (p50, p99, most)]
        stored = f"{self.bytes_stored / (1 << 20):,.0f} MiB"
        return [name, f"{len(self.seconds):,}", *shown, stored, *verdict]


def sample(client: Client) -> Sample:
    begun = time.perf_counter()
    answer = client.post(HEALTH)
    seconds = time.perf_counter() - begun
    figures = json.loads(answer.partition(b"\r\n\r\n")[2])
    return Sample(seconds, figures["ram_bytes_used"])


def samples(client: Client, every_s: float, over: threading.Event, least: int = 0) -> list[Sample]:
    """Until it is over, and at least so many. One that is late is not made up for."""
    taken: list[Sample] = []
    while not over.is_set() or len(taken) < least:
        taken.append(sample(client))
        time.sleep(max(0.0, every_s - taken[-1].seconds))
    return taken


def window(taken: list[Sample]) -> list[Sample]:
    """From the last answer before anything was stored to the first that has all; none if nothing
    was."""
    first, last = taken[0].ram_bytes, taken[-1].ram_bytes
    if first == last:
        return []
    before = next(number for number, one in enumerate(taken) if one.ram_bytes != first) - 1
    ended = next(number for number, one in enumerate(taken) if one.ram_bytes == last)
    return taken[before : ended + 1]


def measure(server: Running, arguments: argparse.Namespace) -> tuple[Asked, Asked]:
    idle, spilling = Asked(), Asked()
    client, asking = Client(server.port), Asking(server)
    every_s, over = arguments.every_ms / 1000, threading.Event()
    over.set()
    for _ in range(arguments.rounds):
        wait_until_quiet(server)
        taken = samples(client, every_s, over, least=IDLE_SAMPLES)
        idle.seconds += [one.seconds for one in taken]
        idle.bytes_stored += taken[-1].ram_bytes - taken[0].ram_bytes
        before = figures(server)["ram_bytes_used"]
        leaving = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            taking = pool.submit(samples, client, every_s, leaving)
            asking.ask([user(asking.text(arguments.tokens))], max_tokens=1)
            wait_until_quiet(server)
            leaving.set()
            spilling.seconds += [one.seconds for one in window(taking.result())]
        spilling.bytes_stored += figures(server)["ram_bytes_used"] - before
    asking.close()
    return idle, spilling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every-ms", type=float, default=2)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    cells = max(1024, -(-arguments.tokens * 3 // 2 // 256) * 256)  # a prompt is more than half
    own = ("--model", str(small_model()), "--context", str(cells), "--cache-ram", str(ENOUGH_MIB))
    with antiphon(*own, "--threads", str(arguments.threads)) as server:
        idle, spilling = measure(server, arguments)
    if not spilling.bytes_stored:
        raise SystemExit("no block was stored: nothing was measured")
    p99_ms = percentile(spilling.seconds, 0.99) * 1000
    bar, verdict = at_most(p99_ms, P99_MAX_MS)
    head = ("`/health`", "answers", "p50", "p99", "longest", "stored meanwhile", "bar", "")
    name = f"while blocks leave ({arguments.rounds} times {arguments.tokens:,} tokens)"
    print(table(head, [idle.row("idle", "", ""), spilling.row(name, f"p99 {bar} ms", verdict)]))


if __name__ == "__main__":
    main()
