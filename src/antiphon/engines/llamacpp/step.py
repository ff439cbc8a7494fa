"""What the scheduler asks of the runner in one step, and what comes of it. Plain values."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import NamedTuple

from antiphon.engines.base import FinishReason
from antiphon.engines.llamacpp.blocks import Block
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.tiers import Tiers


@dataclass(frozen=True, slots=True)
class Copy:
    """Tag the first `length` cells of `source` with the empty sequence id `target` as well."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a sequence id off its cells, from position `start` on."""

    seq_id: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Save:
    """Store a block of a sequence's cells; it begins at `start`."""

    seq_id: int
    start: int
    block: Block


@dataclass(frozen=True, slots=True)
class Restore:
    """Put the first `length` tokens of a stored block into cells behind the first `start` tokens of
    a sequence."""

    seq_id: int
    start: int
    length: int
    block: Block
    data: bytes = field(repr=False)


type Operation = Copy | Remove | Save | Restore


class Part(NamedTuple):
    """What the cells of so many tokens hold."""

    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one sequence to compute, and whether the next token is drawn behind them. `parts`
    is what their cells hold, where they have been computed beside: they are only put there."""

    sequence: Sequence
    seq_id: int
    start: int
    tokens: SequenceOf[int]
    draws: bool
    parts: SequenceOf[Part] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows, behind how many tokens."""
        return len(self.tokens), self.start


@dataclass(frozen=True, slots=True)
class Transfer:
    """Copy what the cells of `source` hold from `start` to `end` behind the first `start` tokens of
    `target`, in the second context."""

    source: int
    target: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Prefill:
    """What the second context does next, in this order. All ids are its own, but for the sources of
    what is copied."""

    operations: list[Operation]
    transfers: list[Transfer]
    chunks: list[Chunk]
    padding: int = 0  # rows that are computed for nothing, see `padding.py`


@dataclass(slots=True)
class Step:
    """First the operations on the cache, in order, then one batch of all chunks."""

    operations: list[Operation] = field(default_factory=list)
    admitted: list[Sequence] = field(default_factory=list)  # for the first time
    corrected: list[Sequence] = field(default_factory=list)  # less was cached than was said
    chunks: list[Chunk] = field(default_factory=list)
    padding: int = 0  # rows that are computed for nothing, see `padding.py`
    late: list[Sequence] = field(default_factory=list)  # ended, since their time is over

    @property
    def num_tokens(self) -> int:
        return sum(len(chunk.tokens) for chunk in self.chunks)

    @property
    def computed(self) -> list[Chunk]:
        """What is not only put there."""
        return [chunk for chunk in self.chunks if not chunk.parts]


@dataclass(slots=True)
class Applied:
    """What came of operations on the cache."""

    saved: list[Save] = field(default_factory=list)
    refused: list[Save] = field(default_factory=list)  # since the disk is busy
    num_blocks: int = 0  # copied out of the cells or into them
    broken: set[int] = field(default_factory=set)  # ids that hold less than they should

    def takes(self, save: Save, tiers: Tiers) -> bool:
        """Whether a block is to be copied. Else it is refused, since it may follow one that was, or
        it is not worth it. Modifies what is refused."""
        if not tiers.takes_more or (self.refused and not tiers.whole):
            self.refused.append(save)
            return False
        return save.seq_id not in self.broken and tiers.wants(save.block, save.start)

    def store(self, save: Save, data: bytes, tiers: Tiers) -> None:
        """What was copied goes to the tiers. Modifies both."""
        self.num_blocks += 1
        if tiers.put(save.block, data):
            self.saved.append(save)
        elif tiers.fits(len(data)):
            self.refused.append(save)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step brought one sequence."""

    sequence: Sequence
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None


@dataclass(slots=True)
class Counters:
    """Since the start; only ever growing."""

    prompt_tokens_computed: int = 0
    prompt_tokens_cached: int = 0
    restored_tokens: int = 0  # from memory or disk
    saved_tokens: int = 0  # to memory or disk
    recomputed_tokens: int = 0  # prompt and answer of paused sequences, again
    generated_tokens: int = 0
    evictions: int = 0  # to make room
    departures: int = 0  # of sequences that lose nothing, so that they slow nobody down
    pauses: int = 0
    cancellations: int = 0
    timeouts: int = 0
    forced_tokens: int = 0  # generated without a draw, because a grammar left no choice
