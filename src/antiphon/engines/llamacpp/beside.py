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
from antiphon.engines.llamacpp.padding import Padding
from antiphon.engines.llamacpp.radix_cache import Match, common_prefix
from antiphon.engines.llamacpp.room import Room
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Chunk, Counters, Part, Prefill, Transfer

SHORT_TOKENS = 32  # a prompt of less is computed sooner among the answers than behind 64 of others
# For each one to compute, of what is known: copying costs a hundredth of computing, and among the
# answers that costs two to three times as much.
COPIED_TOKENS_MAX = 128


class Beside:
    """`cells` and `sequence_ids` are those of the second context; its cells are copied in parts of
    `part_tokens` at most."""

    def __init__(
        self, *, cells: int, sequence_ids: int, part_tokens: int, padding: Padding | None = None
    ) -> None:
        self.cells = cells
        self._padding = padding
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
        self._joining: list[Sequence] = []  # have none yet
        self._computing: Prefill | None = None

    @property
    def is_busy(self) -> bool:
        """Whether `done` is to follow."""
        return self._computing is not None

    @property
    def has_work(self) -> bool:
        return self.is_busy or bool(self._twins or self._joining)

    def add(self, prompts: SequenceOf[Sequence], *, needed: bool) -> None:
        """Take those over that are better off here, if it is needed or goes on anyway. Modifies the
        sequences."""
        if not (needed or self._twins or self._joining):
            return
        fitting = self._fitting(prompts)
        for group in (fitting, *([one] for one in fitting)):
            if self._is_worth(group):
                for sequence in group:
                    sequence.beside = True
                self._joining += group
                return

    def leave(self, sequence: Sequence) -> None:
        """It goes on in the cells of the answers, or not at all. Modifies the sequence."""
        if not sequence.beside:
            return
        sequence.beside = False
        if sequence in self._joining:
            self._joining.remove(sequence)
        else:
            twin = self._twins.pop(sequence)
            if not self._is_computed(twin):
                self.room.retire(twin)

    def plan(self, tokens: int, transfers_max: int) -> Prefill | None:
        """What to do next, at most so much of it; None if that is nothing, or it is busy. `done`
        must follow."""
        if self.is_busy or not self.has_work:
            return None
        self._join()
        while self.room.evict():  # whatever is in the cells slows down what is computed
            pass
        transfers = self._transfers(transfers_max)
        chunks = self._chunks(tokens)
        operations = self.room.end_step()
        if not (operations or transfers or chunks):
            return None
        padding = 0
        if self._padding is not None:
            free = self.room.free - sum(len(chunk.tokens) for chunk in chunks)
            padding = self._padding.rows([chunk.shape for chunk in chunks], free)
        self._computing = Prefill(operations, transfers, chunks, padding)
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

    def _fitting(self, prompts: Iterable[Sequence]) -> list[Sequence]:
        """For which there seems to be room beside the others. If one of these leaves that they
        begin alike with, they wait."""
        others = [*self._twins, *self._joining]
        cells = self.cells - self.room.cache.cells_locked
        cells -= sum(twin.num_pending for twin in self._twins.values())
        cells -= sum(len(other.tokens) for other in self._joining)
        fitting: list[Sequence] = []
        for sequence in prompts:
            if _to_compute(sequence) < SHORT_TOKENS or len(others) >= self._ids_max - 1:
                continue
            needed = len(sequence.tokens) - self._shared(sequence, others)
            if len(sequence.tokens) <= self.cells and needed <= cells:
                fitting.append(sequence)
                others.append(sequence)
                cells -= needed
        return fitting

    def _is_worth(self, group: SequenceOf[Sequence]) -> bool:
        """Whether copying what is known of them is, to compute the rest here."""
        others = [*self._twins, *self._joining]
        to_copy = 0
        for sequence in group:
            to_copy += sequence.computed - self._shared(sequence, others)
            others.append(sequence)
        return bool(group) and to_copy <= COPIED_TOKENS_MAX * sum(map(_to_compute, group))

    def _shared(self, sequence: Sequence, others: Iterable[Sequence]) -> int:
        """How much of what is known of it is here, or is going to be for others."""
        owned = (other for other in others if other.owner == sequence.owner)
        shared = (common_prefix(other.tokens, sequence.tokens, 0) for other in owned)
        return min(sequence.computed, max(self._match(sequence).length, *shared, 0))

    def _match(self, sequence: Sequence) -> Match:
        """What of its known tokens is here."""
        return self.room.cache.match(sequence.tokens[: sequence.computed], sequence.owner)

    def _join(self) -> None:
        """Those who begin like one whose beginning is still being copied wait for that, and who has
        no room waits for the others."""
        for sequence in list(self._joining):
            match = self._match(sequence)
            copied = [
                other for other, twin in self._twins.items() if twin.computed < other.computed
            ]
            if self._shared(sequence, copied) > match.length or not self._has_room(sequence, match):
                continue
            self._joining.remove(sequence)
            twin = Sequence.from_prompt(
                sequence.tokens[:-1], max_tokens=0, sampling=sequence.sampling, owner=sequence.owner
            )  # the last token is computed where the next one is drawn
            self._twins[sequence] = twin
            self.room.start(twin, match)

    def _has_room(self, sequence: Sequence, match: Match) -> bool:
        """Always for the first one."""
        cells = self.room.cells_locked_with(sequence, match)
        cells += sum(twin.num_pending for twin in self._twins.values())
        return cells <= self.cells and len(self._twins) < self._ids_max

    def _is_computed(self, twin: Sequence) -> bool:
        chunks = [] if self._computing is None else self._computing.chunks
        return any(chunk.sequence is twin for chunk in chunks)

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


def _to_compute(sequence: Sequence) -> int:
    return sequence.num_pending - 1
