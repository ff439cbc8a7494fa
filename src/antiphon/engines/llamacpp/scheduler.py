"""What the next step computes, and for whom. Pure: no clock, no thread, no binding, no chance.

    submit · cancel → schedule() → Step → (the runner computes, the sampler draws) → update()

Who runs: paused sequences first, then waiting ones, in the order of `turns`, while a slot is free
and the cache has room for what they need: the prompt and a part of the answer (`RESERVED_CELLS`,
since clients ask for up to 128,000 tokens and rarely take them). When the answers outgrow the
cache, retired sequences are evicted (`room.py`); when none is left, the youngest running sequence
is paused, and goes on later as if its answer so far were a prompt.
The oldest one is never paused, so everything ends. A sequence whose prefix is being computed
for another one right now waits for that and forks; if the other leaves, it goes on itself.
"""

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from itertools import chain
from math import inf

from antiphon.engines.llamacpp import turns
from antiphon.engines.llamacpp.beside import Beside
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.padding import TOGETHER, Padding
from antiphon.engines.llamacpp.radix_cache import Match, common_prefix
from antiphon.engines.llamacpp.room import BESIDE_SHARE, Room
from antiphon.engines.llamacpp.sequence import Sequence, Status
from antiphon.engines.llamacpp.step import (
    Applied,
    Chunk,
    Counters,
    Part,
    Prefill,
    Progress,
    Step,
)
from antiphon.engines.llamacpp.tiers import Tiers

RESERVED_CELLS = 256  # of the answer, when a sequence is admitted
RESERVED_CELLS_MIN = 64  # that running sequences may still grow by before another is admitted
ORPHAN_S = 30.0  # as long as a prompt goes on whose client has left
RIDE_TOKENS_MIN = 32  # a prefix shorter than this is not worth waiting for


class Scheduler:
    """`cells` is the size of the unified cache, `sequence_ids` how many ids it can tag cells with,
    `context_len` the longest single sequence. Without `cuttable` (recurrent models) a sequence
    can only be continued as a whole. `pace` bounds how long a step takes. `tiers` is where what
    leaves the cells goes; `idle_cells`, how many of them retired sequences may take beside others
    before they are stored. A machine that computes `batch` tokens together is given as many of a
    prompt, while nobody waits for a token. `beside` computes prompts in a second context. `padding`
    says whether a step is to be filled up."""

    def __init__(
        self,
        *,
        cells: int,
        sequence_ids: int,
        slots: int,
        context_len: int,
        end_of_generation: frozenset[int],
        cuttable: bool = True,
        pace: Pace | None = None,
        tiers: Tiers | None = None,
        idle_cells: int | None = None,
        batch: int = 0,
        beside: Beside | None = None,
        padding: Padding | None = None,
    ) -> None:
        assert 0 < slots < sequence_ids, "a retired prefix must be able to stand beside the slots"
        assert 1 < context_len <= cells, "a lone sequence must fit"
        self.counters = Counters()
        self.room = Room(
            cells=cells,
            sequence_ids=sequence_ids,
            slots=slots,
            cuttable=cuttable,
            counters=self.counters,
            pace=pace,
            tiers=tiers,
            idle_cells=idle_cells,
        )
        self.cells, self.cache, self.pins = cells, self.room.cache, self.room.pins
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []  # in order of arrival
        self.paused: list[Sequence] = []  # in order of arrival
        self._orphans: list[Sequence] = []  # running, and nobody waits for them
        self._slots = slots
        self._context_len = context_len
        self._end_of_generation = end_of_generation
        self._cuttable = cuttable
        self._pace = pace
        self.beside = beside
        self._padding = padding
        self._arrived: list[Chunk] = []  # from the second context, for the next step
        self._prefill_alone = max(turns.PREFILL_TOKENS_ALONE, batch)
        self._arrivals = 0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running or self.paused)

    @property
    def has_chores(self) -> bool:
        """Whether there is something to do while nobody waits for anything."""
        return self.room.has_chores

    def is_due(self, *, quiet: bool) -> bool:
        """Whether a step is to be made now: chores wait until it is quiet."""
        return self.has_work or (quiet and self.has_chores)

    def stop(self) -> None:
        """Nobody waits for anything any more. What was computed may leave the cells."""
        for sequence in [*self.waiting, *self.paused, *self.running]:
            self._finish(sequence)

    @property
    def has_to_save(self) -> bool:
        """Whether something is not stored that should be."""
        return self.room.has_to_save

    def last_step(self) -> Step:
        """Stores some of what is not stored yet, after `stop`; nothing while nothing is taken."""
        return Step(operations=self.room.last_saves())

    def submit(self, sequence: Sequence) -> None:
        assert sequence.status == Status.WAITING
        assert 0 < sequence.prompt_len < self._context_len
        sequence.arrival = self._arrivals
        self._arrivals += 1
        match = self._match(sequence)
        sequence.to_compute = sequence.prompt_len - self.room.known(sequence, match)
        self.waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """The client has left. What was computed stays cached, and a prompt that is soon done is
        computed to its end while nobody else waits: who gives up comes again with the same."""
        if sequence.status == Status.FINISHED or sequence in self._orphans:
            return
        self.counters.cancellations += 1
        if self._may_be_finished(sequence):
            sequence.max_tokens, sequence.time_s = 0, inf
            self._orphans.append(sequence)
        else:
            self._finish(sequence)

    def _may_be_finished(self, sequence: Sequence) -> bool:
        return (
            sequence.status == Status.RUNNING
            and sequence.num_generated == 0
            and self._pace is not None
            and 1 < sequence.num_pending <= self._pace.tokens_in(ORPHAN_S)
            and not self._orphans
            and not self.waiting
            and not self.paused
        )

    def fail(self, sequences: Iterable[Sequence]) -> None:
        """Forget sequences whose cells cannot be trusted after a failed step."""
        for sequence in sequences:
            if sequence.seq_id is not None:
                self.room.drop(sequence.seq_id)
                sequence.seq_id = None
            if sequence in self._orphans:
                self._orphans.remove(sequence)
            self._finish(sequence)

    def schedule(self, now: float = 0.0) -> Step:
        """Decide what the next step computes. `update` or `fail` must follow. `now` is seconds of
        the clock that pins and sequences end by."""
        self.room.begin_step(now)
        step = Step(late=self._end_late(now))
        self._admit(step)
        if self._orphans and (self.waiting or self.paused):
            self._leave_orphans()
            self._admit(step)
        decoding = sum(map(turns.decodes, self.running))
        step.corrected = self.room.restore(self.running, beside=decoding > 0)
        if self.beside is not None:
            prompts = [sequence for sequence in self.running if turns.is_prompt(sequence)]
            self.beside.add(prompts, needed=self._holds_up(decoding))
        step.chunks = self._plan()
        while step.num_tokens > self.room.free:
            if self.room.evict():
                continue
            if self._orphans:
                self._leave_orphans()
            else:
                self._pause(self.running[-1])
            step.chunks = self._plan()
        self._arrived.clear()
        self.room.save(self.running, beside=bool(step.chunks))
        if step.chunks:
            self.room.leave(step.num_tokens)
        step.padding = self._rows_to_add(step)
        step.operations = self.room.end_step()
        goes_on = self.beside is not None and self.beside.has_work
        is_needed = self.has_work and not goes_on
        assert step.chunks or step.operations or not is_needed, "no step without progress"
        return step

    @property
    def is_prefilling(self) -> bool:
        """Whether the second context is to be heard of."""
        return self.beside is not None and self.beside.is_busy

    def prefill(self) -> Prefill | None:
        """What the second context computes from now on, if it is free; `prefilled` or
        `without_beside` must follow. The cells of the answers hold what `take_in` has said."""
        if self.beside is None:
            return None
        if self._pace is None:
            return self.beside.plan(TOGETHER, 1)
        decoding = any(map(turns.decodes, self.running))
        share = BESIDE_SHARE if decoding else 1.0
        return self.beside.plan(self._pace.tokens_apart(), self._pace.blocks(share))

    def prefilled(self, parts: Iterable[SequenceOf[Part]]) -> None:
        """The second context has computed what it was given: parts for each of its chunks."""
        assert self.beside is not None
        self._arrived += self.beside.done(parts)

    def without_beside(self) -> None:
        """There is no second context any more. What it was to compute is computed here."""
        for sequence in self.running:
            sequence.beside = False
        self.beside = None
        self._arrived.clear()

    def _end_late(self, now: float) -> list[Sequence]:
        """What they have computed stays cached, as when a client leaves."""
        everyone = chain(self.running, self.paused, self.waiting)
        late = [sequence for sequence in everyone if sequence.is_late(now)]
        for sequence in late:
            self._finish(sequence)
        self.counters.timeouts += len(late)
        return late

    def take_in(self, step: Step, applied: Applied) -> None:
        """What came of a step's operations. Those whose blocks could not be brought back start over
        with what the cells hold, and are no part of the step any more. Modifies the step."""
        self.room.count_saved(applied.saved, applied.refused)
        broken = [sequence for sequence in self.running if sequence.seq_id in applied.broken]
        for seq_id in applied.broken:  # some may be of those who have been paused meanwhile
            self.room.drop(seq_id)
        for sequence in broken:
            self._start_over(sequence)
        step.chunks = [chunk for chunk in step.chunks if chunk.sequence not in broken]
        step.admitted = [sequence for sequence in step.admitted if sequence not in broken]
        step.corrected = [sequence for sequence in step.corrected if sequence not in broken]

    def update(self, step: Step, drawn: SequenceOf[SequenceOf[int]]) -> list[Progress]:
        """Take in what a step computed; `drawn` has the tokens that come next for every chunk that
        draws: one, and those that a grammar forces behind it."""
        rows = iter(drawn)
        progress = []
        for chunk in step.chunks:
            sequence = chunk.sequence
            assert sequence.status == Status.RUNNING
            assert sequence.computed == chunk.start
            self.cache.insert(chunk.seq_id, chunk.tokens)
            self._count(chunk)
            sequence.computed += len(chunk.tokens)
            self.room.advanced(sequence)
            if turns.decodes(sequence):
                self._leave_beside(sequence)
            drawn_here = next(rows) if chunk.draws else ()
            tokens = sequence.append(drawn_here, self._end_of_generation, self._context_len)
            self.counters.generated_tokens += len(tokens)
            self.counters.forced_tokens += max(0, len(tokens) - 1)
            if sequence.finish_reason is not None:
                self._finish(sequence)
            if sequence in self._orphans:
                if sequence.finish_reason is not None:
                    self._orphans.remove(sequence)
            elif tokens or sequence.finish_reason is not None:
                progress.append(Progress(sequence, tokens, sequence.finish_reason))
        assert next(rows, None) is None, "a token for a chunk that draws none"
        return progress

    def _admit(self, step: Step) -> None:
        """Let paused and waiting sequences run, in turn, until one of them finds no room."""
        riding: set[Sequence] = set()
        while len(self.running) < self._slots:
            found = self._next_in_turn(riding)
            if found is None or not self._fits(*found):
                return
            sequence, match = found
            if sequence.status == Status.WAITING:
                rest = (other for other in self.waiting if other not in riding)
                turns.count_overtaken(sequence, rest)
            self._start(sequence, match)
            if sequence.cached is None:
                coming = sum(piece.length for piece in sequence.restoring)
                sequence.cached = sequence.computed + coming
                self.counters.prompt_tokens_cached += sequence.computed
                step.admitted.append(sequence)

    def _next_in_turn(self, riding: set[Sequence]) -> tuple[Sequence, Match] | None:
        """Paused ones first. Those who ride are left out, and remembered."""
        for sequence in chain(self.paused, turns.in_turn(self.waiting, self.running)):
            if sequence not in riding:
                match = self._match(sequence)
                if not self._rides(sequence, match):
                    return sequence, match
                riding.add(sequence)
        return None

    def _match(self, sequence: Sequence) -> Match:
        """The last token is always computed, since the next one is drawn from its logits."""
        return self.cache.match(sequence.tokens[:-1], sequence.owner, whole=not self._cuttable)

    def _rides(self, sequence: Sequence, match: Match) -> bool:
        """Whether a running sequence is about to compute more of this prefix than is cached."""
        if not self._cuttable:
            return False
        for leader in self.running:
            if leader.num_pending > 1 and leader.owner == sequence.owner:
                shared = common_prefix(leader.tokens, sequence.tokens, 0)
                shared = min(shared, len(sequence.tokens) - 1)
                if shared >= RIDE_TOKENS_MIN and shared > match.length:
                    return True
        return False

    def _fits(self, sequence: Sequence, match: Match) -> bool:
        """Whether all that run can go on for a while beside this one, once nothing idle is left
        in the cache. True for a lone sequence, since a context is no larger than the cache."""
        cells = self.room.cells_locked_with(sequence, match)
        cells += min(RESERVED_CELLS, sequence.tokens_left(self._context_len))
        for other in self.running:
            used = len(other.tokens) - other.resumed_at
            reserved = max(RESERVED_CELLS - used, RESERVED_CELLS_MIN)
            cells += other.num_pending + min(reserved, other.tokens_left(self._context_len))
        return cells <= self.cells

    def _start(self, sequence: Sequence, match: Match) -> None:
        self.room.start(sequence, match)
        (self.paused if sequence.status == Status.PAUSED else self.waiting).remove(sequence)
        sequence.status = Status.RUNNING
        sequence.resumed_at = len(sequence.tokens)
        self.running.append(sequence)
        self.running.sort(key=lambda running: running.arrival)

    def _leave_orphans(self) -> None:
        for sequence in self._orphans:
            self._finish(sequence)
        self._orphans.clear()

    def _plan(self) -> list[Chunk]:
        step = turns.lengths(self.running, self._pace, self._prefill_alone)
        arrived = [chunk for chunk in self._arrived if chunk.sequence.beside]
        return [*arrived, *(self._chunk(*turn) for turn in step)]

    def _rows_to_add(self, step: Step) -> int:
        """0 where prompts could give them, which are left out for the time that they take."""
        if self._padding is None:
            return 0
        lengths = {chunk.sequence: len(chunk.tokens) for chunk in step.chunks}
        left = (one for one in self.running if lengths.get(one, 0) < one.num_pending)
        if any(map(turns.is_prompt, left)):
            return 0
        shapes = [chunk.shape for chunk in step.computed]
        return self._padding.rows(shapes, self.room.free - step.num_tokens)

    def _holds_up(self, decoding: int) -> bool:
        """Whether so many who decode would wait too long for a prompt, or it for them."""
        return decoding > 0 and (self._pace is None or not self._pace.takes_together(decoding))

    def _leave_beside(self, sequence: Sequence) -> None:
        if self.beside is not None:
            self.beside.leave(sequence)

    def _chunk(self, sequence: Sequence, length: int) -> Chunk:
        assert sequence.seq_id is not None
        start, end = sequence.computed, sequence.computed + length
        if (stop := self.room.next_snapshot(sequence)) is not None:
            end = min(end, stop)
        draws = end == len(sequence.tokens) and sequence.max_tokens > 0
        return Chunk(sequence, sequence.seq_id, start, sequence.tokens[start:end], draws)

    def _count(self, chunk: Chunk) -> None:
        prompt = max(0, min(chunk.sequence.resumed_at - chunk.start, len(chunk.tokens)))
        if chunk.sequence.times_paused:
            self.counters.recomputed_tokens += prompt
        else:
            self.counters.prompt_tokens_computed += prompt

    def _pause(self, sequence: Sequence) -> None:
        assert sequence is not self.running[0], "the oldest one always goes on"
        self.room.retire(sequence)
        self.running.remove(sequence)
        sequence.times_paused += 1
        self._set_paused(sequence)
        self.counters.pauses += 1

    def _start_over(self, sequence: Sequence) -> None:
        """Its cells are gone. If it has answered nothing yet, how much of it is cached is found out
        and said again."""
        sequence.seq_id = None
        sequence.restoring.clear()
        if sequence in self._orphans:
            self.fail([sequence])
            return
        self.running.remove(sequence)
        if sequence.times_paused == 0:
            sequence.cached = None
        self._set_paused(sequence)

    def _set_paused(self, sequence: Sequence) -> None:
        self._leave_beside(sequence)
        sequence.status = Status.PAUSED
        sequence.computed = 0
        self.paused.append(sequence)
        self.paused.sort(key=lambda paused: paused.arrival)

    def _finish(self, sequence: Sequence) -> None:
        self._leave_beside(sequence)
        self.room.retire(sequence)
        for queue in (self.waiting, self.running, self.paused):
            if sequence in queue:
                queue.remove(sequence)
        sequence.status = Status.FINISHED
