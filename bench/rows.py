"""What a few tokens behind many take: alone, and with rows that are computed for nothing.

    python -m bench.rows [--model small] [--rounds 3] [--threads N]

llama.cpp in process, on a random model (`bench.models`). For every number of rows and tokens before
them, the two take turns, and the fastest of each is shown; what the engine does with such a batch
stands beside them (`engines/llamacpp/padding.py`, whose constants are from here).
"""

import argparse
from collections.abc import Sequence

from antiphon.engines.llamacpp import gguf, model_runner, placing
from antiphon.engines.llamacpp.loading import default_threads
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.padding import TOGETHER, Padding
from bench import models
from bench.bare import Bare
from bench.serving import table

BEHIND = (500, 1500, 3000)
ROWS = (8, 16, 24, 32, 40, 48, 56)


def row(bare: Bare, rows: int, behind: int, padding: Padding, rounds: int) -> Sequence[str]:
    added = TOGETHER - rows
    pairs = [(bare.seconds(rows), bare.seconds(rows, added)) for _ in range(rounds)]
    alone, together = (min(times) * 1000 for times in zip(*pairs, strict=True))
    is_filled_up = padding.rows([(rows, behind)], cells=added) > 0
    return (
        f"{rows} behind {behind:,}",
        f"{alone:.1f} ms",
        f"{together:.1f} ms",
        f"{together / alone:.2f}",
        "filled up" if is_filled_up else "alone",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", choices=models.BY_NAME, default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    file = gguf.read(models.BY_NAME[arguments.model]())
    model_runner.set_spin_count(file.size)
    runner = ModelRunner(file.path, gpu_layers=0, name=file.name)
    runner.open(cells=2 * BEHIND[-1], sequence_ids=2, threads=arguments.threads)
    padding = placing.padding(file, runner)
    if padding is None:
        raise SystemExit("batches of this model are not filled up")
    bare = Bare(runner)
    lines = []
    for behind in BEHIND:
        bare.grow(behind)
        lines += [row(bare, rows, behind, padding, arguments.rounds) for rows in ROWS]
    runner.close()
    print(table(("tokens", "alone", "as 64", "ratio", "the engine"), lines))


if __name__ == "__main__":
    main()
