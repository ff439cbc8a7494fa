"""Identifiers look like the API's and repeat only when they should."""

import random
import re

from antiphon.ids import generator


def test_the_shape_is_the_apis() -> None:
    assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", generator()("msg"))


def test_two_are_never_equal() -> None:
    new_id = generator()

    assert len({new_id("req") for _ in range(1000)}) == 1000


def test_a_seed_repeats_them() -> None:
    first, second = (generator(random.Random(5)) for _ in range(2))

    assert [first("msg") for _ in range(3)] == [second("msg") for _ in range(3)]
