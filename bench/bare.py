"""llama.cpp in process, without a server."""

import random
import time

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Chunk

CONTEXT_TOKENS = 512  # of what stands in front, computed at once


class Bare:
    """One sequence, whose end is computed again and again."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self._draw = random.Random(1)
        self._length = 0

    def grow(self, length: int) -> None:
        """Until so many tokens stand in front of that end."""
        while self._length < length:
            count = min(CONTEXT_TOKENS, length - self._length)
            self._decode(count)
            self._length += count

    def seconds(self, count: int, padding: int = 0) -> float:
        """Of `count` tokens in one batch, with so many rows that are computed for nothing."""
        begun = time.perf_counter()
        self._decode(count, padding)
        taken = time.perf_counter() - begun
        self._runner.remove(0, self._length)
        return taken

    def _decode(self, count: int, padding: int = 0) -> None:
        size = self._runner.vocabulary.size
        tokens = [self._draw.randrange(size) for _ in range(count)]
        sequence = Sequence.from_prompt(tokens, max_tokens=1, sampling=SamplingParams())
        self._runner.decode([Chunk(sequence, 0, self._length, tokens, True)], padding)
