"""A conversation comes back: how soon from memory and from disk, against computing it again.

    python -m bench.returning [--tokens 2000] [--rounds 3] [--threads N]

On a random model in the shape of one with 0.6 billion parameters, with fewer cells than two such
conversations need, so that one leaves them when others come. The same words come back with a short
question behind them; the times are those to the first token of the answer to it. "computed": the
same length, said for the first time. "from memory": others have pushed it out of the cells, as the
count of restored tokens proves. "from disk": the server was ended and started again with the same
`--cache-dir`, and has answered something else first, so that the model is loaded. The files have
just been written: they come out of the kernel's cache of files, not off a platter.
"""

import argparse
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from antiphon.engines.llamacpp.loading import default_threads
from bench.models import small_model
from bench.serving import PYTHON, Running, antiphon, figures, table
from bench.watching import Answer, Asking, assistant, at_least, user, wait_until_quiet

OTHERS = 2  # conversations of the same length that come between
CELLS_SHARE = 1.75  # cells, for each token of a conversation
CACHE_MIB = 4096  # in memory, and on disk
MEMORY_MIN, DISK_MIN = 30, 10  # times as fast as computing
LOST_SHARE = 0.25  # of a prompt: if more is computed, it was not kept


@dataclass
class Times:
    """Seconds to first tokens, and prompt tokens that were computed and restored for them."""

    seconds: list[float] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)
    lost: int = 0  # of them, those that nothing was kept of
    stayed: int = 0  # those that had never left the cells

    def row(self, name: str, whole: "Times", bar: float | None) -> list[object]:
        first_s = median(self.seconds)
        faster = median(whole.seconds) / first_s
        if self.lost and self is not whole:
            name += f" ({self.lost} of {len(self.seconds)} were computed again)"
        if self.stayed:
            name += f" ({self.stayed} of {len(self.seconds)} had not left the cells)"
        return [
            name,
            f"{median(self.computed):,.0f}",
            f"{median(self.restored):,.0f}",
            f"{first_s * 1000:,.0f} ms",
            *(("", "", "") if bar is None else (f"{faster:.1f}", *at_least(faster, bar))),
        ]


def has_disk_tier() -> bool:
    """By the help page: an unknown option would only end the server."""
    command = [PYTHON, "-m", "antiphon", "serve", "--help"]
    environment = {**os.environ, "ANTIPHON_CONFIG": os.devnull}
    page = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "--cache-dir" in page.stdout


def timed(server: Running, asking: Asking, messages: Sequence[Any], times: Times) -> Answer:
    before = wait_until_quiet(server)
    answer = asking.ask(messages, max_tokens=4)
    after = figures(server)
    computed, restored = (
        after[name] - before[name] for name in ("prompt_tokens_computed", "restored_tokens")
    )
    times.seconds.append(answer.first_s)
    times.computed.append(computed)
    times.restored.append(restored)
    is_lost = computed > answer.prompt_tokens * LOST_SHARE
    times.lost += is_lost
    times.stayed += not is_lost and not restored
    return answer


def come_back(
    server: Running, asking: Asking, said: list[Any], question: str, times: Times
) -> None:
    timed(server, asking, [*said, user(question)], times)


def first_life(
    server: Running, asking: Asking, arguments: argparse.Namespace
) -> tuple[list[list[Any]], Times, Times]:
    """Conversations that are had, leave the cells and come back; all of them are kept."""
    whole, memory = Times(), Times()
    kept: list[list[Any]] = []
    for _ in range(arguments.rounds):
        said = [user(asking.text(arguments.tokens))]
        said.append(assistant(timed(server, asking, said, whole)))
        for _ in range(OTHERS):
            wait_until_quiet(server)
            asking.ask([user(asking.text(arguments.tokens))], max_tokens=1)
        come_back(server, asking, said, "And now?", memory)
        kept.append(said)
    wait_until_quiet(server)
    return kept, whole, memory


def second_life(server: Running, kept: list[list[Any]]) -> Times:
    disk, asking = Times(), Asking(server, seed=2)
    asking.ask([user("Good morning.")], max_tokens=4)
    for said in kept:
        come_back(server, asking, said, "What then?", disk)  # not one that was kept, too
    asking.close()
    return disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    cells = round(arguments.tokens * CELLS_SHARE)
    own = ["--model", str(small_model()), "--context", str(cells),
           "--cache-ram", str(CACHE_MIB), "--threads", str(arguments.threads)]  # fmt: skip
    with contextlib.ExitStack() as stack:
        on_disk = has_disk_tier()
        if on_disk:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            own += ["--cache-dir", folder, "--cache-disk", str(CACHE_MIB)]
        with antiphon(*own) as server:
            asking = Asking(server)
            kept, whole, memory = first_life(server, asking, arguments)
            asking.close()
        rows = [whole.row("computed", whole, None), memory.row("from memory", whole, MEMORY_MIN)]
        if on_disk:
            with antiphon(*own) as server:
                rows.append(second_life(server, kept).row("from disk", whole, DISK_MIN))
        else:
            refused = "cannot be measured: this server has no --cache-dir"
            rows.append(["from disk", refused, "", "", "", f"≥ {DISK_MIN}", "missed"])
    head = (f"{arguments.tokens:,} tokens come back", "computed", "restored", "first token",
            "times as fast", "bar", "")  # fmt: skip
    print(table(head, rows))


if __name__ == "__main__":
    main()
