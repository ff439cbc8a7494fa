"""From what a request asks for to the links of a sampler chain. Pure; the runner builds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from antiphon.engines.base import SamplingParams

# Every chain that draws begins with top_k. Without one, temperature alone costs 1.5 ms and top_p
# 13.5 ms a token at a vocabulary of 152,000, and the interpreter's lock is held meanwhile; with
# one it is 0.2 ms. No token beyond the first thousand is ever drawn on purpose.
TOP_K_UNLIMITED = 1000
TEMPERATURE_MIN = 1e-4  # below, dividing logits by it overflows 32 bits and noise is drawn
FAVOUR = 1000.0  # added to logits: what is not favoured has a probability of e^-1000, zero
# Taken off the logit of a rejected token. Not minus infinity: the native draw divides by what the
# first of a sorted support has, which may be the rejected one, and then takes the last of them all
# (tried, b11669). e^80 is the most that 32 bits hold for a thousand tokens.
DISFAVOUR = 80.0
SEEDS = 0xFFFF_FFFF  # the seed 2**32 - 1 means "any" to llama.cpp, so it is never used


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain; `value` is the parameter that the name stands for. A bias is added to
    the logits of `tokens`."""

    name: Literal["greedy", "top_k", "top_p", "temp", "dist", "bias"]
    value: float = 0
    tokens: tuple[int, ...] = ()


def chain(params: SamplingParams, any_seed: int) -> list[Link]:
    """The links for `params`, in order; `any_seed` is used when the request names none.

    top_p cuts before the temperature flattens, as llama.cpp does it: a high temperature then
    varies among the likely tokens and does not let unlikely ones in.
    """
    if params.temperature < TEMPERATURE_MIN:
        return [Link("greedy")]
    seed = any_seed if params.seed is None else params.seed
    return [*_support(params), Link("dist", seed % SEEDS)]


def _support(params: SamplingParams) -> list[Link]:
    """What cuts the unlikely off, and flattens the rest."""
    links = [Link("top_k", min(params.top_k or TOP_K_UNLIMITED, TOP_K_UNLIMITED))]
    if params.top_p < 1:
        links.append(Link("top_p", params.top_p))
    return [*links, Link("temp", params.temperature)]


# Drawing within a constraint: the first draw knows nothing of it and is checked. Only if it is not
# allowed is there another, so that a token costs no mask, which takes milliseconds.


def redraw(params: SamplingParams, rejected: Sequence[int], seed: int) -> list[Link]:
    """A chain over the same support without `rejected`.

    Drawing again and again, each time without what was rejected, ends at an allowed token with
    the probability that it has among the allowed ones of the support: cut first, mask then.
    """
    assert params.temperature >= TEMPERATURE_MIN, "greedy choices are masked at once"
    without = Link("bias", -DISFAVOUR, tuple(rejected))
    return [*_support(params), without, Link("dist", seed % SEEDS)]


def masked(
    params: SamplingParams, allowed: Sequence[int], vocab_size: int, seed: int
) -> list[Link]:
    """A chain over the allowed tokens of the whole vocabulary: the likeliest of them if greedy,
    and where the support held none of them."""
    if 2 * len(allowed) <= vocab_size:
        mask = Link("bias", FAVOUR, tuple(allowed))
    else:
        within = frozenset(allowed)
        others = tuple(token for token in range(vocab_size) if token not in within)
        mask = Link("bias", float("-inf"), others)
    if params.temperature < TEMPERATURE_MIN:
        return [mask, Link("greedy")]
    return [mask, Link("temp", params.temperature), Link("dist", seed % SEEDS)]


def seed_of(*parts: int) -> int:
    """An independent seed for each place and attempt."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % SEEDS


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
