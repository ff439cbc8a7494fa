"""The embedded engine: llama.cpp behind one thread with an inbox and an outbox.

Everything native happens on the engine's thread. Outside events, a new job or a client that has
left, are messages in the inbox and seen at the top of the next step:

    drain the inbox → schedule → decode → draw → update → flush the outbox
"""

import asyncio
import atexit
import logging
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import nullcontext
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue

from antiphon.engines.base import FinishReason, Generation, TokenChunk
from antiphon.engines.llamacpp import loading, memory, storing
from antiphon.engines.llamacpp.drawing import Drawing
from antiphon.engines.llamacpp.figures import figures
from antiphon.engines.llamacpp.inbox import Cancel, Close, Submit, Wake
from antiphon.engines.llamacpp.loading import Loaded
from antiphon.engines.llamacpp.model_runner import BATCH_TOKENS
from antiphon.engines.llamacpp.outbox import Failure, Outbox, Outlet
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.pins import Deadline
from antiphon.engines.llamacpp.prefiller import Prefilled, Prefiller
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Progress, Step
from antiphon.errors import (
    engine_step_failed,
    overloaded,
    prompt_too_long,
    shutting_down,
    timed_out,
)

STEP_S = 0.2  # how long a step should take at most
STUCK_S = 120  # after so long a step is taken to be one that never ends
WAITING_MAX = 1024  # jobs beside those in slots; more are refused as overloaded

log = logging.getLogger("antiphon.engine")


class LlamaEngine:
    """Implements `base.Engine`. Make one with `LlamaEngine.load`."""

    def __init__(self, loaded: Loaded, *, waiting_max: int, step_s: float) -> None:
        self.tokenizer = loaded.tokenizer
        self.info = loaded.info
        self._loaded = loaded
        self._runner = loaded.runner
        self._jobs_max = loaded.info.slots + waiting_max
        self._inbox: SimpleQueue[Submit | Cancel | Wake | Prefilled | Close] = SimpleQueue()
        self._submitting = threading.Lock()  # nothing enters the inbox behind Close
        self._closed = False
        self._num_jobs = 0
        # From here on only the engine's thread touches these, and replaces the snapshot.
        self._jobs: dict[Sequence, Drawing] = {}
        self._outbox = Outbox()
        self._pace = Pace(step_s, fills_up=loaded.padding is not None)
        self._tiers = loaded.tiers
        if loaded.files is not None:
            loaded.files.on_drained = lambda: self._inbox.put(Wake())
        self._prefilled: Prefilled | None = None  # for the next step
        self._prefiller: Prefiller | None = None
        if loaded.second is not None:
            part_tokens, put = self._tiers.block_tokens, self._inbox.put
            self._prefiller = Prefiller(loaded.second, part_tokens, put, loaded.padding)
        self._num_steps = self._num_failures = 0
        self._freed = memory.Freed()
        self._is_quiet = False  # nothing has happened outside for a while
        self._step_began: float | None = None  # while one is computed, or prompts are
        self._scheduler = self._new_scheduler()
        self._snapshot: Mapping[str, int] = {}
        self._publish()
        self._thread = threading.Thread(target=self._run, name="antiphon-engine", daemon=True)
        self._thread.start()
        atexit.register(self._stop)  # a daemon thread in native code does not survive the end

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        slots: int = 8,
        context: int | None = None,
        threads: int | None = None,
        gpu_layers: int | None = None,
        batch: int = BATCH_TOKENS,
        waiting_max: int = WAITING_MAX,
        step_s: float = STEP_S,
        ram_bytes: int | None = None,
        disk_folder: Path | None = None,
        disk_bytes: int | None = None,
    ) -> "LlamaEngine":
        """Load a chat model in GGUF form. Takes as long as reading the file does.

        `context` is how many tokens all sequences share, and the longest single one as far as
        the model was trained for it; None takes what was trained, or what fits into memory.
        `batch`: tokens of a prompt that are computed together; more take more memory.
        `step_s`: prompts are computed in pieces that take so long at most, in seconds.
        `ram_bytes`: for prompts that have left the cells; None is a quarter of what is free.
        `disk_folder`: where they outlive the process, in `disk_bytes`; None is a tenth of what is
        free there, and 32 GiB at most.

        Raises:
            StartupError: no such file, damaged, not loadable, or too little memory; the folder
                cannot be used.
        """
        loaded = loading.load(
            path,
            slots=slots,
            context=context,
            threads=threads,
            gpu_layers=gpu_layers,
            batch=batch,
            step_s=step_s,
            waiting_max=waiting_max,
            ram_bytes=ram_bytes,
            disk_folder=disk_folder,
            disk_bytes=disk_bytes,
        )
        return cls(loaded, waiting_max=waiting_max, step_s=step_s)

    def metrics(self) -> Mapping[str, int]:
        """As of the last step."""
        return self._snapshot

    def problem(self) -> str | None:
        """See `base.Engine.problem`. A step that never ends is one as well."""
        if not self._thread.is_alive():
            return "The engine has stopped: restart the server."
        began = self._step_began
        seconds = 0 if began is None else time.monotonic() - began
        if seconds > STUCK_S:
            return f"The engine has been computing one step for {seconds:.0f} s."
        return None

    async def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        """See `base.Engine.generate`."""
        if len(job.prompt) >= self.info.context_len:
            raise prompt_too_long(len(job.prompt), self.info.context_len - 1)
        outlet = Outlet(asyncio.get_running_loop())
        now = time.monotonic()
        sequence = Sequence.from_prompt(
            job.prompt,
            max_tokens=job.max_tokens,
            sampling=job.sampling,
            pins=[Deadline(pin.length, now + pin.seconds) for pin in job.pins],
            owner=job.owner,
            submitted=now,
            time_s=inf if job.deadline_s is None else job.deadline_s,
        )
        self._submit(Submit(sequence, outlet, job.constraint))
        try:
            finish_reason: FinishReason | None = None
            while finish_reason is None:
                chunk = await outlet.next()
                finish_reason = chunk.finish_reason
                yield chunk
        finally:
            with self._submitting:
                self._num_jobs -= 1
                if not outlet.ended:
                    self._inbox.put(Cancel(sequence))

    async def close(self) -> None:
        """See `base.Engine.close`. Interrupts the step that is being computed."""
        await asyncio.to_thread(self._stop)

    def _submit(self, message: Submit) -> None:
        with self._submitting:
            if self._closed:
                raise shutting_down()
            if self._num_jobs >= self._jobs_max:
                raise overloaded("too many requests are waiting.")
            self._num_jobs += 1
            self._inbox.put(message)

    def _stop(self) -> None:
        with self._submitting:
            if not self._closed:
                self._closed = True
                self._inbox.put(Close())
                self._runner.cancel()
        self._thread.join()
        atexit.unregister(self._stop)

    # What follows runs on the engine's thread.

    def _run(self) -> None:
        try:
            while self._drain():
                if self._prefilled or self._scheduler.is_due(quiet=self._is_quiet):
                    self._step_began = time.monotonic()
                    self._step()
                self._tiers.write_waiting()
                self._flush()
        finally:
            with self._submitting:
                self._closed = True  # if this is a crash, nobody shall wait for a dead thread
            while not self._inbox.empty():
                if isinstance(message := self._inbox.get(), Submit):
                    self._outbox.put(message.outlet, Failure(shutting_down()))
            for job in self._jobs.values():
                self._end(job, Failure(shutting_down()))
            self._flush()
            if self._prefiller is not None:
                self._prefiller.close()
            if self._loaded.files is not None:
                storing.save_all(self._scheduler, self._runner, self._tiers)
                self._loaded.files.close()
            self._runner.close()

    def _drain(self) -> bool:
        """Take in what has happened outside; wait for something when there is nothing to do, and
        a moment before chores. False when the engine closes."""
        wait = not self._scheduler.is_due(quiet=self._is_quiet)
        timeout = self._pace.quiet_s() if self._scheduler.has_chores else None
        if wait and timeout is None:
            self._freed.give_back(self._tiers.freed_bytes)
        lends = not wait and self._scheduler.is_prefilling
        self._step_began = time.monotonic() if lends else None  # what is computed may never end
        self._is_quiet = not self._scheduler.has_work
        while True:
            if lends and self._prefiller is not None:
                wait, timeout = self._prefiller.lent()
            try:
                message = self._inbox.get(block=wait, timeout=timeout)
            except Empty:
                return True
            wait = self._is_quiet = False
            match message:
                case Prefilled():
                    lends, self._prefilled = False, message
                case Submit():
                    self._take_in(message)
                case Cancel(sequence):
                    if (job := self._jobs.pop(sequence, None)) is not None:
                        self._scheduler.cancel(sequence)
                        self._end(job, None)
                case Wake():
                    pass
                case Close():
                    return False

    def _take_in(self, submit: Submit) -> None:
        try:
            self._scheduler.submit(submit.sequence)
        except Exception as error:  # nothing of it is in the books yet
            log.error("a request could not be taken in: %r", error)
            self._outbox.put(submit.outlet, Failure(engine_step_failed()))
        else:
            self._jobs[submit.sequence] = Drawing(submit.outlet, submit.constraint)

    def _take_in_prefilled(self) -> None:
        prefilled, self._prefilled = self._prefilled, None
        if prefilled is None or not self._scheduler.is_prefilling:
            return  # nothing, or it has been stopped meanwhile
        if prefilled.error is None:
            self._pace.observe_apart(prefilled.rows, prefilled.seconds)
            self._scheduler.prefilled(prefilled.parts)
        else:
            self._leave_second_context(prefilled.error)

    def _leave_second_context(self, why: object) -> None:
        log.error("prompts are computed among the answers from now on: %r", why)
        self._scheduler.without_beside()
        if self._prefiller is not None:
            self._prefiller.close()
            self._prefiller = None

    def _step(self) -> None:
        computing = None
        self._num_steps += 1
        began = time.monotonic()
        try:
            with nullcontext() if self._prefiller is None else self._prefiller.held():
                step = self._prepare()
                computing = step
                self._admit(step)
                drawn = self._compute(step)
            computing = None
            for progress in self._scheduler.update(step, drawn):
                self._hand_out(progress)
            if not self._scheduler.has_work:
                self._flush()  # what is recounted then, nobody waits for
                self._scheduler.cache.check()
            if self._prefiller is not None and self._scheduler.is_prefilling:
                draws = any(chunk.draws for chunk in step.chunks)
                rest_s = self._pace.rest_s(time.monotonic() - began, beside=draws)
                self._prefiller.lend(rest_s if step.chunks or step.operations else None)
        except Exception as error:
            if isinstance(error, InterruptedError) and self._closed:
                if computing is not None and not self._runner.cuttable:  # their states are gone
                    self._scheduler.fail({chunk.sequence for chunk in computing.chunks})
                return
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error("a step failed: %r in %s:%s", error, Path(where.filename).name, where.lineno)
            log.debug("where the step failed", exc_info=True)
            self._recover(computing)

    def _prepare(self) -> Step:
        """What the next step computes, with the cache as it needs it."""
        self._take_in_prefilled()
        step = self._scheduler.schedule(time.monotonic())
        for sequence in step.late:
            self._end(self._jobs.pop(sequence), Failure(timed_out(sequence.time_s)))
        began = time.monotonic()
        applied = self._runner.apply(step.operations, self._tiers)
        self._pace.observe_blocks(applied.num_blocks, time.monotonic() - began)
        if applied.broken:
            log.error("llama.cpp did not take back what had been stored of a prompt: computed anew")
        misplaced = {c.seq_id for c in step.chunks if not self._runner.place(c)}
        applied.broken |= misplaced
        self._scheduler.take_in(step, applied)
        if misplaced:
            self._leave_second_context("llama.cpp did not take what had been computed beside them")
        if self._prefiller is not None and not self._scheduler.is_prefilling:
            began = time.monotonic()
            copied = self._prefiller.begin(self._scheduler.prefill(), self._runner)
            self._pace.observe_blocks(copied, time.monotonic() - began)
        return step

    def _admit(self, step: Step) -> None:
        """Tell those who were admitted how much of their prompt is cached, before the prefill."""
        for sequence in step.admitted:
            job = self._jobs[sequence]
            job.begin(sequence, self._runner)
            self._outbox.put(job.outlet, TokenChunk(cached=sequence.cached))
        for sequence in step.corrected:
            if (job_corrected := self._jobs.get(sequence)) is not None:
                self._outbox.put(job_corrected.outlet, TokenChunk(cached=sequence.cached))
        if step.admitted and not self._pace.is_brief(step.num_tokens):
            self._flush()

    def _compute(self, step: Step) -> list[list[int]]:
        """The tokens that come next, for every chunk that draws."""
        if not (chunks := step.computed):
            return []
        began = time.monotonic()
        rows = self._runner.decode(chunks, step.padding)
        lengths = [len(chunk.tokens) for chunk in chunks]
        self._pace.observe(lengths, time.monotonic() - began, padding=step.padding)
        drawing = [chunk.sequence for chunk in chunks if chunk.draws]
        ends = self.info.end_of_generation
        return [
            self._jobs[sequence].draw(sequence, row, self._runner, ends)
            for sequence, row in zip(drawing, rows, strict=True)
        ]

    def _hand_out(self, progress: Progress) -> None:
        job = self._jobs[progress.sequence]
        if job.failed:
            self._scheduler.cancel(progress.sequence)
            del self._jobs[progress.sequence]
            self._end(job, Failure(engine_step_failed()))
            return
        chunk = TokenChunk(progress.tokens, finish_reason=progress.finish_reason)
        if progress.finish_reason is None:
            self._outbox.put(job.outlet, chunk)
        else:
            del self._jobs[progress.sequence]
            self._end(job, chunk)

    def _end(self, job: Drawing, last: TokenChunk | Failure | None) -> None:
        if last is not None:
            self._outbox.put(job.outlet, last)
        job.close()

    def _recover(self, computing: Step | None) -> None:
        """After a failed step. While it was computed, its own sequences are lost and all others
        go on; before or after, the books may be wrong, and everything starts anew."""
        if computing is not None:
            self._fail({chunk.sequence for chunk in computing.chunks} | set(computing.admitted))
        else:
            self._scheduler = self._new_scheduler()
            self._runner.clear()
            self._end_failed(set(self._jobs))

    def _fail(self, sequences: set[Sequence]) -> None:
        self._scheduler.fail(sequences)
        self._end_failed(sequences)

    def _end_failed(self, sequences: Iterable[Sequence]) -> None:
        self._num_failures += 1
        for sequence in sequences:
            if (job := self._jobs.pop(sequence, None)) is not None:
                self._end(job, Failure(engine_step_failed()))

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(
            cells=self._loaded.cells,
            sequence_ids=self._runner.sequence_ids,
            slots=self.info.slots,
            context_len=self.info.context_len,
            end_of_generation=self.info.end_of_generation,
            cuttable=self._runner.cuttable,
            pace=self._pace,
            tiers=self._tiers,
            idle_cells=self._loaded.idle_cells,
            batch=self._runner.batch,
            beside=None if self._prefiller is None else self._prefiller.new_plan(),
            padding=self._loaded.padding,
        )

    def _flush(self) -> None:
        """The numbers first: who reads the end of an answer finds it counted."""
        self._publish()
        self._outbox.flush()

    def _publish(self) -> None:
        counts = {"steps": self._num_steps, "failed_steps": self._num_failures}
        self._snapshot = counts | figures(self._scheduler, self._tiers)
