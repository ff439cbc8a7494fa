"""The scheduler, simulated: no engine, no clock, a cache made of numbered cells."""

import os
import random
import secrets
from array import array
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Any

import pytest

from antiphon.engines.base import FinishReason, SamplingParams
from antiphon.engines.llamacpp import beside as beside_module
from antiphon.engines.llamacpp import blocks, room, turns
from antiphon.engines.llamacpp import scheduler as module
from antiphon.engines.llamacpp.beside import Beside
from antiphon.engines.llamacpp.blocks import BLOCK_TOKENS_MAX, Block, Key, block_behind
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.padding import Padding
from antiphon.engines.llamacpp.pins import Deadline
from antiphon.engines.llamacpp.room import PINNED_SHARE
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.sequence import Sequence, Status
from antiphon.engines.llamacpp.step import (
    Applied,
    Chunk,
    Copy,
    Operation,
    Part,
    Progress,
    Remove,
    Restore,
    Save,
    Step,
)
from antiphon.engines.llamacpp.tiers import Tiers
from antiphon.engines.llamacpp.turns import PREFILL_TOKENS_ALONE
from tests.engines.watched import Watched

END = 0  # the end-of-generation token of the imaginary model
VOCABULARY = 300
BLOCK_TOKENS = BLOCK_TOKENS_MAX
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))


def next_token(tokens: SequenceOf[int]) -> int:
    """The imaginary model: any change in the context changes what follows."""
    return hash(tuple(tokens)) % VOCABULARY


def expected(
    prompt: SequenceOf[int], max_tokens: int, context_len: int, end: int = END
) -> list[int]:
    """What a prompt is answered with when it is alone in the world."""
    tokens = list(prompt)
    while len(tokens) - len(prompt) < max_tokens and len(tokens) < context_len:
        tokens.append(next_token(tokens))
        if tokens[-1] == end:
            break
    return tokens[len(prompt) :]


@dataclass
class FakeDisk:
    """A disk that is a dictionary, sometimes busy, and sometimes loses what it was given."""

    draw: random.Random
    loses: float = 0.0
    busy: float = 0.0
    files: dict[Key, tuple[Block, bytes]] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        return self.draw.random() < self.busy

    def write(self, block: Block, data: bytes) -> None:
        assert block.key not in self.files
        self.files[block.key] = block, data

    def read(self, block: Block) -> bytes | None:
        if self.draw.random() < self.loses:
            return None
        written, data = self.files[block.key]
        assert written == block
        return data

    def delete(self, key: Key) -> None:
        del self.files[key]

    def failed(self) -> list[Key]:
        return [key for key in self.files if self.draw.random() < self.loses / 10]


def memory(size: int, **options: Any) -> Tiers:
    return Tiers(block_tokens=BLOCK_TOKENS, ram_bytes_max=size, **options)


class Cells:
    """A unified cache: sequence ids hold lists of (cell number, token); it never overflows.

    `forced_max`: up to so many tokens follow a drawn one without a draw, as a grammar has it.
    """

    def __init__(
        self, size: int, forced_max: int = 0, tiers: Tiers | None = None, breaks: float = 0.0
    ) -> None:
        self.size = size
        self.draw, self.breaks = random.Random(size), breaks
        self.tiers = memory(0) if tiers is None else tiers
        self.forced_max = forced_max
        self.held: dict[int, list[tuple[int, int]]] = {}
        self._next = 0

    def apply(self, operations: SequenceOf[Operation]) -> Applied:
        """Do what a step says about the cache; sometimes a block cannot be brought back."""
        applied = Applied()
        for operation in operations:
            self._apply(operation, applied)
        return applied

    def run(self, step: Step) -> list[list[int]]:
        """Compute what a step says and return the tokens that come next."""
        drawn = []
        for chunk in step.chunks:
            if chunk.parts:
                assert [token for part in chunk.parts for token in read(part)] == chunk.tokens
            self.append(chunk.seq_id, chunk.start, chunk.tokens)
            if chunk.draws:
                drawn.append(self._next_tokens([token for _, token in self.held[chunk.seq_id]]))
        assert self.used + step.padding <= self.size
        return drawn

    def append(self, seq_id: int, start: int, tokens: SequenceOf[int]) -> None:
        cells = self.held.setdefault(seq_id, [])
        assert len(cells) == start
        for token in tokens:
            cells.append((self._next, token))
            self._next += 1
        assert self.used <= self.size

    def parts(self, seq_id: int, start: int, end: int, size: int) -> list[Part]:
        """What the cells of a sequence hold."""
        tokens = [token for _, token in self.held[seq_id][start:end]]
        assert len(tokens) == end - start
        runs = [tokens[first : first + size] for first in range(0, len(tokens), size)]
        return [Part(len(run), array("i", run).tobytes()) for run in runs]

    def _apply(self, operation: Operation, applied: Applied) -> None:
        match operation:
            case Copy(source, target, _) if source in applied.broken:
                applied.broken.add(target)
            case Restore(seq_id) if seq_id in applied.broken:
                pass
            case Copy(source, target, length):
                assert not self.held.get(target)
                assert 0 < length <= len(self.held[source])
                self.held[target] = self.held[source][:length]
            case Remove(seq_id, start):
                assert start <= len(self.held.get(seq_id, ()))
                self.held[seq_id] = self.held.get(seq_id, [])[:start]
                applied.broken.discard(seq_id)
            case Save(seq_id, start, block):
                if seq_id not in applied.broken:
                    cells = self.held[seq_id][start : start + len(block.tokens)]
                    assert [token for _, token in cells] == list(block.tokens)
                    if self.tiers.whole:
                        assert len(block.tokens) == len(self.held[seq_id])
                if applied.takes(operation, self.tiers):
                    applied.store(operation, block.tokens.tobytes(), self.tiers)
            case Restore(seq_id, start, length, block, data):
                if self.draw.random() < self.breaks:
                    applied.broken.add(seq_id)
                    self.tiers.forget(block)
                    return
                applied.num_blocks += 1
                cells = self.held.setdefault(seq_id, [])
                assert len(cells) == start
                tokens = array("i", data)
                assert self.used + len(tokens) <= self.size, "all of a block needs room"
                for token in tokens[:length]:
                    cells.append((self._next, token))
                    self._next += 1

    def _next_tokens(self, tokens: list[int]) -> list[int]:
        length = len(tokens)
        for _ in range(1 + hash(tuple(tokens[-3:])) % (self.forced_max + 1)):
            tokens.append(next_token(tokens))
        return tokens[length:]

    @property
    def used(self) -> int:
        return len({cell for cells in self.held.values() for cell, _ in cells})

    def forget(self, chunks: SequenceOf[Chunk]) -> None:
        """A failed decode leaves nothing of its batch behind."""
        for chunk in chunks:
            del self.held[chunk.seq_id][chunk.start :]


def read(part: Part) -> list[int]:
    tokens = list(array("i", part.data))
    assert len(tokens) == part.length
    return tokens


class Second:
    """The second context: what it is given comes back after a while."""

    def __init__(self, scheduler: Scheduler, cells: Cells, part_tokens: int, draw: random.Random):
        assert scheduler.beside is not None
        self.cells = Cells(scheduler.beside.cells)
        self.computed = self.copied = 0
        self.batches: list[tuple[int, int]] = []  # tokens of each, and what it is filled up with
        self._first = cells
        self._part_tokens = part_tokens
        self._draw = draw
        self._parts: list[list[Part]] | None = None

    def begin(self, scheduler: Scheduler) -> None:
        """As the engine does, once a step's operations are done."""
        prefill = scheduler.prefill()
        if prefill is None:
            return
        assert self._parts is None, "one at a time"
        assert prefill.operations or prefill.transfers or prefill.chunks
        self.cells.apply(prefill.operations)
        for copy in prefill.transfers:
            assert 0 < copy.end - copy.start <= self._part_tokens
            (part,) = self._first.parts(copy.source, copy.start, copy.end, self._part_tokens)
            self.cells.append(copy.target, copy.start, read(part))
            self.copied += part.length
        for chunk in prefill.chunks:
            assert not chunk.draws
            self.cells.append(chunk.seq_id, chunk.start, chunk.tokens)
            self.computed += len(chunk.tokens)
        assert self.cells.used + prefill.padding <= self.cells.size
        if prefill.chunks:
            num_tokens = sum(len(chunk.tokens) for chunk in prefill.chunks)
            self.batches.append((num_tokens, prefill.padding))
        self._parts = [
            self.cells.parts(c.seq_id, c.start, c.start + len(c.tokens), self._part_tokens)
            for c in prefill.chunks
        ]

    def deliver(self, scheduler: Scheduler) -> None:
        if self._parts is not None and self._draw.random() < 0.4:
            scheduler.prefilled(self._parts)
            self._parts = None
            self.check(scheduler)

    def check(self, scheduler: Scheduler) -> None:
        assert scheduler.beside is not None
        scheduler.beside.room.cache.check()
        assert scheduler.beside.room.cache.cells == count_cells(
            self.cells, scheduler.beside.room._operations
        )


def new_scheduler(
    cells: int = 1024,
    *,
    slots: int = 4,
    ids: int = 16,
    context: int = 1024,
    cuttable: bool = True,
    end: int = END,
    pace: Pace | None = None,
    tiers: Tiers | None = None,
    idle_cells: int | None = None,
    beside: Beside | None = None,
    padding: Padding | None = None,
) -> Watched:
    return Watched(
        cells=cells,
        sequence_ids=ids,
        slots=slots,
        context_len=context,
        end_of_generation=frozenset({end}),
        cuttable=cuttable,
        pace=pace,
        tiers=tiers,
        idle_cells=idle_cells,
        beside=beside,
        padding=padding,
    )


def sequence(
    prompt: SequenceOf[int], max_tokens: int = 32_000, pins: SequenceOf[Deadline] = ()
) -> Sequence:
    return Sequence.from_prompt(prompt, max_tokens=max_tokens, sampling=SamplingParams(), pins=pins)


def prompt(draw: random.Random, length: int) -> list[int]:
    return [draw.randrange(1, VOCABULARY) for _ in range(length)]


def compute(
    scheduler: Scheduler, cells: Cells, step: Step, second: Second | None = None
) -> list[Progress]:
    applied = cells.apply(step.operations)
    assert not applied.broken
    scheduler.take_in(step, applied)
    if second is not None:
        second.begin(scheduler)
    return scheduler.update(step, cells.run(step))


def finish(
    scheduler: Scheduler, cells: Cells, steps_max: int = 10_000, second: Second | None = None
) -> int:
    for steps in range(steps_max):
        if not scheduler.has_work:
            return steps
        if second is not None:
            second.deliver(scheduler)
        step = scheduler.schedule()
        compute(scheduler, cells, step, second)
        check(scheduler, cells, slots=1000)
    raise AssertionError("never ends")


def test_a_prompt_is_computed_in_pieces_and_drawn_from_once() -> None:
    scheduler = new_scheduler()
    one = sequence([7] * (PREFILL_TOKENS_ALONE + 10), max_tokens=3)
    scheduler.submit(one)

    step = scheduler.schedule()
    assert step.admitted == [one]
    assert one.cached == 0
    assert [(c.start, len(c.tokens), c.draws) for c in step.chunks] == [
        (0, PREFILL_TOKENS_ALONE, False)
    ]
    assert scheduler.update(step, []) == []

    step = scheduler.schedule()
    assert [(c.start, len(c.tokens), c.draws) for c in step.chunks] == [
        (PREFILL_TOKENS_ALONE, 10, True)
    ]
    (progress,) = scheduler.update(step, [[5]])
    assert (progress.tokens, progress.finish_reason) == ((5,), None)


def test_forced_tokens_are_computed_together_and_end_where_the_answer_ends() -> None:
    scheduler = new_scheduler()
    one = sequence([7] * 10, max_tokens=6)
    scheduler.submit(one)
    scheduler.update(scheduler.schedule(), [[1, 2, 3]])

    step = scheduler.schedule()
    assert [(c.start, list(c.tokens), c.draws) for c in step.chunks] == [(10, [1, 2, 3], True)]
    (progress,) = scheduler.update(step, [[4, END, 5, 6]])
    assert (progress.tokens, progress.finish_reason) == ((4, END), FinishReason.STOP)
    assert scheduler.counters.generated_tokens == 5
    assert scheduler.counters.forced_tokens == 3


def test_a_request_that_comes_again_and_again_takes_nothing_from_others() -> None:
    """Each computes its last token in a cell of its own; without care, 256 of them evicted a long
    conversation that had been used a moment ago."""
    scheduler, cells = new_scheduler(ids=6), Cells(1024)
    draw = random.Random(1)
    long, short = prompt(draw, 300), prompt(draw, 5)
    scheduler.submit(sequence(long, max_tokens=1))
    finish(scheduler, cells)
    for _ in range(20):
        scheduler.submit(sequence(short, max_tokens=1))
        finish(scheduler, cells)

    assert scheduler.cache.retired == 2
    assert scheduler.counters.evictions == 0
    assert scheduler.cache.match(long).length == 300
    assert scheduler.cache.cells == 305


def test_a_prompt_that_comes_again_is_not_copied() -> None:
    """Only its last token is computed, in the sequence that held it."""
    scheduler, cells = new_scheduler(), Cells(1024)
    scheduler.submit(sequence([7] * 100, max_tokens=1))
    finish(scheduler, cells)
    scheduler.submit(sequence([7] * 100, max_tokens=5))
    step = scheduler.schedule()
    (chunk,) = step.chunks

    assert step.operations == [Remove(chunk.seq_id, 99)]
    assert (chunk.start, len(chunk.tokens)) == (99, 1)
    compute(scheduler, cells, step)
    finish(scheduler, cells)
    assert chunk.sequence.tokens[100:] == expected([7] * 100, 5, 1000)


@pytest.mark.parametrize("tokens", [[7] * 99 + [8], [7] * 90])
def test_a_prompt_is_not_cut_for_another(tokens: list[int]) -> None:
    scheduler, cells = new_scheduler(), Cells(1024)
    scheduler.submit(sequence([7] * 100, max_tokens=1))
    finish(scheduler, cells)
    scheduler.submit(sequence(tokens, max_tokens=1))
    finish(scheduler, cells)

    assert scheduler.cache.match([7] * 100).length == 100
    assert scheduler.cache.match(tokens).length == len(tokens)


def test_an_answer_is_not_cut_off_when_its_prompt_comes_again() -> None:
    scheduler, cells = new_scheduler(), Cells(1024)
    first = sequence([7] * 100, max_tokens=10)
    scheduler.submit(first)
    finish(scheduler, cells)
    scheduler.submit(sequence([7] * 100, max_tokens=1))
    finish(scheduler, cells)

    assert scheduler.cache.match(first.tokens).length == 109


def test_forced_tokens_do_not_wait_behind_a_prompt() -> None:
    scheduler = new_scheduler()
    one, two = sequence([7] * 900), sequence([8] * 10)
    scheduler.submit(two)
    scheduler.update(scheduler.schedule(), [[1, 2, 3]])
    scheduler.submit(one)
    step = scheduler.schedule()

    assert next((c.sequence is two, len(c.tokens)) for c in step.chunks) == (True, 3)


def test_max_tokens_zero_computes_the_prompt_and_draws_nothing() -> None:
    scheduler, cells = new_scheduler(), Cells(1024)
    one = sequence([1, 2, 3], max_tokens=0)
    scheduler.submit(one)

    finish(scheduler, cells)

    assert one.finish_reason == FinishReason.LENGTH
    assert one.num_generated == 0
    assert scheduler.cache.match([1, 2, 3, 4]).length == 3


def test_a_lone_sequence_fills_the_context() -> None:
    scheduler, cells = new_scheduler(100, context=100, end=-1), Cells(100)
    one = sequence(prompt(random.Random(3), 50))
    scheduler.submit(one)

    finish(scheduler, cells)

    assert one.finish_reason == FinishReason.CONTEXT
    assert len(one.tokens) == 100


def test_a_conversation_goes_on_in_its_own_sequence() -> None:
    scheduler, cells = new_scheduler(), Cells(1024)
    one = sequence(list(range(1, 41)), max_tokens=5)
    scheduler.submit(one)
    finish(scheduler, cells)
    two = sequence([*one.tokens, 8, 8, 8], max_tokens=1)
    scheduler.submit(two)

    step = scheduler.schedule()

    assert two.cached == one.computed
    assert step.operations == []  # nothing to copy


def test_a_rider_waits_for_the_shared_prefix_and_forks() -> None:
    shared = list(range(1, 49)) * 20  # 960 tokens: two steps
    scheduler, cells = new_scheduler(4096, context=4096), Cells(4096)
    one, two = sequence([*shared, 3], max_tokens=4), sequence([*shared, 4], max_tokens=4)
    scheduler.submit(one)
    scheduler.submit(two)

    step = scheduler.schedule()
    assert step.admitted == [one]
    compute(scheduler, cells, step)
    step = scheduler.schedule()
    assert step.admitted == []
    compute(scheduler, cells, step)
    step = scheduler.schedule()
    assert step.admitted == [two]
    assert two.cached == 960
    compute(scheduler, cells, step)

    finish(scheduler, cells)
    assert one.tokens[961:] == expected([*shared, 3], 4, 4096)
    assert two.tokens[961:] == expected([*shared, 4], 4, 4096)
    assert scheduler.counters.prompt_tokens_computed == 962


def test_the_rider_takes_over_when_the_leader_leaves() -> None:
    shared = list(range(1, 49)) * 20
    scheduler, cells = new_scheduler(4096, context=4096), Cells(4096)
    one, two, three = (sequence([*shared, last], max_tokens=4) for last in (3, 4, 5))
    for each in (one, two, three):
        scheduler.submit(each)
    step = scheduler.schedule()
    compute(scheduler, cells, step)
    scheduler.cancel(one)

    step = scheduler.schedule()

    assert step.admitted == [two]
    assert two.cached == PREFILL_TOKENS_ALONE  # what the leader had computed
    assert three.status == Status.WAITING  # rides on the second now
    compute(scheduler, cells, step)
    finish(scheduler, cells)
    assert scheduler.counters.prompt_tokens_computed == 960 + 2
    assert three.tokens[961:] == expected([*shared, 5], 4, 4096)


def test_retired_sequences_make_room_before_anyone_is_paused() -> None:
    scheduler, cells = new_scheduler(600, context=600), Cells(600)
    draw = random.Random(5)
    for _ in range(6):
        scheduler.submit(sequence(prompt(draw, 150), max_tokens=2))
        finish(scheduler, cells)

    assert scheduler.counters.evictions > 0
    assert scheduler.counters.pauses == 0


def test_the_youngest_is_paused_and_goes_on_without_gap_or_repeat() -> None:
    scheduler, cells = new_scheduler(1000, context=1000, end=-1), Cells(1000)
    draw = random.Random(11)
    prompts = [prompt(draw, 20) for _ in range(3)]
    jobs = [sequence(start, max_tokens=700) for start in prompts]
    for job in jobs:
        scheduler.submit(job)

    finish(scheduler, cells)

    assert scheduler.counters.pauses > 0
    assert jobs[0].times_paused == 0
    for job, start in zip(jobs, prompts, strict=True):
        assert job.tokens[20:] == expected(start, 700, 1000, end=-1)


def test_cancelling_a_waiting_sequence() -> None:
    scheduler, cells = new_scheduler(slots=1), Cells(1024)
    one, two = sequence([1, 2], max_tokens=9), sequence([3, 4], max_tokens=9)
    scheduler.submit(one)
    scheduler.submit(two)
    step = scheduler.schedule()
    compute(scheduler, cells, step)
    scheduler.cancel(two)
    scheduler.cancel(two)

    finish(scheduler, cells)

    assert scheduler.counters.cancellations == 1
    assert two.num_generated == 0


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_what_is_late_ends_and_what_it_has_computed_stays(steps: int) -> None:
    """Waiting, in the middle of its prompt, and in the middle of its answer."""
    scheduler, cells = new_scheduler(slots=1, end=-1), Cells(1024)
    draw = random.Random(12)
    other, start = prompt(draw, 20), prompt(draw, 600)
    one, two = sequence(start, max_tokens=90), sequence(other, max_tokens=90)
    one.submitted, one.time_s = 100.0, 5.0
    first, second = (one, two) if steps else (two, one)
    scheduler.submit(first)
    for number in range(max(steps, 1)):
        step = scheduler.schedule(now=104.9)
        assert step.late == []
        compute(scheduler, cells, step)
        if number == 0:
            scheduler.submit(second)
    computed = one.computed

    step = scheduler.schedule(now=105.0)

    assert step.late == [one]
    assert one.status == Status.FINISHED
    assert computed == (0, PREFILL_TOKENS_ALONE, 603)[(0, 1, 5).index(steps)]
    assert cached(scheduler, start) == min(computed, 600)
    assert scheduler.counters.timeouts == 1
    assert scheduler.running == [two], "its slot is free in the same step"
    compute(scheduler, cells, step)
    finish(scheduler, cells)
    assert two.tokens[20:] == expected(other, 90, 1024, end=-1)


def test_a_paused_sequence_can_be_late() -> None:
    scheduler, cells = new_scheduler(600, context=600, end=-1), Cells(600)
    draw = random.Random(13)
    one, two = (sequence(prompt(draw, 20), max_tokens=500) for _ in range(2))
    two.time_s = 5.0
    scheduler.submit(one)
    scheduler.submit(two)
    for _ in range(400):
        step = scheduler.schedule(now=4.0)
        compute(scheduler, cells, step)
    assert scheduler.paused == [two]

    step = scheduler.schedule(now=5.0)

    assert step.late == [two]
    assert scheduler.paused == []
    compute(scheduler, cells, step)
    finish(scheduler, cells)


def keep(
    scheduler: Scheduler, cells: Cells, prompt: list[int], *pins: Deadline, now: float = 0
) -> None:
    """Compute a prompt that is pinned."""
    scheduler.submit(sequence(prompt, 0, pins))
    while scheduler.has_work:
        step = scheduler.schedule(now)
        compute(scheduler, cells, step)


def cached(scheduler: Scheduler, prompt: list[int]) -> int:
    return scheduler.cache.match(prompt).length


def test_what_is_pinned_stays_while_others_come_and_go() -> None:
    draw = random.Random(1)
    scheduler, cells = new_scheduler(512, slots=1, ids=8, context=512), Cells(512)
    system = prompt(draw, 100)
    keep(scheduler, cells, [*system, *prompt(draw, 20)], Deadline(100, until=50))

    for _ in range(20):
        keep(scheduler, cells, prompt(draw, 120), now=49)
    assert cached(scheduler, system) == 100

    for _ in range(20):
        keep(scheduler, cells, prompt(draw, 120), now=50)
    assert cached(scheduler, system) == 0, "its time is over"


def test_a_pin_is_prolonged_and_takes_no_cells() -> None:
    draw = random.Random(2)
    scheduler, cells = new_scheduler(512, slots=1, ids=8, context=512), Cells(512)
    system = prompt(draw, 100)
    keep(scheduler, cells, system, Deadline(100, until=10))
    before = scheduler.cache.cells
    keep(scheduler, cells, [*system, 7, 8], Deadline(100, until=90))

    assert len(scheduler.pins) == 1
    assert scheduler.cache.cells <= before + 3
    for _ in range(20):
        keep(scheduler, cells, prompt(draw, 120), now=80)
    assert cached(scheduler, system) == 100


def test_pins_take_half_of_the_cache_and_the_last_to_end_win() -> None:
    draw = random.Random(3)
    scheduler, cells = new_scheduler(400, slots=1, ids=16, context=400), Cells(400)
    prompts = [prompt(draw, 90) for _ in range(4)]
    for number, one in enumerate(prompts):
        keep(scheduler, cells, one, Deadline(90, until=100 + number))
    assert len(scheduler.pins) == 2

    for _ in range(20):
        keep(scheduler, cells, prompt(draw, 150))
    assert [cached(scheduler, one) for one in prompts] == [0, 0, 90, 90]


def test_a_conversation_goes_on_beside_its_pin() -> None:
    draw = random.Random(4)
    scheduler, cells = new_scheduler(512, slots=1, ids=8, context=512), Cells(512)
    system = prompt(draw, 100)
    keep(scheduler, cells, system, Deadline(100, until=90))
    keep(scheduler, cells, [*system, *prompt(draw, 50)])

    assert cached(scheduler, system) == 100
    assert len(scheduler.pins) == 1


def keeping(
    size: int = 400, idle_cells: int = 100, ids: int = 8, **options: Any
) -> tuple[Scheduler, Cells]:
    """A scheduler with few cells and much memory."""
    tiers = memory(1_000_000, **options)
    cuttable = not options.get("whole", False)
    scheduler = new_scheduler(
        size,
        slots=1,
        ids=ids,
        context=size,
        cuttable=cuttable,
        tiers=tiers,
        idle_cells=idle_cells,
    )
    return scheduler, Cells(size, tiers=tiers)


def idle(scheduler: Scheduler, cells: Cells) -> None:
    """What happens while nobody asks: a block a step, where no pace is known."""
    while scheduler.has_chores:
        step = scheduler.schedule()
        assert len([op for op in step.operations if isinstance(op, Save)]) <= 1
        compute(scheduler, cells, step)
        check(scheduler, cells, slots=1000)


def test_what_has_left_the_cells_comes_back_from_memory() -> None:
    draw = random.Random(9)
    scheduler, cells = keeping()
    prompts = [prompt(draw, 200) for _ in range(4)]
    for one in prompts:
        keep(scheduler, cells, one)
        idle(scheduler, cells)
    computed = scheduler.counters.prompt_tokens_computed
    assert computed == 800

    again = sequence([*prompts[0], 7], 5)
    scheduler.submit(again)
    finish(scheduler, cells)

    assert scheduler.counters.restored_tokens == 200, "the last, short block too"
    assert scheduler.counters.prompt_tokens_computed == computed + 1
    assert again.cached == 200
    assert again.tokens[201:] == expected([*prompts[0], 7], 5, 400)


def test_a_beginning_that_many_share_is_stored_once() -> None:
    draw = random.Random(10)
    scheduler, cells = keeping(1000)
    shared = prompt(draw, 2 * BLOCK_TOKENS)
    for _ in range(8):
        keep(scheduler, cells, shared + prompt(draw, BLOCK_TOKENS))
        idle(scheduler, cells)
    keep(scheduler, cells, prompt(draw, 900))
    idle(scheduler, cells)

    assert cells.tiers.num_blocks == 2 + 8 + 15


def test_what_is_in_cells_and_what_is_in_memory_join() -> None:
    draw = random.Random(11)
    scheduler, cells = keeping(600)
    shared = prompt(draw, 100)
    long = shared + prompt(draw, 200)
    keep(scheduler, cells, long)
    keep(scheduler, cells, prompt(draw, 200))
    idle(scheduler, cells)
    keep(scheduler, cells, prompt(draw, 250))  # the long one leaves the cells
    keep(scheduler, cells, shared)
    before = scheduler.counters.prompt_tokens_computed
    keep(scheduler, cells, [*long, 7])

    assert scheduler.counters.prompt_tokens_computed == before + 1


def test_idle_conversations_are_stored_while_nobody_computes_and_leave_when_somebody_does() -> None:
    draw = random.Random(12)
    scheduler, cells = keeping(2000, idle_cells=1000, ids=16)
    prompts = [prompt(draw, 200) for _ in range(6)]
    for one in prompts:
        keep(scheduler, cells, one)
    assert scheduler.counters.saved_tokens == 0, "beside others only if many are idle"
    idle(scheduler, cells)
    assert scheduler.counters.saved_tokens == 1200
    assert scheduler.counters.departures == 0

    keep(scheduler, cells, [*prompts[2], 7])
    assert scheduler.counters.restored_tokens == 0, "who goes on does so in the cells"
    assert scheduler.counters.departures == 4
    assert scheduler.counters.evictions == 0
    assert [cached(scheduler, one) for one in prompts] == [0, 0, 200, 0, 0, 200], "the last stays"

    idle(scheduler, cells)
    scheduler.submit(sequence(prompt(draw, 200), 5))
    finish(scheduler, cells)
    idle(scheduler, cells)
    assert [cached(scheduler, one) for one in prompts] == [0] * 6, "not when others go on and on"

    for one in prompts:
        keep(scheduler, cells, [*one, 7, 8])
        idle(scheduler, cells)
    assert scheduler.counters.prompt_tokens_computed == 1200 + 1 + 200 + 2 * 6 - 1


def test_states_that_cannot_be_cut_stay_until_there_are_many() -> None:
    draw = random.Random(12)
    scheduler, cells = keeping(2000, idle_cells=500, whole=True)
    prompts = [prompt(draw, 200) for _ in range(4)]
    for one in prompts[:2]:
        keep(scheduler, cells, one)
        idle(scheduler, cells)
    assert scheduler.counters.saved_tokens == 0

    for one in prompts[2:]:
        keep(scheduler, cells, one)
        idle(scheduler, cells)
    assert scheduler.counters.departures == 1
    assert [cached(scheduler, one) for one in prompts] == [0, 200, 200, 200]


def test_blocks_that_a_conversation_goes_on_behind_are_not_hashed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler, cells = keeping(2000)
    start = prompt(random.Random(17), 10 * BLOCK_TOKENS + 5)
    keep(scheduler, cells, start)
    hashed: list[int] = []

    def behind(parent: Key, tokens: SequenceOf[int]) -> Block:
        hashed.append(len(tokens))
        return block_behind(parent, tokens)

    monkeypatch.setattr(blocks, "block_behind", behind)
    on = sequence([*start, *prompt(random.Random(18), 2 * BLOCK_TOKENS)], 1)
    scheduler.submit(on)

    assert hashed == [BLOCK_TOKENS] * 2
    assert [list(block.tokens) for block in on.chain] == [
        on.tokens[at : at + BLOCK_TOKENS] for at in range(0, 12 * BLOCK_TOKENS, BLOCK_TOKENS)
    ]


def test_what_a_busy_disk_does_not_take_is_stored_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a block at a time, and a step brings several."""
    disk = FakeDisk(random.Random(13))
    tiers = memory(0, disk=disk, disk_bytes_max=1_000_000)
    pace = Pace(step_s=10)
    pace.observe_blocks(1, 0.01)
    scheduler, cells = new_scheduler(2000, pace=pace, tiers=tiers), Cells(2000, tiers=tiers)
    one = prompt(disk.draw, 640)
    keep(scheduler, cells, one)
    write = disk.write

    def write_one(block: Block, data: bytes) -> None:
        write(block, data)
        disk.busy = 1

    monkeypatch.setattr(disk, "write", write_one)
    steps = 0
    while scheduler.has_chores:
        step = scheduler.schedule()
        assert len(step.operations) == 10 - steps
        compute(scheduler, cells, step)
        disk.busy = 0
        steps += 1

    assert steps == 10
    assert cached(scheduler, one) == 640
    assert tiers.num_blocks == 10
    assert scheduler.counters.saved_tokens == 640
    assert not scheduler.has_to_save


def keeping_states(
    ram_bytes_max: int, tokens: SequenceOf[int], disk: FakeDisk | None = None
) -> tuple[Scheduler, Cells]:
    """States of so many tokens each, 4 bytes a token, are to be stored as soon as that can be."""
    draw = random.Random(13)
    disk_bytes_max = 0 if disk is None else 1_000_000
    tiers = memory(ram_bytes_max, disk=disk, disk_bytes_max=disk_bytes_max, whole=True)
    scheduler = new_scheduler(2000, cuttable=False, tiers=tiers, idle_cells=0)
    cells = Cells(2000, tiers=tiers)
    for length in tokens:
        keep(scheduler, cells, prompt(draw, length))
    return scheduler, cells


def store_last(scheduler: Scheduler, cells: Cells) -> int:
    """Some of what is left when an engine closes; how many blocks were tried."""
    step = scheduler.last_step()
    scheduler.take_in(step, cells.apply(step.operations))
    return len(step.operations)


def test_what_is_too_large_for_memory_waits_for_the_disk() -> None:
    """And is not copied again and again until that takes it."""
    disk = FakeDisk(random.Random(13), busy=1)
    scheduler, cells = keeping_states(100, [200], disk)
    chores = [scheduler.has_chores]
    compute(scheduler, cells, scheduler.schedule())
    chores.append(scheduler.has_chores)
    disk.busy = 0
    idle(scheduler, cells)

    assert chores == [True, False]
    assert cells.tiers.num_blocks == 1
    assert not scheduler.has_to_save


@pytest.mark.parametrize("closes", [False, True])
def test_what_waits_for_the_disk_is_not_copied_meanwhile(
    closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not beside others who are answered, and not while the engine closes."""
    disk = FakeDisk(random.Random(13), busy=1)
    scheduler, cells = keeping_states(100, [200], disk)
    copies = []
    put = cells.tiers.put

    def counted(block: Block, data: bytes) -> bool:
        copies.append(block)
        return put(block, data)

    monkeypatch.setattr(cells.tiers, "put", counted)
    if closes:
        scheduler.stop()
        for _ in range(20):
            store_last(scheduler, cells)
    else:
        scheduler.submit(sequence(prompt(disk.draw, 20), max_tokens=40))
        finish(scheduler, cells)

    (state,) = [block for block in copies if len(block.tokens) == 200]
    disk.busy = 0
    scheduler.stop()
    while scheduler.has_to_save:
        assert store_last(scheduler, cells) > 0
    assert cells.tiers.holds(state)


def test_what_memory_takes_does_not_wait_behind_what_is_too_large_for_it() -> None:
    disk = FakeDisk(random.Random(14), busy=1)
    scheduler, cells = keeping_states(1000, [400, 50], disk)
    idle(scheduler, cells)

    assert cells.tiers.num_blocks == 1
    assert scheduler.counters.saved_tokens == 50


def test_what_fits_nowhere_is_not_counted_as_saved() -> None:
    scheduler, cells = keeping_states(100, [200])
    idle(scheduler, cells)

    assert not scheduler.has_to_save
    assert scheduler.counters.saved_tokens == cells.tiers.num_blocks == 0


def test_a_retired_sequence_that_did_not_come_back_whole_is_forgotten() -> None:
    """It was brought back and paused in the same step."""
    scheduler, cells = new_scheduler(), Cells(1024)
    keep(scheduler, cells, [7] * 100)
    (seq_id,) = scheduler.cache.by_last_use()
    scheduler.take_in(Step(), Applied(broken={seq_id}))
    assert not scheduler.has_work  # nobody starts over

    assert cached(scheduler, [7] * 100) == 0
    scheduler.cache.check()


def test_without_memory_nothing_leaves_before_it_must() -> None:
    draw = random.Random(13)
    scheduler, cells = new_scheduler(2000, idle_cells=0), Cells(2000)
    for _ in range(6):
        keep(scheduler, cells, prompt(draw, 200))

    assert not scheduler.has_chores
    assert scheduler.cache.cells == 1200


def test_a_pinned_prefix_leaves_the_cells_too_and_stays_in_memory() -> None:
    draw = random.Random(14)
    tiers = Tiers(block_tokens=BLOCK_TOKENS, ram_bytes_max=4 * 1000)
    scheduler = new_scheduler(4000, slots=1, ids=8, context=2000, tiers=tiers, idle_cells=100)
    cells = Cells(4000, tiers=tiers)
    pinned = prompt(draw, 300)
    keep(scheduler, cells, pinned, Deadline(300, until=1000))
    for _ in range(6):
        keep(scheduler, cells, prompt(draw, 400), now=10)
        idle(scheduler, cells)
    assert len(scheduler.pins) == 0
    assert cached(scheduler, pinned) == 0

    before = scheduler.counters.prompt_tokens_computed
    keep(scheduler, cells, [*pinned, 7], now=20)
    assert scheduler.counters.prompt_tokens_computed == before + 1


def test_a_paused_sequence_comes_back_from_memory() -> None:
    draw = random.Random(15)
    tiers = memory(1_000_000)
    scheduler = new_scheduler(1000, context=1000, end=-1, tiers=tiers)
    cells = Cells(1000, tiers=tiers)
    prompts = [prompt(draw, 20) for _ in range(3)]
    jobs = [sequence(start, max_tokens=700) for start in prompts]
    for job in jobs:
        scheduler.submit(job)
    finish(scheduler, cells)

    assert scheduler.counters.pauses > 0
    assert scheduler.counters.restored_tokens > 0
    recomputed = scheduler.counters.recomputed_tokens / scheduler.counters.pauses
    assert recomputed < 3 * BLOCK_TOKENS, "the last blocks before the pause, at most"
    for job, start in zip(jobs, prompts, strict=True):
        assert job.tokens[20:] == expected(start, 700, 1000, end=-1)


def restarted(seed: int) -> tuple[list[int], FakeDisk, Scheduler, Cells]:
    """A prompt that was computed, the disk that it is on, and what begins with that."""
    draw = random.Random(seed)
    disk = FakeDisk(draw)
    scheduler, cells = keeping(1000, disk=disk, disk_bytes_max=1_000_000)
    start = prompt(draw, 300)
    keep(scheduler, cells, start)
    idle(scheduler, cells)
    found = [(block, len(data)) for block, data in disk.files.values()]
    return start, disk, *keeping(1000, disk=disk, disk_bytes_max=1_000_000, found=found)


def test_what_is_on_disk_outlives_the_scheduler() -> None:
    start, _, later, cells = restarted(16)
    again = sequence([*start, 7], 5)
    later.submit(again)
    finish(later, cells)

    assert again.cached == 300
    assert later.counters.prompt_tokens_computed == 1
    assert again.tokens[301:] == expected([*start, 7], 5, 1000)


def test_a_lost_block_is_computed_and_said_to_be() -> None:
    start, disk, later, cells = restarted(17)
    disk.loses = 1.0
    again = sequence([*start, 7], 5)
    later.submit(again)

    step = later.schedule()

    assert step.admitted == step.corrected == [again]
    assert again.cached == 0
    compute(later, cells, step)
    finish(later, cells)
    assert later.counters.prompt_tokens_computed == 301
    assert again.tokens[301:] == expected([*start, 7], 5, 1000)


def test_a_block_that_does_not_come_back_is_computed_and_said_to_be() -> None:
    start, _, later, cells = restarted(17)
    cells.breaks = 1.0
    again = sequence([*start, 7], 5)
    later.submit(again)

    step = later.schedule()
    later.take_in(step, cells.apply(step.operations))
    assert (step.chunks, step.admitted) == ([], [])
    check(later, cells, slots=4)

    cells.breaks = 0
    step = later.schedule()
    assert (step.admitted, again.cached) == ([again], 0)
    compute(later, cells, step)
    finish(later, cells)
    assert later.counters.prompt_tokens_computed == 301
    assert again.tokens[301:] == expected([*start, 7], 5, 1000)


def test_a_state_that_cannot_be_cut_comes_back_as_a_whole() -> None:
    draw = random.Random(18)
    scheduler, cells = keeping(1000, whole=True)
    starts = [prompt(draw, 200) for _ in range(4)]
    for start in starts:
        keep(scheduler, cells, start)
        idle(scheduler, cells)
    before = scheduler.counters.prompt_tokens_computed

    keep(scheduler, cells, [*starts[0], 7, 8])
    assert scheduler.counters.prompt_tokens_computed == before + 2
    keep(scheduler, cells, [*starts[1][:199], 7, 8])
    assert scheduler.counters.prompt_tokens_computed == before + 2 + 201


def test_a_state_that_cannot_be_cut_is_kept_where_a_prefix_is_pinned() -> None:
    draw = random.Random(19)
    scheduler, cells = keeping(1000, whole=True)
    system = prompt(draw, 150)
    keep(scheduler, cells, [*system, *prompt(draw, 50)], Deadline(150, until=100))
    before = scheduler.counters.prompt_tokens_computed
    keep(scheduler, cells, [*system, *prompt(draw, 30)])

    assert scheduler.counters.prompt_tokens_computed == before + 30


def leaving(prompt_len: int = 600) -> tuple[Scheduler, Cells, Sequence, list[int]]:
    """A scheduler in the middle of a prompt whose client has left."""
    draw = random.Random(7)
    pace = Pace(step_s=0.1)
    scheduler, cells = new_scheduler(slots=1, pace=pace), Cells(1024)
    long = sequence(start := prompt(draw, prompt_len))
    long.time_s = 0.5
    scheduler.submit(long)
    step = scheduler.schedule()
    compute(scheduler, cells, step)
    pace.observe([64], 0.064)  # a millisecond each
    scheduler.cancel(long)
    return scheduler, cells, long, start


def test_a_prompt_is_computed_to_its_end_when_its_client_has_left() -> None:
    scheduler, cells, long, start = leaving()
    while scheduler.has_work:
        step = scheduler.schedule(now=1.0)
        assert step.late == []
        assert compute(scheduler, cells, step) == [], "nobody hears of it"

    assert cached(scheduler, start) == 600
    assert scheduler.counters.timeouts == 0
    assert long.status == Status.FINISHED
    assert long.num_generated == 0


def test_it_gives_way_to_whoever_comes() -> None:
    scheduler, cells, long, start = leaving()
    scheduler.submit(sequence([*start[:100], 7], 5))
    finish(scheduler, cells)

    assert long.status == Status.FINISHED
    assert 64 <= cached(scheduler, start) < 600, "what was computed stays"


def test_a_prompt_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ORPHAN_S", 0.1)
    scheduler, _, long, _ = leaving()

    assert long.status == Status.FINISHED
    assert not scheduler.has_work


def test_owners_take_turns() -> None:
    draw = random.Random(8)
    scheduler, cells = new_scheduler(slots=2), Cells(1024)
    jobs = [sequence(prompt(draw, 10), 20) for _ in range(9)]
    for number, job in enumerate(jobs):
        job.owner = "bob" if number in (6, 8) else "ann"
        scheduler.submit(job)
    begun: list[Sequence] = []
    while scheduler.has_work:
        step = scheduler.schedule()
        begun += step.admitted
        compute(scheduler, cells, step)

    assert [jobs.index(job) for job in begun[:4]] == [0, 6, 1, 8], "one each, though one has many"
    assert len(begun) == 9


def test_owners_do_not_ride_on_each_others_prompts() -> None:
    draw = random.Random(6)
    scheduler, cells = new_scheduler(), Cells(1024)
    shared = prompt(draw, 300)
    for owner in ("ann", "bob", "ann"):
        one = sequence(shared, 1)
        one.owner = owner
        scheduler.submit(one)
    finish(scheduler, cells)

    assert scheduler.counters.prompt_tokens_computed == 300 + 300 + 1


def test_what_runs_goes_before_what_is_pinned() -> None:
    draw = random.Random(5)
    scheduler, cells = new_scheduler(300, slots=1, ids=8, context=300), Cells(300)
    keep(scheduler, cells, prompt(draw, 100), Deadline(100, until=90))
    keep(scheduler, cells, prompt(draw, 290))

    assert len(scheduler.pins) == 0


EAGER = Padding(weights=1, keys=1)


def test_a_step_of_few_tokens_behind_many_is_filled_up_where_there_are_cells_for_it() -> None:
    for size, padding in ((400, 24), (364, 24), (363, 0)):
        scheduler, cells = new_scheduler(size, context=size, end=-1, padding=EAGER), Cells(size)
        scheduler.submit(sequence(start := [7] * 300, max_tokens=0))
        finish(scheduler, cells)
        scheduler.submit(sequence(start + [8] * 40, 1))
        step = scheduler.schedule()

        assert [(len(chunk.tokens), chunk.start) for chunk in step.chunks] == [(40, 300)]
        assert step.padding == padding
        compute(scheduler, cells, step)
        assert scheduler.counters.prompt_tokens_computed == 340, "and not what is computed for it"


def test_a_step_is_not_filled_up_while_prompts_have_more() -> None:
    """It is a small one since somebody waits for a token."""
    scheduler, cells = new_scheduler(end=-1, pace=Pace(0.2), padding=EAGER), Cells(1024)
    scheduler.submit(sequence([7] * 5, 100))
    compute(scheduler, cells, scheduler.schedule())
    scheduler.submit(long := sequence([8] * (4 * 16 + 15), 1))
    steps = []
    while long.num_generated == 0:
        steps.append(scheduler.schedule())
        compute(scheduler, cells, steps[-1])

    assert [len(chunk.tokens) for step in steps for chunk in step.chunks] == [*[1, 16] * 4, 1, 15]
    assert [step.padding for step in steps] == [0, 0, 0, 0, 48]


def test_what_is_left_in_the_second_context_is_filled_up() -> None:
    start = prompt(random.Random(3), 300)
    jobs = [sequence(start + prompt(random.Random(n), 41), max_tokens=0) for n in (1, 2)]
    scheduler, cells, second = with_second(1, prompts=[sequence(start, 0)], padding=EAGER)
    finish_prompts(scheduler, cells, second)
    for job in jobs:
        scheduler.submit(job)
    step = scheduler.schedule()
    scheduler.cancel(jobs[1])
    compute(scheduler, cells, step, second)
    finish(scheduler, cells, second=second)

    assert second.batches == [(40, 24)]


def with_second(
    decoding: int,
    *,
    cells: int = 2000,
    prompts: SequenceOf[Sequence] = (),
    padding: Padding | None = None,
) -> tuple[Scheduler, Cells, Second]:
    """Some decode, then these prompts come."""
    draw = random.Random(1)
    beside = Beside(cells=cells, sequence_ids=6, part_tokens=64, padding=padding)
    scheduler = new_scheduler(4000, context=4000, end=-1, beside=beside, padding=padding)
    first = Cells(4000)
    second = Second(scheduler, first, 64, draw)
    for _ in range(decoding):
        scheduler.submit(sequence(prompt(draw, 5), 400))
        compute(scheduler, first, scheduler.schedule(), second)
    for one in prompts:
        scheduler.submit(one)
    return scheduler, first, second


def finish_prompts(scheduler: Scheduler, cells: Cells, second: Second) -> None:
    """Go on until only the one is left who decodes."""
    while len(scheduler.running) + len(scheduler.waiting) > 1:
        second.deliver(scheduler)
        compute(scheduler, cells, scheduler.schedule(), second)
    second.batches.clear()


def test_a_prompt_is_computed_beside_those_who_decode() -> None:
    long = sequence(start := prompt(random.Random(2), 500), 20)
    scheduler, cells, second = with_second(1, prompts=[long])
    while long.num_generated == 0:
        second.deliver(scheduler)
        step = scheduler.schedule()
        compute(scheduler, cells, step, second)
        here = [chunk for chunk in step.chunks if not chunk.parts]
        assert all(len(chunk.tokens) == 1 for chunk in here), "everyone's next token"

    assert second.computed == 499
    assert scheduler.counters.prompt_tokens_computed == 5 + 500
    finish(scheduler, cells, second=second)
    assert long.tokens[500:] == expected(start, 20, 4000, end=-1)


def test_a_prompt_that_was_begun_alone_goes_on_beside_who_comes() -> None:
    long = sequence(start := prompt(random.Random(3), 1500), 20)
    scheduler, cells, second = with_second(0, prompts=[long])
    compute(scheduler, cells, scheduler.schedule(), second)
    assert long.computed == PREFILL_TOKENS_ALONE
    assert second.computed == 0
    scheduler.submit(sequence(prompt(random.Random(4), 5), 400))
    finish(scheduler, cells, second=second)

    assert second.computed > 400
    assert scheduler.counters.prompt_tokens_computed == 1505
    assert long.tokens[1500:] == expected(start, 20, 4000, end=-1)


@pytest.mark.parametrize(("known", "new", "beside"), [(1000, 9, True), (1000, 8, False)])
def test_little_is_computed_where_all_that_is_known_would_have_to_be_copied(
    known: int, new: int, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside_module, "SHORT_TOKENS", 1)
    draw = random.Random(5)
    start = prompt(draw, known)
    scheduler, cells, second = with_second(0)
    keep(scheduler, cells, start)
    scheduler.submit(sequence(prompt(draw, 5), 400))
    compute(scheduler, cells, scheduler.schedule(), second)
    scheduler.submit(sequence([*start, *prompt(draw, new)], 1))
    finish(scheduler, cells, second=second)

    assert second.computed == (new - 1 if beside else 0)


def test_what_prompts_share_is_copied_once() -> None:
    draw = random.Random(8)
    start = prompt(draw, 1000)
    scheduler, cells, second = with_second(0)
    keep(scheduler, cells, start)
    scheduler.submit(sequence(prompt(draw, 5), 400))
    compute(scheduler, cells, scheduler.schedule(), second)
    prompts = [[*start, *prompt(draw, 40)] for _ in range(3)]
    jobs = [sequence(one, 3) for one in prompts]
    for job in jobs:
        scheduler.submit(job)
    finish(scheduler, cells, second=second)

    assert second.copied == 1000
    assert second.computed == 3 * 39
    for one, job in zip(prompts, jobs, strict=True):
        assert job.tokens[len(one) :] == expected(one, 3, 4000, end=-1)


def test_a_prompt_that_has_no_room_in_the_second_context_is_computed_in_the_first() -> None:
    draw = random.Random(6)
    prompts = [prompt(draw, length) for length in (700, 600, 300)]
    jobs = [sequence(start, 3) for start in prompts]
    scheduler, cells, second = with_second(1, cells=1000, prompts=jobs)
    step = scheduler.schedule()
    assert [job.beside for job in jobs] == [True, False, True]
    compute(scheduler, cells, step, second)
    finish(scheduler, cells, second=second)

    for start, job in zip(prompts, jobs, strict=True):
        assert job.tokens[len(start) :] == expected(start, 3, 4000, end=-1)


def test_the_oldest_prompt_gets_half_of_the_second_context() -> None:
    draw = random.Random(7)
    jobs = [sequence(prompt(draw, length), 3) for length in (400, 390, 380)]
    scheduler, cells, _ = with_second(1, prompts=jobs)
    step = scheduler.schedule()
    scheduler.take_in(step, cells.apply(step.operations))
    prefill = scheduler.prefill()

    assert prefill is not None
    assert [(len(c.tokens), c.start) for c in prefill.chunks] == [(32, 0), (32, 0)]
    assert prefill.chunks[0].tokens == jobs[0].tokens[:32]
    assert prefill.chunks[1].tokens == jobs[2].tokens[:32], "then the shortest"


@pytest.mark.parametrize("seed", [*range(SEEDS), secrets.randbits(32)])
def test_simulation(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrivals, departures, failures and too few cells, at random; every step is checked."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    monkeypatch.setattr(module, "RESERVED_CELLS", draw.choice([1, 16, 256]))
    monkeypatch.setattr(module, "RESERVED_CELLS_MIN", draw.choice([1, 8, 64]))
    monkeypatch.setattr(turns, "PREFILL_TOKENS_ALONE", draw.choice([16, 512]))
    monkeypatch.setattr(turns, "OVERTAKEN_MAX", draw.choice([0, 1, 8]))
    monkeypatch.setattr(turns, "SIZE_TOKENS", draw.choice([8, 64]))
    size = draw.choice([256, 512, 1500])
    context = draw.choice([size, size // 2])
    slots = draw.randint(1, 6)
    cuttable = draw.random() < 0.8
    pace = Pace(step_s=draw.choice([0.01, 10])) if draw.random() < 0.5 else None
    tiers = random_tiers(draw, whole=not cuttable) if draw.random() < 0.6 else None
    monkeypatch.setattr(room, "AHEAD_SHARE", draw.choice([0, 0.15, 0.5]))
    monkeypatch.setattr(beside_module, "COPIED_TOKENS_MAX", draw.choice([1, 32]))
    monkeypatch.setattr(beside_module, "SHORT_TOKENS", draw.choice([1, 32]))
    part_tokens = draw.choice([4, 64])
    padding = Padding(weights=1, keys=1) if cuttable and draw.random() < 0.5 else None
    beside = None
    if cuttable and draw.random() < 0.5:
        beside = Beside(
            cells=draw.choice([size // 4, size]), sequence_ids=slots + 2, part_tokens=part_tokens,
            padding=padding,
        )  # fmt: skip
    scheduler = new_scheduler(
        size, slots=slots, ids=slots + draw.randint(1, 8), context=context, cuttable=cuttable,
        pace=pace, tiers=tiers, idle_cells=draw.choice([0, size // 4, size]), beside=beside,
        padding=padding,
    )  # fmt: skip
    cells = Cells(
        size, forced_max=draw.choice([0, 0, 1, 5, 40]), tiers=tiers, breaks=draw.choice([0, 0.05])
    )
    second = None if beside is None else Second(scheduler, cells, part_tokens, draw)
    beginnings = [prompt(draw, draw.randint(1, context // 2)) for _ in range(3)]
    jobs: list[tuple[Sequence, list[int]]] = []
    dead: set[int] = set()  # cancelled, failed or late
    pinning = draw.choice([0, 0.3, 1])
    hurrying = draw.choice([0, 0, 0.2])
    for time in range(1200):
        if len(jobs) < 60 and draw.random() < 0.2:
            start = draw.choice(beginnings)
            start = start[: draw.randint(1, len(start))] + prompt(draw, draw.randint(0, 40))
            start = start[: context - 1]
            pins = [Deadline(draw.randint(1, len(start)), time + draw.randint(1, 200))]
            pins = pins if draw.random() < pinning else []
            jobs.append((sequence(start, draw.choice([0, 1, 30, 32_000]), pins), start))
            jobs[-1][0].owner = draw.choice(["ann", "ann", "bob"])
            if draw.random() < hurrying:
                jobs[-1][0].submitted, jobs[-1][0].time_s = time, draw.randint(0, 300)
            scheduler.submit(jobs[-1][0])
        if jobs and draw.random() < 0.03:
            number = draw.randrange(len(jobs))
            if jobs[number][0].status != Status.FINISHED:
                dead.add(number)
            scheduler.cancel(jobs[number][0])
        if second is not None and draw.random() < 0.001:
            scheduler.without_beside()
            second = None
        if not (scheduler.has_work or scheduler.has_chores):
            continue
        if second is not None:
            second.deliver(scheduler)
        step = scheduler.schedule(time)
        dead |= {number for number, (job, _) in enumerate(jobs) if job in step.late}
        applied = cells.apply(step.operations)
        if draw.random() < cells.breaks:  # what the second context has computed is not taken
            applied.broken |= {chunk.seq_id for chunk in step.chunks if chunk.parts}
        scheduler.take_in(step, applied)
        if second is not None:
            second.begin(scheduler)
        drawn = cells.run(step)
        if draw.random() < 0.01:
            cells.forget(step.chunks)
            failed = {chunk.sequence for chunk in step.chunks}
            dead |= {n for n, (job, _) in enumerate(jobs) if job in failed}
            scheduler.fail(failed)
            continue
        scheduler.update(step, drawn)
        if pace is not None:
            lengths = [len(chunk.tokens) for chunk in step.chunks]
            pace.observe(lengths, draw.uniform(0.001, 0.1), padding=step.padding)
            pace.observe_blocks(draw.randint(0, 3), draw.uniform(0.001, 0.1))
        if tiers is not None:
            tiers.write_waiting()
            tiers.check()
        check(scheduler, cells, slots)

    cells.breaks = 0
    finish(scheduler, cells, steps_max=60_000, second=second)
    for number, (job, start) in enumerate(jobs):
        answer = expected(start, job.max_tokens, context)
        assert job.status == Status.FINISHED
        if number in dead:
            assert job.tokens[len(start) :] == answer[: job.num_generated]
        else:
            assert job.tokens[len(start) :] == answer
            assert job.finish_reason is not None
            assert scheduler.is_ended(job)


def random_tiers(draw: random.Random, *, whole: bool) -> Tiers:
    disk = FakeDisk(draw, loses=draw.choice([0, 0.1]), busy=draw.choice([0, 0.5]))
    return Tiers(
        block_tokens=draw.choice([4, 16, 64]),
        ram_bytes_max=draw.choice([0, 1000, 20_000]),
        whole=whole,
        disk=disk if draw.random() < 0.5 else None,
        disk_bytes_max=draw.choice([1000, 100_000]),
    )


def check(scheduler: Scheduler, cells: Cells, slots: int) -> None:
    scheduler.cache.check()
    ids = [job.seq_id for job in scheduler.running]
    assert len(set(ids)) == len(ids) <= slots
    assert None not in ids
    for job in scheduler.running:
        assert job.seq_id is not None
        assert [t for _, t in cells.held.get(job.seq_id, [])] == job.tokens[: job.computed]
    for job in [*scheduler.paused, *scheduler.waiting]:
        assert job.seq_id is None
    assert scheduler.pins.cells <= scheduler.cells * PINNED_SHARE
    assert scheduler.cache.cells == count_cells(cells, scheduler.room._operations)


def count_cells(cells: Cells, operations: SequenceOf[Operation]) -> int:
    """That are held, once these are done as well."""
    held = {i: c for i, c in cells.held.items() if c}
    for operation in operations:  # those of the next step
        if isinstance(operation, Copy):
            held[operation.target] = held[operation.source][: operation.length]
        elif isinstance(operation, Remove):
            held.pop(operation.seq_id, None)
    return len({cell for c in held.values() for cell, _ in c})
