"""Steps learn what a token costs and stay within their time."""

import random

import pytest

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp.pace import (
    ALONE_TOKENS_MIN,
    FIRST_TOKENS,
    TOKENS_MIN,
    Pace,
)
from antiphon.engines.llamacpp.padding import TOGETHER
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.sequence import Sequence

STEP_S = 0.2
BESIDE = TOGETHER  # answers: what is taken together is taken from the prompt alone


def steps(pace: Pace, cost_s: float, number: int, *, most: int = 512) -> list[int]:
    """What the steps of a prompt take on a machine where a token takes `cost_s`."""
    sizes = []
    for _ in range(number):
        sizes.append(pace.tokens(most, beside=BESIDE))
        pace.observe([sizes[-1]], sizes[-1] * cost_s)
    return sizes


@pytest.mark.parametrize(("cost_s", "tokens"), [(0.01, 20), (0.001, 192), (0.00001, 512)])
def test_the_second_step_knows_what_the_first_one_cost(cost_s: float, tokens: int) -> None:
    """Of many tokens, whole multiples of those that are taken together."""
    taken = steps(Pace(STEP_S), cost_s, 4)
    assert taken[0] == FIRST_TOKENS
    assert taken[1:] == [pytest.approx(tokens, abs=8)] * 3
    assert taken[2:] == [pytest.approx(tokens, abs=1)] * 2


def in_a_long_context(tokens: int) -> float:
    """Seconds that a step takes where 64 tokens take no longer than 30 do."""
    together, alone = divmod(tokens, 64)
    return 0.02 + together * 64 * 0.003 + alone * 0.006


@pytest.mark.parametrize(("step_s", "tokens"), [(0.1, 13), (0.25, 64), (0.5, 128)])
def test_tokens_are_taken_together_where_a_step_is_long_enough(step_s: float, tokens: int) -> None:
    pace = Pace(step_s)
    sizes = []
    for _ in range(12):
        pace.observe([1], in_a_long_context(1))
        sizes.append(pace.tokens(512, beside=BESIDE))
        pace.observe([sizes[-1]], in_a_long_context(sizes[-1]))

    assert sizes[-1] == pytest.approx(tokens, abs=1)
    assert max(map(in_a_long_context, sizes)) <= 1.25 * step_s


def test_tokens_are_taken_together_again_when_that_takes_less() -> None:
    pace = Pace(STEP_S)
    steps(pace, 0.002, 4)
    assert steps(pace, 0.01, 20)[-1] < 64
    assert steps(pace, 0.002, 20)[-1] == 64


def stepping(pace: Pace, alone_s: float, number: int, *, noise: float = 0) -> list[int]:
    """Where each of 64 tokens that are taken together takes half as long as it would alone."""
    draw = random.Random(3)
    sizes = []
    for _ in range(number):
        sizes.append(pace.tokens(512, beside=BESIDE))
        together, alone = divmod(sizes[-1], 64)
        seconds = (32 * together + alone) * alone_s
        pace.observe([sizes[-1]], seconds * draw.uniform(1 - noise, 1 + noise))
    return sizes


def test_tokens_are_taken_together_again_when_one_takes_less() -> None:
    """Behind a long context they could not; 64 of a shorter one take as long as 32 do alone."""
    pace = Pace(STEP_S)
    assert stepping(pace, 0.005, 10)[-1] == 64
    assert stepping(pace, 0.012, 30)[-1] < 24
    assert stepping(pace, 0.005, 40)[-1] == 64


def test_tokens_that_take_as_long_together_are_rarely_tried() -> None:
    pace = Pace(STEP_S)
    draw = random.Random(4)
    sizes = []
    for _ in range(400):
        sizes.append(pace.tokens(512, beside=BESIDE))
        pace.observe([sizes[-1]], sizes[-1] * 0.006 * draw.uniform(0.9, 1.1))

    assert sizes.count(64) <= 4
    assert sorted(sizes)[200] == pytest.approx(33, abs=2)


@pytest.mark.parametrize(("alone_s", "tokens"), [(0.0075, 64), (0.0082, 24)])
def test_a_step_is_a_little_longer_where_that_is_enough_to_take_tokens_together(
    alone_s: float, tokens: int
) -> None:
    """64 of them take 0.24 s, or 0.26 of the 0.2 that a step has."""
    pace = Pace(STEP_S)
    stepping(pace, 0.005, 10)
    assert stepping(pace, alone_s, 40)[-1] == pytest.approx(tokens, abs=1)


def test_a_prompt_makes_up_what_is_taken_together_with_the_answers_beside_it() -> None:
    pace = Pace(STEP_S)
    stepping(pace, 0.001, 10)
    assert [pace.tokens(512, beside=number) for number in (1, 2, 64, 70)] == [383, 382, 384, 378]
    assert pace.tokens(62, beside=2) == 62
    assert pace.tokens(512, beside=40) == 344
    assert stepping(pace, 0.005, 10)[-1] == 64
    assert [pace.tokens(512, beside=number) for number in (1, 2, 64, 70)] == [63, 62, 64, 58]
    assert pace.tokens(512, beside=40) == 81, "not 24, which would make up a tile"


def test_what_is_left_of_a_prompt_is_not_taken_together_if_it_is_less() -> None:
    pace = Pace(STEP_S)
    assert stepping(pace, 0.005, 10)[-1] == 64
    assert pace.tokens(63, beside=BESIDE) == pytest.approx(40, abs=1)
    assert pace.tokens(30, beside=BESIDE) == 30


def test_it_is_where_few_are_filled_up() -> None:
    pace = Pace(STEP_S, fills_up=True)
    assert stepping(pace, 0.005, 10)[-1] == 64
    assert pace.tokens(63, beside=BESIDE) == 63
    assert pace.tokens(30, beside=BESIDE) == 30
    assert pace.tokens(512, beside=BESIDE) == 64


def test_what_every_step_costs_is_learned_apart() -> None:
    """A step takes 40 ms and 8 for each token: 20 of them fit into 200."""
    pace = Pace(STEP_S)
    for size in (1, 16, 20, 20, 20):
        pace.observe([size], 0.04 + 0.008 * (size - 1))

    assert pace.tokens(512, beside=BESIDE) == pytest.approx(20, abs=1)


def test_prompts_have_half_of_the_time_where_reading_the_weights_takes_all_of_it() -> None:
    pace = Pace(STEP_S)
    for size in (1, 16, 16, 16):
        pace.observe([size], 0.3 + 0.004 * size)

    assert pace.tokens(512, beside=BESIDE) >= 9


def test_blocks_take_their_time_from_prompts() -> None:
    pace = Pace(STEP_S)
    steps(pace, 0.001, 3)
    pace.observe_blocks(10, 0.1)
    pace.begin_step()
    pace.spend_on_blocks(4)
    assert pace.tokens(512, beside=BESIDE) == 128, "of 160"
    pace.spend_on_blocks(20)
    assert pace.tokens(512, beside=BESIDE) == 64, "of 100, half of a step at least"
    pace.begin_step()
    assert pace.tokens(512, beside=BESIDE) == 192, "of 200"


def test_a_turn_is_computed_at_once_while_nobody_waits_for_a_token() -> None:
    pace = Pace(STEP_S)
    assert pace.tokens(512, beside=0) == ALONE_TOKENS_MIN
    steps(pace, 0.05, 3)
    assert pace.tokens(512, beside=0) == ALONE_TOKENS_MIN
    assert pace.tokens(512, beside=BESIDE) == TOKENS_MIN


def test_a_step_may_take_twice_as_long_while_nobody_waits_for_a_token() -> None:
    pace = Pace(STEP_S)
    steps(pace, 0.001, 3)

    assert pace.tokens(512, beside=0) == 384


def test_a_step_that_was_filled_up_says_what_tokens_take_together() -> None:
    pace = Pace(STEP_S)
    pace.observe([1], 0.02)
    pace.observe([40], 0.02 + 0.064, padding=24)

    assert pace.tokens_in(1.0) == 1000


def test_a_prompt_goes_on_however_slow_the_machine_is() -> None:
    assert steps(Pace(STEP_S), 1.0, 3) == [FIRST_TOKENS, TOKENS_MIN, TOKENS_MIN]


def test_a_machine_that_gets_slower_is_followed_and_one_slow_step_is_not() -> None:
    pace = Pace(STEP_S)
    steps(pace, 0.001, 5)
    pace.observe([200], 0.6)  # something else ran
    assert pace.tokens(512, beside=BESIDE) == 64, "of 125"
    assert steps(pace, 0.01, 12)[-1] == pytest.approx(20, abs=2)


def test_decoding_says_nothing_about_prompts() -> None:
    pace = Pace(STEP_S)
    steps(pace, 0.001, 2)
    for _ in range(50):
        pace.observe([1] * 16, 0.05)

    assert pace.tokens(512, beside=BESIDE) == 128, "but what every step costs: of 165"


def test_a_batch_that_the_operator_made_larger_is_filled() -> None:
    """A GPU in simulated time: a step takes 8 ms and 80 µs for each token, so that 2,048 of them
    take 0.17 s. It has been decoding for 16 streams before, at 0.6 ms a token."""
    pace = Pace(STEP_S)
    pace.observe([1] * 16, 0.0093)
    scheduler = Scheduler(
        cells=32_768, sequence_ids=8, slots=2, context_len=32_768,
        end_of_generation=frozenset(), pace=pace, batch=2048,
    )  # fmt: skip
    long = Sequence.from_prompt([7] * 20_000, max_tokens=1, sampling=SamplingParams())
    scheduler.submit(long)
    sizes = []
    while long.num_generated == 0:
        step = scheduler.schedule()
        sizes.append(step.num_tokens)
        pace.observe([sizes[-1]], 0.008 + 0.000_08 * sizes[-1])
        scheduler.update(step, [[1] for chunk in step.chunks if chunk.draws])

    assert max(sizes) == 2048
    assert len(sizes) <= 14, "and soon: 10 steps would do if it were known from the start"


def test_a_long_prompt_beside_a_running_answer_keeps_its_steps_short() -> None:
    """In simulated time: the answer gets its token within the budget at every step."""
    draw = random.Random(1)
    pace = Pace(STEP_S)
    scheduler = Scheduler(
        cells=8192, sequence_ids=8, slots=2, context_len=8192,
        end_of_generation=frozenset(), pace=pace,
    )  # fmt: skip

    def prompt(length: int) -> list[int]:
        return [draw.randrange(100) for _ in range(length)]

    sampling = SamplingParams()
    scheduler.submit(Sequence.from_prompt(prompt(5), max_tokens=4000, sampling=sampling))
    scheduler.update(step := scheduler.schedule(), [[1] for c in step.chunks if c.draws])
    long = Sequence.from_prompt(prompt(4000), max_tokens=1, sampling=sampling)
    scheduler.submit(long)
    times = []
    while long.num_generated == 0:
        step = scheduler.schedule()
        times.append(step.num_tokens * 0.004 * draw.uniform(0.9, 1.1))
        pace.observe([len(chunk.tokens) for chunk in step.chunks], times[-1])
        scheduler.update(step, [[1] for chunk in step.chunks if chunk.draws])

    assert max(times[1:]) <= 1.5 * STEP_S
    assert sum(times) / len(times) >= 0.7 * STEP_S, "and no shorter than they need be"


def test_storing_waits_as_long_as_a_block_takes() -> None:
    pace = Pace(STEP_S)
    assert 0 < pace.quiet_s() <= 0.01
    pace.observe_blocks(2, 0.004)
    assert pace.quiet_s() == pytest.approx(0.002)
    pace.observe_blocks(1, 2.0)
    assert pace.quiet_s() == pytest.approx(0.05)


def test_a_brief_step_is_one_that_is_known_to_be() -> None:
    pace = Pace(STEP_S)
    assert not pace.is_brief(1)
    pace.observe([1], 0.001)
    assert not pace.is_brief(1), "what a token costs is not known yet"
    pace.observe([16], 0.001 + 16 * 0.0005)
    assert pace.is_brief(1)
    assert not pace.is_brief(16)


def test_a_step_takes_tokens_together_only_if_that_is_known_to_be_enough() -> None:
    pace = Pace(STEP_S)
    known = [pace.takes_together(1)]
    pace.observe_apart(64, 64 * 0.01)
    known.append(pace.takes_together(1))
    for _ in range(20):
        pace.observe_apart(64, 64 * 0.002)
    known.append(pace.takes_together(1))

    assert known == [False, False, True]


@pytest.mark.parametrize(("token_s", "tokens"), [(0.01, 64), (0.0015, 128), (0.0001, 512)])
def test_the_second_context_computes_a_steps_worth_at_a_time(token_s: float, tokens: int) -> None:
    pace = Pace(STEP_S)
    assert pace.tokens_apart() == 64
    pace.observe_apart(64, 64 * token_s)
    pace.observe_apart(63, 100)  # a rest says little
    assert pace.tokens_apart() == tokens


def test_it_computes_as_long_as_a_step_has_left_or_its_share_of_a_longer_one() -> None:
    pace = Pace(0.2)
    assert pace.rest_s(0.03, beside=True) == pytest.approx(0.17)
    assert pace.rest_s(0.08, beside=True) == pytest.approx(0.2 - 0.03 - 0.3 * 0.05), "on average"
    assert Pace(0.2).rest_s(0.06, beside=True) == pytest.approx(0.18), "three times as long"
    assert Pace(0.2).rest_s(0.1, beside=True) == pytest.approx(1.25 * 0.2 - 0.1)
    assert pace.rest_s(0.9, beside=True) == pytest.approx(0.1), "half of a step at least"
    assert pace.rest_s(0.5, beside=False) == pytest.approx(0.5), "half of the time"
