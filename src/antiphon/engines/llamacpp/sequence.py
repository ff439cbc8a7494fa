"""One generation as the scheduler sees it: tokens known, tokens computed, and where it stands."""

from collections.abc import Container
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from antiphon.engines.base import FinishReason, SamplingParams
from antiphon.engines.llamacpp.blocks import Block, Piece
from antiphon.engines.llamacpp.pins import Deadline


class Status(StrEnum):
    WAITING = "waiting"  # never ran yet
    RUNNING = "running"  # holds a slot, a sequence id and cells
    PAUSED = "paused"  # gave its slot and its cells up; goes on where it stopped
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and what was generated behind it. Compared by identity.

    `computed` tokens have cells in the cache. The last token of `tokens` is never computed
    before a token is drawn behind it: its logits are what the draw needs. A paused sequence
    therefore resumes as if its answer so far were part of its prompt, with no gap and no repeat.
    """

    prompt_len: int
    tokens: list[int]  # prompt, then generated
    max_tokens: int
    sampling: SamplingParams
    status: Status = Status.WAITING
    arrival: int = -1  # order of submission: the youngest is paused first
    seq_id: int | None = None  # the native sequence, while running
    computed: int = 0
    resumed_at: int = 0  # len(tokens) at the last admission
    to_compute: int = 0  # prompt tokens that were not in the cells at submission
    overtaken: int = 0  # times, while waiting
    cached: int | None = None  # prompt tokens found in the cache at the first admission
    times_paused: int = 0
    finish_reason: FinishReason | None = None
    pins: SequenceOf[Deadline] = ()
    owner: str = ""  # whose prefixes it may share
    submitted: float = 0.0  # in seconds of the clock
    time_s: float = inf  # that it may take from then on
    chain: list[Block] = field(default_factory=list)  # whole blocks of `tokens`, as far as known
    restoring: list[Piece] = field(default_factory=list)  # what comes back, from `computed` on
    beside: bool = False  # its prompt is computed in the second context

    @classmethod
    def from_prompt(
        cls,
        prompt: SequenceOf[int],
        *,
        max_tokens: int,
        sampling: SamplingParams,
        pins: SequenceOf[Deadline] = (),
        owner: str = "",
        submitted: float = 0.0,
        time_s: float = inf,
    ) -> "Sequence":
        return cls(
            len(prompt),
            list(prompt),
            max_tokens,
            sampling,
            pins=pins,
            owner=owner,
            submitted=submitted,
            time_s=time_s,
        )

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.prompt_len

    @property
    def num_pending(self) -> int:
        """Tokens to compute before the next one can be drawn; 1 while decoding."""
        return len(self.tokens) - self.computed

    def is_late(self, now: float) -> bool:
        return now >= self.submitted + self.time_s

    def tokens_left(self, context_len: int) -> int:
        """That it may still generate."""
        return min(self.max_tokens - self.num_generated, context_len - len(self.tokens))

    def append(
        self, tokens: SequenceOf[int], ends: Container[int], context_len: int
    ) -> tuple[int, ...]:
        """Add drawn tokens up to the one that ends it; return those that were added. None were
        drawn while its prompt is computed."""
        if not tokens:
            self.finish_reason = self._end_at(None, ends, context_len)
        before = len(self.tokens)
        for token in tokens:
            self.tokens.append(token)
            self.finish_reason = self._end_at(token, ends, context_len)
            if self.finish_reason is not None:
                break
        return tuple(self.tokens[before:])

    def _end_at(
        self, token: int | None, ends: Container[int], context_len: int
    ) -> FinishReason | None:
        if token is None:  # which is the end if the prompt is all that was asked for
            only_prompt = self.max_tokens == 0 and self.num_pending == 0
            return FinishReason.LENGTH if only_prompt else None
        if token in ends:
            return FinishReason.STOP
        if self.num_generated == self.max_tokens:
            return FinishReason.LENGTH
        return FinishReason.CONTEXT if len(self.tokens) == context_len else None
