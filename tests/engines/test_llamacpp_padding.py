"""Batches of few rows are filled up, where llama.cpp computes more of them in less time."""

from pathlib import Path

import pytest

from antiphon.engines.llamacpp import gguf, placing
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.engines.llamacpp.padding import TOGETHER, Padding

SMALL = {"weights": 440_000_000, "keys": 114_688}  # in the shape of Qwen3 0.6B


@pytest.mark.parametrize(
    ("rows", "behind", "is_filled_up"),
    [  # as measured
        (40, 500, False), (48, 500, True), (20, 1500, False), (32, 1500, True),
        (12, 3000, False), (24, 3000, True), (63, 3000, True), (1, 30_000, False),
    ],
)  # fmt: skip
def test_few_rows_behind_many_tokens_are_filled_up(
    rows: int, behind: int, is_filled_up: bool
) -> None:
    added = Padding(**SMALL).rows([(rows, behind)], cells=100)

    assert added == (TOGETHER - rows if is_filled_up else 0)


def test_what_is_enough_is_not_filled_up() -> None:
    padding = Padding(**SMALL)
    assert padding.rows([(64, 3000)], cells=100) == 0
    assert padding.rows([(40, 3000), (93, 3000)], cells=100) == 0
    assert padding.rows([], cells=100) == 0


def test_nothing_is_added_that_has_no_cells() -> None:
    padding = Padding(**SMALL)
    assert padding.rows([(40, 3000)], cells=24) == 24
    assert padding.rows([(40, 3000)], cells=23) == 0


def test_answers_in_contexts_of_their_own_are_not_filled_up() -> None:
    """Taken together, each of their rows looks at the tokens of all of them."""
    assert Padding(**SMALL).rows([(1, 3000)] * 40, cells=100) == 0


def test_a_prompt_is_filled_up_with_the_answers_beside_it() -> None:
    assert Padding(**SMALL).rows([(1, 200), (1, 300), (30, 3000)], cells=100) == 32


def test_the_more_a_model_weighs_the_less_is_filled_up() -> None:
    heavy = Padding(weights=20 * SMALL["weights"], keys=SMALL["keys"])
    assert heavy.rows([(32, 3000)], cells=100) == 0
    assert heavy.rows([(56, 12_000)], cells=100) == 8


@pytest.mark.parametrize(
    ("name", "value", "is_filled_up"),
    [
        ("batch", 64, True),
        ("batch", 63, False),
        ("gpu_layers", -1, False),
        ("flash_attention", False, False),
        ("window", 64, False),
        ("cuttable", False, False),
    ],
)
def test_there_is_none_where_rows_are_not_taken_together(
    name: str, value: object, is_filled_up: bool, tiny_model: Path
) -> None:
    engine = LlamaEngine.load(tiny_model, slots=2, context=2048, threads=1)
    engine._stop()
    setattr(engine._runner, name, value)
    padding = placing.padding(gguf.read(tiny_model), engine._runner)

    assert (padding is not None) == is_filled_up
    if padding is not None:
        assert padding.rows([(40, 1500)], cells=100) == 24
