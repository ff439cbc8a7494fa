"""What the next step computes, and for whom. Pure: no clock, no thread, no binding, no chance.

    submit · cancel → schedule() → Step → (the runner computes, the sampler draws) → update()

Who runs: paused sequences first, then waiting ones, in the order of `turns`, while a slot is free
and the cache has room for what they need: the prompt and a part of the answer
(`RESERVED_CELLS`, since clients ask for up to 128,000 tokens and rarely take them). When
the answers outgrow the cache, retired sequences are evicted, the least recently used first; when
none is left, the youngest running sequence is paused, and goes on later as if its answer so far
were a prompt.
The oldest one is never paused, so everything ends. A sequence whose prefix is being computed
for another one right now waits for that and forks; if the other leaves, it goes on itself.
"""

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from itertools import chain
from math import inf

from antiphon.engines.llamacpp import turns
from antiphon.engines.llamacpp.blocks import BLOCK_TOKENS, BlockStore
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.pins import Deadline, Pins
from antiphon.engines.llamacpp.radix_cache import Match, RadixCache, common_prefix
from antiphon.engines.llamacpp.sequence import Sequence, Status
from antiphon.engines.llamacpp.spill import Spill
from antiphon.engines.llamacpp.step import (
    Chunk,
    Copy,
    Counters,
    Operation,
    Progress,
    Remove,
    Restore,
    Step,
)

RESERVED_CELLS = 256  # of the answer, when a sequence is admitted
RESERVED_CELLS_MIN = 64  # that running sequences may still grow by before another is admitted
SAVE_FROM = 0.5  # of the cells in use, blocks are stored
BLOCKS_RESTORED = 8  # a step and sequence
BLOCKS_SAVED_ALONE, BLOCKS_SAVED_BESIDE = 4, 1  # a step, while nobody waits and beside others
ORPHAN_S = 30.0  # as long as a prompt goes on whose client has left
PINNED_SHARE = 0.5  # of the cache, at most
RIDE_TOKENS_MIN = 32  # a prefix shorter than this is not worth waiting for


class Scheduler:
    """`cells` is the size of the unified cache, `sequence_ids` how many ids it can tag cells with,
    `context_len` the longest single sequence. Without `cuttable` (recurrent models) a sequence
    can only be continued as a whole. `pace` bounds how long a step takes."""

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
        blocks: BlockStore | None = None,
    ) -> None:
        assert 0 < slots < sequence_ids, "a retired prefix must be able to stand beside the slots"
        assert 1 < context_len <= cells, "a lone sequence must fit"
        self.cells = cells
        self.cache = RadixCache()
        self.counters = Counters()
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []  # in order of arrival
        self.paused: list[Sequence] = []  # in order of arrival
        self._orphans: list[Sequence] = []  # running, and nobody waits for them
        self._slots = slots
        self._context_len = context_len
        self._end_of_generation = end_of_generation
        self._cuttable = cuttable
        self._pace = pace
        self._spill = Spill(blocks if cuttable else None)
        self._free_ids = list(reversed(range(sequence_ids)))
        self._operations: list[Operation] = []
        self._arrivals = 0
        spare_ids = sequence_ids - slots
        self.pins = Pins(cells_max=int(cells * PINNED_SHARE), ids_max=spare_ids // 2)

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running or self.paused)

    @property
    def has_to_save(self) -> bool:
        return self._spill.has_to_save and self.cache.cells >= SAVE_FROM * self.cells

    def submit(self, sequence: Sequence) -> None:
        assert sequence.status == Status.WAITING
        assert 0 < sequence.prompt_len < self._context_len
        sequence.arrival = self._arrivals
        self._arrivals += 1
        sequence.to_compute = sequence.prompt_len - self._match(sequence).length
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
                self._drop(sequence.seq_id)
                sequence.seq_id = None
            if sequence in self._orphans:
                self._orphans.remove(sequence)
            self._finish(sequence)

    def schedule(self, now: float = 0.0) -> Step:
        """Decide what the next step computes. `update` or `fail` must follow. `now` is seconds of
        the clock that pins and sequences end by."""
        self.pins.expire(now)
        step = Step(late=self._end_late(now))
        self._admit(step)
        if self._orphans and (self.waiting or self.paused):
            self._leave_orphans()
            self._admit(step)
        self._restore()
        step.chunks = self._plan()
        while sum(len(chunk.tokens) for chunk in step.chunks) > self.cells - self.cache.cells:
            if self._evict():
                continue
            if self._orphans:
                self._leave_orphans()
            else:
                self._pause(self.running[-1])
            step.chunks = self._plan()
        if self.has_to_save:  # before they leave the cells
            most = BLOCKS_SAVED_BESIDE if step.chunks else BLOCKS_SAVED_ALONE
            self._operations += self._spill.saves(most)
        assert step.chunks or self._operations or not self.has_work, "no step without progress"
        step.operations, self._operations = self._operations, []
        return step

    def _end_late(self, now: float) -> list[Sequence]:
        """What they have computed stays cached, as when a client leaves."""
        everyone = chain(self.running, self.paused, self.waiting)
        late = [sequence for sequence in everyone if sequence.is_late(now)]
        for sequence in late:
            self._finish(sequence)
        self.counters.timeouts += len(late)
        return late

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
            self._start(sequence, match)
            if sequence.cached is None:
                sequence.cached = sequence.computed + BLOCK_TOKENS * len(sequence.restoring)
                self.counters.prompt_tokens_cached += sequence.cached
                step.admitted.append(sequence)
                turns.count_overtaken(sequence, (s for s in self.waiting if s not in riding))

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
                if shared - match.length >= RIDE_TOKENS_MIN:
                    return True
        return False

    def _fits(self, sequence: Sequence, match: Match) -> bool:
        """Whether all that run can go on for a while beside this one, once nothing idle is left
        in the cache. True for a lone sequence, since a context is no larger than the cache."""
        cells = self.cache.cells_locked + len(sequence.tokens) - match.length
        if match.seq_id is not None:
            cells += self.cache.cells_to_lock(match.seq_id, match.length)
        cells += min(RESERVED_CELLS, sequence.tokens_left(self._context_len))
        for other in self.running:
            used = len(other.tokens) - other.resumed_at
            reserved = max(RESERVED_CELLS - used, RESERVED_CELLS_MIN)
            cells += other.num_pending + min(reserved, other.tokens_left(self._context_len))
        return cells <= self.cells

    def _start(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence its id and the cells that are there already."""
        source, length = match.seq_id, match.length
        sequence.restoring = self._spill.stored(
            sequence.tokens[:-1], sequence.owner, length, RIDE_TOKENS_MIN
        )
        if sequence.restoring:  # blocks begin where a block begins
            length -= length % BLOCK_TOKENS
        if source is None or length == 0:
            seq_id = self._take_id()
        elif self._can_be_taken(source, length):
            seq_id = source  # a conversation goes on: nothing to copy
        else:
            self.cache.touch(source)  # evicted last, should an id be needed
            seq_id = self._take_id()
            self.cache.fork(source, seq_id, length)
            self._operations.append(Copy(source, seq_id, length))
        self._spill.forget(seq_id)
        self.cache.lock(seq_id, sequence.owner)
        (self.paused if sequence.status == Status.PAUSED else self.waiting).remove(sequence)
        sequence.status = Status.RUNNING
        sequence.seq_id = seq_id
        sequence.computed = length
        sequence.resumed_at = len(sequence.tokens)
        self.running.append(sequence)
        self.running.sort(key=lambda running: running.arrival)

    def _can_be_taken(self, seq_id: int, length: int) -> bool:
        is_free = not self.cache.is_locked(seq_id) and seq_id not in self.pins
        return is_free and length == self.cache.length(seq_id)

    def _pin(self, sequence: Sequence, pin: Deadline) -> None:
        """Let a sequence id of its own hold the beginning of one that retires."""
        if not self._cuttable or pin.length > sequence.computed:
            return
        beginning = sequence.tokens[: pin.length]
        if self.pins.prolong(self.cache, beginning, sequence.owner, pin.until):
            return
        if not self.pins.make_room(pin):
            return
        assert sequence.seq_id is not None
        seq_id = self._take_id()
        self.cache.fork(sequence.seq_id, seq_id, pin.length)
        self._operations.append(Copy(sequence.seq_id, seq_id, pin.length))
        self.pins.add(seq_id, pin, sequence.owner)

    def _restore(self) -> None:
        """Bring blocks back into cells, a few a step."""
        for sequence in self.running:
            for _ in range(BLOCKS_RESTORED):
                if not sequence.restoring:
                    break
                key = sequence.restoring.pop(0)
                if not self._has_room(BLOCK_TOKENS) or not self._spill.holds(key):
                    sequence.restoring.clear()  # then it is computed
                    break
                assert sequence.seq_id is not None
                start, end = sequence.computed, sequence.computed + BLOCK_TOKENS
                self._operations.append(Restore(sequence.seq_id, start, key))
                self.cache.insert(sequence.seq_id, sequence.tokens[start:end])
                sequence.computed = end
                self.counters.restored_tokens += BLOCK_TOKENS

    def _has_room(self, cells: int) -> bool:
        while self.cells - self.cache.cells < cells:
            if not self._evict():
                return False
        return True

    def _leave_orphans(self) -> None:
        for sequence in self._orphans:
            self._finish(sequence)
        self._orphans.clear()

    def _plan(self) -> list[Chunk]:
        return [self._chunk(*turn) for turn in turns.lengths(self.running, self._pace)]

    def _chunk(self, sequence: Sequence, length: int) -> Chunk:
        assert sequence.seq_id is not None
        start, end = sequence.computed, sequence.computed + length
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
        self._retire(sequence)
        self.running.remove(sequence)
        sequence.status = Status.PAUSED
        sequence.computed = 0
        sequence.times_paused += 1
        self.paused.append(sequence)
        self.paused.sort(key=lambda paused: paused.arrival)
        self.counters.pauses += 1

    def _finish(self, sequence: Sequence) -> None:
        self._retire(sequence)
        for queue in (self.waiting, self.running, self.paused):
            if sequence in queue:
                queue.remove(sequence)
        sequence.status = Status.FINISHED

    def _retire(self, sequence: Sequence) -> None:
        """Keep what a sequence has computed, for others, until the room is needed."""
        if sequence.seq_id is None:
            return
        for pin in sequence.pins:
            self._pin(sequence, pin)
        self.cache.unlock(sequence.seq_id)
        twin = self.cache.twin(sequence.seq_id) if self._cuttable else None
        if twin is not None:  # else requests that come again and again use up the ids
            self.cache.touch(twin)
        if twin is not None or self.cache.is_redundant(sequence.seq_id):
            self._drop(sequence.seq_id)
        else:
            computed = sequence.tokens[: sequence.computed]
            self._spill.retire(sequence.seq_id, computed, sequence.owner)
        sequence.restoring.clear()
        sequence.seq_id = None

    def _take_id(self) -> int:
        if not self._free_ids:
            evicted = self._evict()
            assert evicted, "there are more ids than slots"
        return self._free_ids.pop()

    def _evict(self) -> bool:
        seq_id = self.cache.evict(keep=self.pins)
        if seq_id is None:
            seq_id = self.pins.first_to_end()
            if seq_id is None:
                return False
            self.cache.drop(seq_id)
        self.counters.evictions += 1
        self._release(seq_id)
        return True

    def _drop(self, seq_id: int) -> None:
        self.cache.drop(seq_id)
        self._release(seq_id)

    def _release(self, seq_id: int) -> None:
        self.pins.forget(seq_id)
        self._spill.forget(seq_id)
        self._operations.append(Remove(seq_id))
        self._free_ids.append(seq_id)
