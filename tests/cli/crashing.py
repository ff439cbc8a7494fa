"""`antiphon serve` whose native side crashes: a program for `test_crash.py`.

python crashing.py abort|segfault|assertion MODEL
"""

import ctypes
import sys
from collections.abc import Sequence

from antiphon.cli.main import main
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.step import Chunk

how, model = sys.argv[1:]
decode = ModelRunner.decode


def crash(runner: ModelRunner, chunks: Sequence[Chunk]) -> list[int]:
    """In the first step that computes more than the one token before the server is ready."""
    if len(chunks[0].tokens) == 1:
        return decode(runner, chunks)
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
