"""What the benches of the cache read out of what they see."""

import random
from itertools import islice

from bench.day import KINDS, visits
from bench.returning import Times
from bench.spilling import Sample, window
from bench.watching import Answer, at_least, at_most


def taken(*ram_bytes: int) -> list[Sample]:
    return [Sample(float(number), held) for number, held in enumerate(ram_bytes)]


def test_the_window_of_storing_begins_before_the_first_block_and_ends_with_the_last() -> None:
    seen = window(taken(0, 0, 0, 7, 14, 14, 21, 21, 21))

    assert [sample.ram_bytes for sample in seen] == [0, 7, 14, 14, 21]


def test_where_nothing_was_stored_there_is_no_window() -> None:
    assert window(taken(5, 5, 5)) == []


def test_the_time_to_first_text_is_that_of_the_whole_answer_where_there_is_none() -> None:
    assert Answer(begun=1.0, times=[3.0, 4.5], ended=9.0).first_s == 2.0
    assert Answer(begun=1.0, times=[3.0, 4.5], ended=9.0).gaps_s == [1.5]
    assert Answer(begun=1.0, ended=9.0).first_s == 8.0


def test_a_missed_bar_is_said() -> None:
    assert at_most(1.3, 1.2) == ("≤ 1.2", "missed")
    assert at_most(1.2, 1.2) == ("≤ 1.2", "reached")
    assert at_least(9.9, 10) == ("≥ 10", "missed")


def test_a_conversation_that_was_computed_again_is_named() -> None:
    whole = Times([10.0], [2000], [0], lost=1)
    memory = Times([1.0, 10.0], [40, 2000], [1984, 0], lost=1)

    assert memory.row("from memory", whole, 30)[0] == ("from memory (1 of 2 were computed again)")
    assert whole.row("computed", whole, None)[0] == "computed"


def test_a_day_is_the_same_for_the_same_seed_and_has_every_kind_of_visit() -> None:
    day = list(islice(visits(random.Random(1)), 200))

    assert day == list(islice(visits(random.Random(1)), 200))
    assert {visit.kind for visit in day} == set(KINDS)
