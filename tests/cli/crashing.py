"""`antiphon serve` whose native side crashes: a program for `test_crash.py`.

python crashing.py abort|segfault|assertion MODEL
"""

import ctypes
import sys
import threading
import time
from collections.abc import Sequence

from antiphon.cli.main import main
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.step import Chunk

how, model = sys.argv[1:]
decode = ModelRunner.decode


def deep(calls: int) -> int:
    return deep(calls - 1) if calls else 0


def restless() -> None:
    """A stack that never stands still: whoever reads it during a crash may fall over it."""
    while True:
        deep(200)


def crash(runner: ModelRunner, chunks: Sequence[Chunk], padding: int) -> list[int]:
    """In the first step that computes more than the one token before the server is ready."""
    if len(chunks[0].tokens) == 1:
        return decode(runner, chunks, padding)
    for _ in range(3):
        threading.Thread(target=restless, daemon=True).start()
    time.sleep(0.05)
    if how == "abort":
        ctypes.CDLL(None).abort()
    elif how == "segfault":
        ctypes.string_at(0)
    else:  # more rows of logits than the context was made for
        runner._batch.clear()
        for position in range(300):
            runner._batch.add(1, position, [chunks[0].seq_id], True)
        runner._context.decode(runner._batch)
    raise AssertionError("still alive")


ModelRunner.decode = crash  # type: ignore
sys.exit(main(["serve", "--port", "0", "--model", model, "--threads", "1"]))
