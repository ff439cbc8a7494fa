"""Room in the cells: who holds sequence ids, and what leaves and comes back. Pure.

A sequence that retires stays in the cells until its room is needed. What leaves is stored before,
as far as there is time (`spill.py`): retired sequences while nobody waits for anything, and the
youngest running one when it may soon have to pause. When others compute, those that are stored
leave, since every cell that somebody holds slows down what runs; the last that was used stays a
little longer.
"""

from antiphon.engines.llamacpp.blocks import block_behind, root_key
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.pins import Deadline, Pins
from antiphon.engines.llamacpp.radix_cache import Match, RadixCache
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.spill import Spill
from antiphon.engines.llamacpp.step import Copy, Counters, Operation, Remove, Restore, Save
from antiphon.engines.llamacpp.tiers import Tiers

PINNED_SHARE = 0.5  # of the cells, at most
AHEAD_SHARE = 0.15  # of the cells free: from then on, what may be paused is stored before it is
STORED_FACTOR = 0.05  # of what computing takes, bringing it back takes
# The last one that was used is the likeliest to go on, and stays until others have computed so many
# tokens. For each of these llama.cpp looks at each of its cells, in every layer and head: by then
# that has taken as long as bringing it back does (0.6B: 0.36 us a token and cell, 50 us a cell).
STAYS_TOKENS = 128
BESIDE_SHARE = 0.5  # of a step, for blocks, beside those who decode
QUIET_SHARE = 0.025  # of a step, while nobody waits: who comes then waits no longer


class Room:
    """`idle_cells`: how many of the cells retired sequences may take beside others that compute;
    if it is more, they are stored meanwhile."""

    def __init__(
        self,
        *,
        cells: int,
        sequence_ids: int,
        slots: int,
        cuttable: bool,
        counters: Counters,
        pace: Pace | None,
        tiers: Tiers | None,
        idle_cells: int | None,
    ) -> None:
        self.cells = cells
        self.cache = RadixCache()
        spare_ids = sequence_ids - slots
        self.pins = Pins(cells_max=int(cells * PINNED_SHARE), ids_max=spare_ids // 2)
        self._cuttable = cuttable
        self._counters = counters
        self._pace = pace
        self._tiers = tiers if tiers is not None and tiers.is_enabled else None
        self._spill = Spill(self._tiers)
        self._idle_cells = cells if idle_cells is None else idle_cells
        self._free_ids = list(reversed(range(sequence_ids)))
        self._retired_comfortable = spare_ids // 2
        self._computed_since = 0  # tokens, by all, since a sequence retired
        self._operations: list[Operation] = []
        self._blocks_left = 0  # that may still be stored and brought back in this step
        self._snapshots: list[Save] = []  # of sequences that run on in the next step

    @property
    def free(self) -> int:
        return self.cells - self.cache.cells

    @property
    def has_to_save(self) -> bool:
        """Whether something is not stored that should be."""
        return self._spill.has_to_save

    @property
    def has_chores(self) -> bool:
        """Whether there is something to do while nobody waits for anything."""
        if not self._spill.can_save:
            return False
        return self._cuttable or self._has_to_save_beside

    def begin_step(self, now: float) -> None:
        self.pins.expire(now)
        if self._tiers is not None:
            self._tiers.expire(now)
        self._blocks_left = self._blocks_a_step(BESIDE_SHARE)
        if self._pace is not None:
            self._pace.begin_step()
        for save in self._snapshots:
            if self._stands_at(save):
                self._operations.append(save)
        self._snapshots.clear()

    def end_step(self) -> list[Operation]:
        """All operations since the last call, in order."""
        operations, self._operations = self._operations, []
        return operations

    def known(self, sequence: Sequence, match: Match) -> int:
        """How many tokens of a sequence need not be computed, as of now. `match` is what the cells
        hold of it."""
        if not sequence.chain:  # what is known already need not be hashed again
            sequence.chain = self._spill.known_blocks(match.seq_id, match.length)
        pieces = self._spill.pieces(sequence, match.length)
        coming = sum(piece.length for piece in pieces)
        return max(match.length, self._block_start(match.length) + coming)

    def cells_locked_with(self, sequence: Sequence, match: Match) -> int:
        """Cells of all who run, once this one does and its tokens are computed. `match` is what the
        cells hold of it."""
        cells = self.cache.cells_locked + len(sequence.tokens) - match.length
        if match.seq_id is not None:
            cells += self.cache.cells_to_lock(match.seq_id, match.length)
        return cells

    def start(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence its id and the cells that are there already. Modifies the sequence."""
        source, length = match.seq_id, match.length
        sequence.restoring = self._spill.pieces(sequence, length)
        if sequence.restoring:
            length = self._block_start(length)
        if source is None or length == 0:
            seq_id = self._take_id()
        elif self._can_be_taken(source, length):
            seq_id = source  # a conversation goes on: nothing to copy
        elif self._comes_again(sequence, source, length):
            seq_id = source
            self.cache.shorten(seq_id)
            self._operations.append(Remove(seq_id, length))
        else:
            seq_id = self._take_id(but=source)
            self.cache.fork(source, seq_id, length)
            self._operations.append(Copy(source, seq_id, length))
        self._spill.forget(seq_id)
        self.cache.lock(seq_id, sequence.owner)
        sequence.seq_id = seq_id
        sequence.computed = length

    def retire(self, sequence: Sequence) -> None:
        """Keep what a sequence has computed, for others, until the room is needed. Modifies the
        sequence: it gives its id up."""
        seq_id = sequence.seq_id
        if seq_id is None:
            return
        for pin in sequence.pins:
            self._pin(sequence, seq_id, pin)
        self.cache.unlock(seq_id)
        self._computed_since = 0
        twin = self.cache.twin(seq_id) if self._cuttable else None
        if twin is not None:  # else requests that come again and again use up the ids
            self.cache.touch(twin)
        if twin is not None or self.cache.is_redundant(seq_id):
            self.drop(seq_id)
        else:
            self._spill.retire(seq_id, sequence, sequence.computed)
        sequence.restoring.clear()
        sequence.seq_id = None

    def advanced(self, sequence: Sequence) -> None:
        """A running sequence has computed more. A state that cannot be cut is stored where others
        may begin with it."""
        if self._tiers is None or not self._tiers.whole:
            return
        for pin in sequence.pins:
            if pin.length == sequence.computed:
                assert sequence.seq_id is not None
                run = sequence.tokens[: pin.length]
                block = block_behind(root_key(sequence.owner), run)
                self._snapshots.append(Save(sequence.seq_id, 0, block))
                self._tiers.pin([block], pin.until)

    def next_snapshot(self, sequence: Sequence) -> int | None:
        """Where a running sequence has to stop for `advanced`, if it has to."""
        if self._tiers is None or not self._tiers.whole:
            return None
        ahead = [pin.length for pin in sequence.pins if pin.length > sequence.computed]
        return min(ahead, default=None)

    def restore(self, running: list[Sequence], *, beside: bool) -> list[Sequence]:
        """Bring blocks back into cells, as many as a step is long enough for. Return those who
        have to compute what had been promised to be there. Modifies the sequences."""
        if not beside:
            self._blocks_left = self._blocks_a_step(1)
        corrected = []
        for sequence in running:
            while sequence.restoring and self._blocks_left > 0:
                self._take_blocks(1)
                if not self._restore_one(sequence):
                    lost = sum(piece.length for piece in sequence.restoring)
                    sequence.restoring.clear()
                    if sequence.cached is not None and sequence.times_paused == 0:
                        sequence.cached -= lost
                        corrected.append(sequence)
        return corrected

    def save(self, running: list[Sequence], *, beside: bool) -> None:
        """Store what may leave the cells; beside others only if that is soon."""
        if not self._spill.takes_more:
            return
        if not beside:
            most = self._blocks_a_step(QUIET_SHARE) if self.has_chores and not running else 0
        elif len(running) > 1 and self.cells - self.cache.cells_locked < AHEAD_SHARE * self.cells:
            self._spill.ahead(running[-1])
            most = self._blocks_left
        elif self._has_to_save_beside:
            most = 1 if self._pace is None else self._pace.blocks_beside()
        else:
            most = 0
        if most:
            self._operations += self._spill.take_saves(most)

    def last_saves(self) -> list[Operation]:
        """One block that is not stored yet, if one would be taken now."""
        self._operations += self._spill.take_saves(int(self._spill.takes_more))
        return self.end_step()

    def count_saved(self, saved: list[Save], refused: list[Save]) -> None:
        """What came of them. Modifies what is left to be stored."""
        self._counters.saved_tokens += sum(len(save.block.tokens) for save in saved)
        self._spill.save_again(refused)

    def leave(self, tokens: int) -> None:
        """Let those go who slow others down, if they lose nothing by it. `tokens` are computed
        next. States that cannot be cut slow nobody down: they go only if they are many."""
        leaving = self.cache.by_last_use()
        if self._computed_since < STAYS_TOKENS or not self._cuttable:
            leaving = leaving[:-1]
        self._computed_since += tokens
        for seq_id in leaving:
            if not self._cuttable and not self._is_crowded:
                break
            if not self._spill.is_stored(seq_id):
                continue
            if (until := self.pins.until(seq_id)) is not None:
                self._spill.pin(seq_id, until)
            self._counters.departures += 1
            self.drop(seq_id)

    def evict(self, but: int | None = None) -> bool:
        """Drop what is worth least of what nobody uses, `but` excepted; False if there is
        nothing."""
        keep = {but, *self.pins}
        seq_id = self.cache.evict(keep=keep, factor=self._cost_factor)
        if seq_id is None:
            seq_id = self.pins.first_to_end(but)
            if seq_id is None:
                return False
            self.cache.drop(seq_id)
        if (until := self.pins.until(seq_id)) is not None:
            self._spill.pin(seq_id, until)
        if self._spill.takes_more:
            rescued = self._spill.take_saves_of(seq_id, self._blocks_left)
            self._take_blocks(len(rescued))
            self._operations += rescued
        self._counters.evictions += 1
        self._release(seq_id)
        return True

    def drop(self, seq_id: int) -> None:
        self.cache.drop(seq_id)
        self._release(seq_id)

    def _block_start(self, length: int) -> int:
        """Where the block begins that the first `length` tokens end in."""
        if self._tiers is None or self._tiers.whole:
            return 0
        return length - length % self._tiers.block_tokens

    def _restore_one(self, sequence: Sequence) -> bool:
        piece = sequence.restoring[0]
        has_room = self._has_room(len(piece.block.tokens))
        data = self._spill.data(piece) if has_room else None
        if data is None:
            return False
        del sequence.restoring[0]
        assert sequence.seq_id is not None
        start, end = sequence.computed, sequence.computed + piece.length
        restore = Restore(sequence.seq_id, start, piece.length, piece.block, data)
        self._operations.append(restore)
        self.cache.insert(sequence.seq_id, sequence.tokens[start:end])
        sequence.computed = end
        self._counters.restored_tokens += piece.length
        if sequence.times_paused == 0:
            self._counters.prompt_tokens_cached += piece.length
        return True

    def _pin(self, sequence: Sequence, source: int, pin: Deadline) -> None:
        """Let a sequence id of its own hold the beginning of one that retires."""
        if not self._cuttable or pin.length > sequence.computed:
            return
        beginning = sequence.tokens[: pin.length]
        if self.pins.prolong(self.cache, beginning, sequence.owner, pin.until):
            return
        if not self.pins.make_room(pin):
            return
        seq_id = self._take_id(but=source)
        self.cache.fork(source, seq_id, pin.length)
        self._operations.append(Copy(source, seq_id, pin.length))
        self.pins.add(seq_id, pin, sequence.owner)
        self._spill.retire(seq_id, sequence, pin.length)

    def _can_be_taken(self, seq_id: int, length: int) -> bool:
        is_free = not self.cache.is_locked(seq_id) and seq_id not in self.pins
        return is_free and length == self.cache.length(seq_id)

    def _comes_again(self, sequence: Sequence, seq_id: int, length: int) -> bool:
        """Whether the same prompt was computed before and nothing behind it: its last token is
        computed again, so nothing is lost without it. Copying would look at every cell."""
        is_free = self._cuttable and seq_id not in self.pins
        return is_free and self.cache.can_shorten(seq_id, sequence.tokens, length)

    def _has_room(self, cells: int) -> bool:
        while self.free < cells:
            if not self.evict():
                return False
        return True

    @property
    def _is_crowded(self) -> bool:
        """Whether retired sequences slow others down, or hold so many ids that these run out."""
        idle = self.cache.cells - self.cache.cells_locked
        return idle > self._idle_cells or self.cache.retired > self._retired_comfortable

    @property
    def _has_to_save_beside(self) -> bool:
        return self._spill.can_save and (self._spill.reaches_disk or self._is_crowded)

    def _stands_at(self, save: Save) -> bool:
        is_there = self.cache.holds(save.seq_id)
        return is_there and self.cache.tokens(save.seq_id) == list(save.block.tokens)

    def _cost_factor(self, seq_id: int) -> float:
        return STORED_FACTOR if self._spill.is_stored(seq_id) else 1.0

    def _blocks_a_step(self, share: float) -> int:
        return 1 if self._pace is None else self._pace.blocks(share)

    def _take_blocks(self, count: int) -> None:
        """They take time from this step."""
        self._blocks_left -= count
        if self._pace is not None:
            self._pace.spend_on_blocks(count)

    def _take_id(self, but: int | None = None) -> int:
        if not self._free_ids:
            evicted = self.evict(but)
            assert evicted, "there are more ids than slots"
        return self._free_ids.pop()

    def _release(self, seq_id: int) -> None:
        self.pins.forget(seq_id)
        self._spill.forget(seq_id)
        self._operations.append(Remove(seq_id))
        self._free_ids.append(seq_id)
