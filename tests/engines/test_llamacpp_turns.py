"""Whose turn it is: short prompts go first, and nobody starves of them."""

import random
from itertools import count

import pytest

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp import turns
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.turns import (
    OLDEST_SHARE,
    OVERTAKEN_MAX,
    PREFILL_TOKENS_ALONE,
    PREFILL_TOKENS_BESIDE,
    in_turn,
    share,
)
from tests.engines.watched import Watched

LONG, SHORT = 4000, 20


NUMBERS = count()


def sequence(length: int, max_tokens: int = 1, owner: str = "") -> Sequence:
    """A prompt that shares no beginning with any other."""
    prompt = [next(NUMBERS), *[7] * (length - 1)]
    return Sequence.from_prompt(
        prompt, max_tokens=max_tokens, sampling=SamplingParams(), owner=owner
    )


def continuation(of: Sequence) -> Sequence:
    """The same prompt, and a token more."""
    return Sequence.from_prompt([*of.tokens, 8], max_tokens=1, sampling=SamplingParams())


def waiting(*lengths: int, owners: str = "") -> list[Sequence]:
    """Sequences in order of arrival; `owners` has a letter for each."""
    queue = []
    for arrival, length in enumerate(lengths):
        queue.append(sequence(length, owner=owners[arrival : arrival + 1]))
        queue[-1].arrival, queue[-1].to_compute = arrival, length
    return queue


def order(queue: list[Sequence], running: list[Sequence] | None = None) -> list[int]:
    return [queue.index(each) for each in in_turn(queue, running or [])]


def new_scheduler(slots: int, cells: int = 40_000) -> Watched:
    return Watched(
        cells=cells, sequence_ids=2 * slots, slots=slots, context_len=5000,
        end_of_generation=frozenset(),
    )  # fmt: skip


def step(scheduler: Watched) -> tuple[list[Sequence], dict[Sequence, int]]:
    """Who was admitted, and how many tokens of whom were computed."""
    step = scheduler.schedule()
    scheduler.update(step, [[5] for chunk in step.chunks if chunk.draws])
    return step.admitted, {chunk.sequence: len(chunk.tokens) for chunk in step.chunks}


def test_short_ones_go_first_and_similar_ones_as_they_came() -> None:
    assert order(waiting(4000, 20, 300, 60, 3000, 260)) == [1, 3, 2, 5, 0, 4]


def test_nobody_is_overtaken_more_often_than_that() -> None:
    queue = waiting(4000, 2000, 20, 1000, 20)
    queue[1].overtaken = OVERTAKEN_MAX

    assert order(queue) == [1, 0, 2, 4, 3]


def test_owners_take_turns_and_short_ones_overtake_their_own_only() -> None:
    queue = waiting(4000, 4000, 20, 20, owners="abba")

    assert order(queue) == [3, 0, 2, 1]
    assert order(queue, running=waiting(10, owners="a")) == [2, 1, 3, 0]


def test_what_is_cached_does_not_count() -> None:
    scheduler = new_scheduler(slots=1)
    first = sequence(LONG, max_tokens=0)
    scheduler.submit(first)
    while scheduler.has_work:
        step(scheduler)
    medium = sequence(300)
    again = continuation(first)
    scheduler.submit(medium)
    scheduler.submit(again)

    assert (medium.to_compute, again.to_compute) == (300, 1)
    assert step(scheduler)[0] == [again]


def test_a_document_is_admitted_however_many_questions_come() -> None:
    scheduler = new_scheduler(slots=1)
    document = sequence(LONG)
    scheduler.submit(sequence(10))
    scheduler.submit(document)
    before = 0
    for _ in range(3 * OVERTAKEN_MAX):
        scheduler.submit(sequence(SHORT))
        admitted, _ = step(scheduler)
        if document in admitted:
            break
        before += len(admitted)

    assert document in admitted
    assert before == 1 + OVERTAKEN_MAX
    assert scheduler.passed[document] == OVERTAKEN_MAX


def test_a_question_beside_documents_is_answered_in_its_first_step() -> None:
    scheduler = new_scheduler(slots=4)
    for _ in range(3):
        scheduler.submit(sequence(LONG))
    step(scheduler)
    question = sequence(SHORT)
    scheduler.submit(question)

    _, computed = step(scheduler)

    assert computed[question] == SHORT
    assert question.num_generated == 1


def test_the_oldest_document_takes_twice_as_many_steps_as_alone_at_most() -> None:
    alone = -(-LONG // PREFILL_TOKENS_ALONE)
    scheduler = new_scheduler(slots=40)
    document = sequence(LONG)
    scheduler.submit(document)
    steps = 0
    while document.num_generated == 0:
        for _ in range(20):  # far more than the rest of the budget is enough for
            scheduler.submit(sequence(SHORT, max_tokens=0))
        step(scheduler)
        steps += 1

    assert alone < steps <= alone / OLDEST_SHARE


def test_a_document_goes_on_beside_streams_and_they_beside_it() -> None:
    """Together they are as many rows as llama.cpp takes together."""
    scheduler = new_scheduler(slots=8)
    streams = [sequence(SHORT, max_tokens=1000) for _ in range(7)]
    for stream in streams:
        scheduler.submit(stream)
    step(scheduler)
    document = sequence(LONG)
    scheduler.submit(document)

    _, computed = step(scheduler)

    assert computed == dict.fromkeys(streams, 1) | {document: PREFILL_TOKENS_BESIDE - 7}


def test_who_waits_for_a_prefix_holds_nobody_up_and_goes_first_when_it_is_there() -> None:
    scheduler = new_scheduler(slots=2)
    leader = sequence(LONG)
    rider = continuation(leader)
    scheduler.submit(leader)
    scheduler.submit(rider)
    others = 0
    while leader.num_generated == 0:
        scheduler.submit(sequence(SHORT, max_tokens=0))
        others += len(step(scheduler)[0])
    scheduler.submit(sequence(SHORT))
    admitted, _ = step(scheduler)

    assert others > OVERTAKEN_MAX
    assert admitted[0] == rider
    assert rider.cached == LONG


@pytest.mark.parametrize(
    ("budget", "left", "expected"),
    [
        (100, [], []),
        (100, [30], [30]),
        (100, [300], [100]),
        (100, [300, 20], [80, 20]),
        (100, [300, 200, 20], [50, 30, 20]),
        (100, [300, 400], [100, 0]),
        (100, [300, 40, 40, 40], [50, 40, 10, 0]),
        (1, [300, 5], [1, 0]),
    ],
)
def test_shares(budget: int, left: list[int], expected: list[int]) -> None:
    assert share(budget, left) == expected


def test_shares_of_anything() -> None:
    draw = random.Random(4)
    for _ in range(2000):
        budget = draw.randint(1, 600)
        left = [draw.randint(1, draw.choice([20, 4000])) for _ in range(draw.randint(1, 9))]
        shares = share(budget, left)

        assert sum(shares) == min(budget, sum(left)), "nothing is left idle"
        assert all(0 <= got <= wanted for got, wanted in zip(shares, left, strict=True))
        assert shares[0] >= min(left[0], budget * OLDEST_SHARE)
        others = sorted(zip(left[1:], shares[1:], strict=True), key=lambda other: other[0])
        rest = [got for wanted, got in others if got < wanted]
        assert not any(rest[1:]), "who has the fewest left is done first"


def test_a_thousand_that_ride_are_looked_at_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was compared with all others, time and again: that took 6 s a step."""
    scheduler = Scheduler(
        cells=9000, sequence_ids=8, slots=4, context_len=5000, end_of_generation=frozenset()
    )
    leader = sequence(LONG)
    scheduler.submit(leader)
    for _ in range(1000):
        scheduler.submit(continuation(leader))
    looked_at: list[Sequence] = []
    size = turns._size

    def looking(each: Sequence) -> int:
        looked_at.append(each)
        return size(each)

    monkeypatch.setattr(turns, "_size", looking)

    scheduler.schedule()

    assert len(looked_at) == 1001 + 1000, "before the first one runs, and after"
