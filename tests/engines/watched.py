"""A scheduler that is watched: nobody starves, nobody is served twice. Every step is checked."""

from collections import Counter
from collections.abc import Sequence as SequenceOf
from typing import Any

from antiphon.engines.llamacpp import turns
from antiphon.engines.llamacpp.pace import TOKENS_MIN
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.sequence import Sequence, Status
from antiphon.engines.llamacpp.step import Applied, Progress, Step


class Watched(Scheduler):
    """Counts for itself who was overtaken, admitted and ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.passed: Counter[Sequence] = Counter()  # how often, by later ones of the same owner
        self._once: dict[str, set[Sequence]] = {"admitted": set(), "ended": set()}

    def schedule(self, now: float = 0.0) -> Step:
        decoding = [sequence for sequence in self.running if turns.decodes(sequence)]
        before = self._moved()
        step = super().schedule(now)
        for sequence in step.late:
            assert sequence.is_late(now)
            assert sequence.status == Status.FINISHED
            self._note("ended", sequence)
        assert not any(s.is_late(now) for s in (*self.running, *self.paused, *self.waiting))
        given = {chunk.sequence: len(chunk.tokens) for chunk in step.chunks}
        assert len(given) == len(step.chunks), "one chunk each"
        for sequence in decoding:
            assert sequence in given or sequence.status != Status.RUNNING, "decode waits for nobody"
        self._check_prompts(given)
        for sequence in step.admitted:
            self._note("admitted", sequence)
        if len(self.running) < self._slots and self._moved() == before:
            found = self._next_in_turn(set())
            assert found is None or not self._fits(*found), "a slot and room, and nobody gets them"
        return step

    def take_in(self, step: Step, applied: Applied) -> None:
        super().take_in(step, applied)
        again = {sequence for sequence in self.paused if sequence.cached is None}
        assert all(sequence.num_generated == 0 for sequence in again)
        self._once["admitted"] -= again

    def update(self, step: Step, drawn: SequenceOf[SequenceOf[int]]) -> list[Progress]:
        progress = super().update(step, drawn)
        for each in progress:
            assert each.sequence not in self._once["ended"]
            if each.finish_reason is not None:
                self._note("ended", each.sequence)
        return progress

    def _moved(self) -> tuple[int, ...]:
        """What changes who fits after the admissions of a step."""
        counters = self.counters
        return counters.pauses, counters.evictions, counters.restored_tokens

    def _check_prompts(self, given: dict[Sequence, int]) -> None:
        """Prompts go on beside whatever decodes, and the oldest has its share. Those that stop for
        a snapshot make small steps."""
        prompts = [s for s in self.running if turns.is_prompt(s)]
        if any(self.room.next_snapshot(sequence) is not None for sequence in prompts):
            assert any(sequence in given for sequence in prompts)
            return
        if prompts:
            total = sum(given.get(sequence, 0) for sequence in prompts)
            assert total >= min(TOKENS_MIN, sum(sequence.num_pending for sequence in prompts))
            oldest = prompts[0]
            assert given[oldest] >= min(oldest.num_pending, total * turns.OLDEST_SHARE)

    def _start(self, sequence: Sequence, *rest: Any) -> None:
        if sequence.status == Status.WAITING:
            assert all(self._waits_for_a_prefix(paused) for paused in self.paused)
            self._check_owners(sequence)
            for other in self.waiting:
                is_passed = other.owner == sequence.owner and other.arrival < sequence.arrival
                if is_passed and not self._waits_for_a_prefix(other):
                    self.passed[other] += 1
                    assert self.passed[other] <= turns.OVERTAKEN_MAX
        super()._start(sequence, *rest)

    def _check_owners(self, sequence: Sequence) -> None:
        """Nobody else has fewer that run, or as many and has waited for longer."""
        runs = Counter(running.owner for running in self.running)
        first: dict[str, int] = {}
        for waiting in self.waiting:
            first.setdefault(waiting.owner, waiting.arrival)
        own = runs[sequence.owner], first[sequence.owner]
        for owner, arrival in first.items():
            if (runs[owner], arrival) < own:
                theirs = [waiting for waiting in self.waiting if waiting.owner == owner]
                assert all(map(self._waits_for_a_prefix, theirs))

    def _waits_for_a_prefix(self, sequence: Sequence) -> bool:
        return self._rides(sequence, self._match(sequence))

    def _note(self, what: str, sequence: Sequence) -> None:
        assert sequence not in self._once[what], f"{what} twice"
        self._once[what].add(sequence)

    def is_ended(self, sequence: Sequence) -> bool:
        """Whether its client has heard of its end."""
        return sequence in self._once["ended"]
