"""From what a request asks for to the links of a sampler chain. Pure; the runner builds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.engines.base import SamplingParams

# Every chain that draws begins with top_k. Without one, temperature alone costs 1.5 ms and top_p
# 13.5 ms a token at a vocabulary of 152,000, and the interpreter's lock is held meanwhile; with
# one it is 0.2 ms. No token beyond the first thousand is ever drawn on purpose.
TOP_K_UNLIMITED = 1000
TEMPERATURE_MIN = 1e-4  # below, dividing logits by it overflows 32 bits and noise is drawn
SEEDS = 0xFFFF_FFFF  # the seed 2**32 - 1 means "any" to llama.cpp, so it is never used


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain; `value` is the parameter that the name stands for."""

    name: Literal["greedy", "top_k", "top_p", "temp", "dist"]
    value: float = 0


def chain(params: SamplingParams, any_seed: int) -> list[Link]:
    """The links for `params`, in order; `any_seed` is used when the request names none.

    top_p cuts before the temperature flattens, as llama.cpp does it: a high temperature then
    varies among the likely tokens and does not let unlikely ones in.
    """
    if params.temperature < TEMPERATURE_MIN:
        return [Link("greedy")]
    links = [Link("top_k", min(params.top_k or TOP_K_UNLIMITED, TOP_K_UNLIMITED))]
    if params.top_p < 1:
        links.append(Link("top_p", params.top_p))
    links.append(Link("temp", params.temperature))
    seed = any_seed if params.seed is None else params.seed
    links.append(Link("dist", seed % SEEDS))
    return links


def model_defaults(metadata: Mapping[str, Any]) -> SamplingParams:
    """What a model file recommends (`general.sampling.*`), else what suits small models."""
    standard = SamplingParams()

    def number(key: str, default: float, low: float, high: float) -> float:
        value = metadata.get(f"general.sampling.{key}")
        usable = isinstance(value, int | float) and low <= value <= high
        return float(value) if usable and isinstance(value, int | float) else default

    return SamplingParams(
        temperature=round(number("temp", standard.temperature, 0, 2), 6),  # stored as float32
        top_k=int(number("top_k", standard.top_k, 0, 1 << 20)),
        top_p=round(number("top_p", standard.top_p, 0, 1), 6),
    )
