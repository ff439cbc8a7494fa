"""From sampling parameters to a chain."""

import pytest

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp.sampler import SEEDS, TOP_K_UNLIMITED, Link, chain, model_defaults


def test_temperature_zero_is_greedy() -> None:
    assert chain(SamplingParams(temperature=0, seed=3), any_seed=1) == [Link("greedy")]


def test_the_order_of_the_links() -> None:
    assert chain(SamplingParams(0.8, 20, 0.9, 5), any_seed=1) == [
        Link("top_k", 20),
        Link("top_p", 0.9),
        Link("temp", 0.8),
        Link("dist", 5),
    ]


def test_every_chain_that_draws_begins_with_top_k() -> None:
    assert chain(SamplingParams(1, 0, 1), any_seed=7) == [
        Link("top_k", TOP_K_UNLIMITED),
        Link("temp", 1),
        Link("dist", 7),
    ]


def test_seeds_stay_in_range() -> None:
    assert chain(SamplingParams(seed=SEEDS), any_seed=1)[-1].value == 0
    assert chain(SamplingParams(seed=-1), any_seed=1)[-1].value == SEEDS - 1


def test_defaults_of_the_model_file() -> None:
    assert model_defaults({}) == SamplingParams(0.7, 40, 0.95)
    wanted = {
        "general.sampling.temp": 0.6000000238418579,
        "general.sampling.top_k": 20,
        "general.sampling.top_p": 0.8999999761581421,
    }
    assert model_defaults(wanted) == SamplingParams(0.6, 20, 0.9)
    assert model_defaults({"general.sampling.temp": "hot"}) == SamplingParams()
    assert model_defaults({"general.sampling.temp": float("nan")}) == SamplingParams()


@pytest.mark.parametrize("top_k", [1001, 2**31, 10**30])
def test_a_top_k_beyond_the_limit_is_the_limit(top_k: int) -> None:
    assert chain(SamplingParams(1, top_k, 1), any_seed=7)[0] == Link("top_k", TOP_K_UNLIMITED)


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-40])
def test_a_temperature_too_small_to_divide_by_is_greedy(temperature: float) -> None:
    assert chain(SamplingParams(temperature), any_seed=7) == [Link("greedy")]
