"""The second context: a thread that computes prompts, and stands still while others are answered.

Between two operations of its graph, milliseconds of work (up to 100 for 64 tokens in a long context
on a slow machine), llama.cpp asks whether to go on. There it waits while the engine's thread makes
a step, so that the processors belong to one of them at a time. Being asked takes 0 to 6 % of the
time.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue

from antiphon.engines.llamacpp.beside import Beside
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.padding import Padding
from antiphon.engines.llamacpp.step import Part, Prefill
from antiphon.engines.llamacpp.tiers import Tiers

NOTHING_STORED = Tiers(block_tokens=1, ram_bytes_max=0)  # these cells are copied, not stored


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The cells of each chunk in parts; or what went wrong, after which nothing more is computed.
    `seconds` is how long the processors computed."""

    parts: SequenceOf[SequenceOf[Part]]
    rows: int
    seconds: float
    error: Exception | None = None


class Prefiller:
    """Used by the engine's thread only; `done` is called by its own. Its cells are copied in parts
    of `part_tokens` at most. Whether it is busy, the plan knows (`Beside.is_busy`)."""

    def __init__(
        self,
        runner: ModelRunner,
        part_tokens: int,
        done: Callable[[Prefilled], None],
        padding: Padding | None = None,
    ) -> None:
        self._runner = runner
        self._part_tokens = part_tokens
        self._done = done
        self._padding = padding
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[tuple[Prefill, SequenceOf[bytes]] | None] = SimpleQueue()
        self._processors = threading.Lock()
        self._may_run = threading.Event()
        self._may_run.set()
        self._is_over = False
        self._until = 0.0  # of the clock, the processors are lent
        self._stood_s = 0.0  # waited for others, since a batch began
        runner.ask_before_each_operation(self._is_interrupted)

    def new_plan(self) -> Beside:
        """Nothing is computed, and nothing is to be."""
        self.stop()
        self._runner.clear()
        return Beside(
            cells=self._runner.cells,
            sequence_ids=self._runner.sequence_ids,
            part_tokens=self._part_tokens,
            padding=self._padding,
        )

    def begin(self, prefill: Prefill | None, runner: ModelRunner) -> int:
        """Compute it; what is copied comes out of the cells of `runner`. Return in how many parts.

        None is nothing: then the thread ends, since while it lives OpenMP counts more threads than
        processors, and lets them sleep where they would spin (`model_runner.set_spin_count`).
        """
        if prefill is None:
            self.stop()
            return 0
        data = [runner.save(copy.source, copy.start, copy.end) for copy in prefill.transfers]
        self._until = 0.0
        try:
            self._start()
        except RuntimeError as error:  # no more threads
            self._done(Prefilled([], 0, 0, error))
        else:
            self._work.put((prefill, data))
        return len(data)

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="antiphon-prefill", daemon=True)
            thread.start()
            self._thread = thread

    def lend(self, seconds: float | None) -> None:
        """The processors are its own for so long, or until it is done."""
        self._until = inf if seconds is None else time.monotonic() + seconds

    def lent(self) -> tuple[bool, float | None]:
        """Whether they still are, and for how long if that is known, in seconds."""
        left = self._until - time.monotonic()
        return left > 0, left if left < inf else None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The processors are the caller's meanwhile."""
        self._may_run.clear()
        with self._processors:
            try:
                yield
            finally:
                self._may_run.set()

    def stop(self) -> None:
        """Interrupt what is computed; of that nothing is heard any more."""
        if self._thread is not None:
            self._is_over = True
            self._work.put(None)
            self._thread.join()
            self._thread = None
        self._is_over = False

    def close(self) -> None:
        self.stop()
        self._runner.close()

    # What follows runs on its own thread.

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            with self._processors:
                prefilled = self._computed(*work)
            if not self._is_over:
                self._done(prefilled)

    def _computed(self, prefill: Prefill, data: SequenceOf[bytes]) -> Prefilled:
        try:
            self._bring(prefill, data)
            began, self._stood_s = time.monotonic(), 0.0
            rows = sum(len(chunk.tokens) for chunk in prefill.chunks) + prefill.padding
            if prefill.chunks:
                self._runner.decode(prefill.chunks, prefill.padding)
            seconds = time.monotonic() - began - self._stood_s
            parts = [
                self._saved(chunk.seq_id, chunk.start, chunk.start + len(chunk.tokens))
                for chunk in prefill.chunks
            ]
        except Exception as error:
            return Prefilled([], 0, 0, error)
        return Prefilled(parts, rows, seconds)

    def _bring(self, prefill: Prefill, data: SequenceOf[bytes]) -> None:
        self._runner.apply(prefill.operations, NOTHING_STORED)
        for transfer, cells in zip(prefill.transfers, data, strict=True):
            self._let_others()
            if not self._runner.restore(transfer.target, transfer.start, transfer.end, cells):
                raise RuntimeError("the cells of the answers are not those of the second context")

    def _saved(self, seq_id: int, start: int, end: int) -> list[Part]:
        parts = []
        for first in range(start, end, self._part_tokens):
            self._let_others()
            last = min(end, first + self._part_tokens)
            parts.append(Part(last - first, self._runner.save(seq_id, first, last)))
        return parts

    def _is_interrupted(self) -> bool:
        self._let_others()
        return self._is_over

    def _let_others(self) -> None:
        if not self._may_run.is_set():
            began = time.monotonic()
            self._processors.release()
            self._may_run.wait()
            self._processors.acquire()
            self._stood_s += time.monotonic() - began
