"""Prompts that are computed beside the answers, in a second context. Pure.

On a CPU, llama.cpp takes 64 tokens of a prompt together or each one alone, at a multiple of the
cost, and 64 take longer than anybody who waits for a token should. A second context computes them
meanwhile, and stands still while a step of the answers is computed. What it has computed is copied
into the cells of the first, at a hundredth of the cost; before, what these hold of the prompt is
copied there. So all that is known stays in one place, and here is only what is being computed.
"""

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

from antiphon.engines.llamacpp import turns
from antiphon.engines.llamacpp.room import Room
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Chunk, Counters, Part, Prefill, Transfer

PROMPT_TOKENS_MIN = 64  # of all prompts: less than are taken together are as well off among answers
COPIED_TOKENS_MAX = 32  # for each one to compute: copying costs a fiftieth of what that saves


class Beside:
    """`cells` and `sequence_ids` are those of the second context; its cells are copied in parts of
    `part_tokens` at most."""

    def __init__(self, *, cells: int, sequence_ids: int, part_tokens: int) -> None:
        self.cells = cells
        self._ids_max = sequence_ids - 1
        self._part_tokens = part_tokens
        self.room = Room(
            cells=cells,
            sequence_ids=sequence_ids,
            slots=self._ids_max,
            cuttable=True,
            counters=Counters(),
            pace=None,
            tiers=None,
            idle_cells=None,
        )
        self._twins: dict[Sequence, Sequence] = {}  # as it is there, of each that is computed here
        self._computing: Prefill | None = None

    @property
    def is_busy(self) -> bool:
        """Whether `done` is to follow."""
        return self._computing is not None

    @property
    def has_work(self) -> bool:
        return self.is_busy or bool(self._twins)

    def add(self, prompts: SequenceOf[Sequence], *, needed: bool) -> None:
        """Take those over that are better off here, if it is needed or goes on anyway. Modifies the
        sequences."""
        left = sum(sequence.num_pending for sequence in prompts)
        if not (self._twins or (needed and left >= PROMPT_TOKENS_MIN)):
            return
        for sequence in prompts:
            if self._takes(sequence):
                self._twins[sequence] = self._twin(sequence)
                sequence.beside = True

    def leave(self, sequence: Sequence) -> None:
        """It goes on in the cells of the answers, or not at all. Modifies the sequence."""
        if sequence.beside:
            sequence.beside = False
            twin = self._twins.pop(sequence)
            if not self._is_computed(twin):
                self.room.retire(twin)

    def plan(self, tokens: int, transfers_max: int) -> Prefill | None:
        """What to do next, at most so much of it; None if that is nothing, or it is busy. `done`
        must follow."""
        if self.is_busy or not self._twins:
            return None
        while self.room.evict():  # whatever is in the cells slows down what is computed
            pass
        transfers = self._transfers(transfers_max)
        chunks = self._chunks(tokens)
        operations = self.room.end_step()
        if not (operations or transfers or chunks):
            return None
        self._computing = Prefill(operations, transfers, chunks)
        return self._computing

    def done(self, parts: Iterable[SequenceOf[Part]]) -> list[Chunk]:
        """It has come to its end, with so many parts for each of its chunks. What is to be put into
        the cells of the answers, of those who still want it."""
        assert self._computing is not None
        chunks, self._computing = self._computing.chunks, None
        sequences = {twin: sequence for sequence, twin in self._twins.items()}
        arrived = []
        for chunk, data in zip(chunks, parts, strict=True):
            twin, seq_id = chunk.sequence, chunk.seq_id
            self.room.cache.insert(seq_id, chunk.tokens)
            twin.computed += len(chunk.tokens)
            if (sequence := sequences.get(twin)) is None:
                self.room.retire(twin)
                continue
            assert sequence.seq_id is not None
            arrived.append(Chunk(sequence, sequence.seq_id, chunk.start, chunk.tokens, False, data))
        return arrived

    def _takes(self, sequence: Sequence) -> bool:
        """Whether there is room for all of it, and it is worth copying what is known of it."""
        taken = sum(len(other.tokens) for other in self._running())
        has_room = taken + len(sequence.tokens) <= self.cells
        has_id = len(self._running()) < self._ids_max
        to_compute = sequence.num_pending - 1
        is_worth = to_compute > 0 and sequence.computed <= COPIED_TOKENS_MAX * to_compute
        return has_room and has_id and is_worth

    def _running(self) -> list[Sequence]:
        """Those that hold cells, though perhaps nobody wants them any more."""
        computing = [] if self._computing is None else self._computing.chunks
        left = [c.sequence for c in computing if c.sequence not in self._twins.values()]
        return [*self._twins.values(), *left]

    def _is_computed(self, twin: Sequence) -> bool:
        chunks = [] if self._computing is None else self._computing.chunks
        return any(chunk.sequence is twin for chunk in chunks)

    def _twin(self, sequence: Sequence) -> Sequence:
        """The last token of the prompt is computed where the next one is drawn."""
        twin = Sequence.from_prompt(
            sequence.tokens[:-1], max_tokens=0, sampling=sequence.sampling, owner=sequence.owner
        )
        known = twin.tokens[: sequence.computed]
        self.room.start(twin, self.room.cache.match(known, twin.owner))
        return twin

    def _transfers(self, most: int) -> list[Transfer]:
        transfers: list[Transfer] = []
        for sequence, twin in self._twins.items():
            while twin.computed < sequence.computed and len(transfers) < most:
                start = twin.computed
                end = min(sequence.computed, start + self._part_tokens)
                assert sequence.seq_id is not None
                assert twin.seq_id is not None
                transfers.append(Transfer(sequence.seq_id, twin.seq_id, start, end))
                self.room.cache.insert(twin.seq_id, twin.tokens[start:end])
                twin.computed = end
        return transfers

    def _chunks(self, tokens: int) -> list[Chunk]:
        """Shared like a step, but for those whose beginning is not there yet."""
        in_turn = sorted(self._twins.items(), key=lambda both: both[0].arrival)
        ready = [twin for sequence, twin in in_turn if twin.computed >= sequence.computed]
        shares = turns.share(tokens, [twin.num_pending for twin in ready])
        chunks = []
        for twin, length in zip(ready, shares, strict=True):
            if length:
                assert twin.seq_id is not None
                end = twin.computed + length
                run = twin.tokens[twin.computed : end]
                chunks.append(Chunk(twin, twin.seq_id, twin.computed, run, False))
        return chunks
