"""Answers within a constraint, on the tiny model: what is drawn, how often, and what it costs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from antiphon.engines.base import Constraint, FinishReason, Generation, SamplingParams
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.errors import ConstraintError, InternalError
from antiphon.grammar.matcher import Vocabulary

DRAWS = 1500
SIGMAS = 4.5  # of the binomial: one in 100,000 by chance, and the seeds are fixed


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine.load(tiny_model, slots=8, context=4096, threads=1, waiting_max=4000)
    yield engine
    engine._stop()


class OneOf:
    """Allows a set of tokens at the first place, and anything behind it."""

    def __init__(self, tokens: frozenset[int]) -> None:
        self._tokens = tokens
        self.masks = 0

    def allows(self, token_id: int) -> bool:
        return token_id in self._tokens

    def allowed(self) -> list[int]:
        self.masks += 1
        return sorted(self._tokens)

    def forced(self) -> list[int]:
        return []

    def advance(self, token_ids: Sequence[int]) -> None:
        pass


async def answer(
    engine: LlamaEngine,
    constraint: Constraint | None,
    *,
    seed: int = 0,
    max_tokens: int = 1,
    temperature: float = 1.5,
    top_k: int = 10,
    top_p: float = 0.95,
) -> tuple[list[int], FinishReason | None, int]:
    """Tokens, how it ended, and in how many chunks."""
    sampling = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    prompt = engine.tokenizer.encode("the river keeps the song")
    job = Generation(prompt, sampling, max_tokens, constraint)
    tokens: list[int] = []
    num_chunks, reason = -1, None
    async with aclosing(engine.generate(job)) as chunks:
        async for chunk in chunks:
            tokens += chunk.token_ids
            num_chunks += 1
            reason = chunk.finish_reason
    return tokens, reason, num_chunks


async def frequencies(engine: LlamaEngine, allowed: frozenset[int] | None) -> Counter[int]:
    found: Counter[int] = Counter()
    for seed in range(DRAWS):
        tokens, _, _ = await answer(engine, OneOf(allowed) if allowed else None, seed=seed)
        found[tokens[0]] += 1
    return found


async def test_draws_within_a_constraint_have_the_distribution_of_cut_first_mask_then(
    engine: LlamaEngine,
) -> None:
    free = await frequencies(engine, None)
    support = [token for token, _ in free.most_common()]
    assert len(support) > 4
    allowed = frozenset(support[1::2])  # without the likeliest one
    held = await frequencies(engine, allowed | {max(support) + 1})  # and one beyond the support

    assert set(held) <= allowed
    total = sum(free[token] for token in allowed)
    for token in allowed:
        share = free[token] / total
        sigma = (DRAWS * share * (1 - share) * (1 + DRAWS / total)) ** 0.5
        assert abs(held[token] - DRAWS * share) < SIGMAS * sigma + 1


async def test_a_support_without_any_allowed_token_is_no_obstacle(engine: LlamaEngine) -> None:
    likely = set(await frequencies(engine, None))
    unlikely = frozenset(range(engine.info.vocab_size)) - likely
    few = frozenset(sorted(unlikely)[10:13])
    for allowed in (few, unlikely):
        constraint = OneOf(allowed)
        tokens, _, _ = await answer(engine, constraint)

        assert tokens[0] in allowed
        assert constraint.masks == 1


async def test_greedy_takes_the_likeliest_of_what_is_allowed(engine: LlamaEngine) -> None:
    (best,), _, _ = await answer(engine, None, temperature=0)
    others = frozenset(range(engine.info.vocab_size)) - {best}
    (second,), _, _ = await answer(engine, OneOf(others), temperature=0)
    few = frozenset({second, *sorted(others)[5:9]})

    assert await answer(engine, OneOf(few), temperature=0) == ([second], FinishReason.LENGTH, 1)


async def test_what_is_allowed_costs_no_mask(engine: LlamaEngine) -> None:
    constraint = OneOf(frozenset(range(engine.info.vocab_size)))
    await answer(engine, constraint, max_tokens=20)

    assert constraint.masks == 0


def vocabulary(engine: LlamaEngine) -> Vocabulary:
    return Vocabulary(engine.tokenizer, engine.info.vocab_size, engine.info.end_of_generation)


async def test_forced_tokens_come_together_and_the_end_is_forced_too(engine: LlamaEngine) -> None:
    text = "the song of the river"
    matcher = vocabulary(engine).compile(f'start: "{text}"')
    before = engine.metrics()["forced_tokens"]
    tokens, reason, num_chunks = await answer(engine, matcher, max_tokens=100)

    written = b"".join(engine.tokenizer.token_bytes(token) for token in tokens[:-1])
    assert written.decode() == text
    assert tokens[-1] in engine.info.end_of_generation
    assert reason == FinishReason.STOP
    assert num_chunks == 1
    assert engine.metrics()["forced_tokens"] - before == len(tokens) - 1


async def test_an_answer_is_cut_within_forced_tokens_where_it_has_to_be(
    engine: LlamaEngine,
) -> None:
    matcher = vocabulary(engine).compile('start: "the song of the river and the garden"')
    tokens, reason, _ = await answer(engine, matcher, max_tokens=5)

    assert len(tokens) == 5
    assert reason == FinishReason.LENGTH


class Breaking(OneOf):
    def advance(self, token_ids: Sequence[int]) -> None:
        raise ConstraintError("too complex")


async def test_a_grammar_that_cannot_go_on_fails_its_own_answer_only(engine: LlamaEngine) -> None:
    everything = frozenset(range(engine.info.vocab_size))
    with pytest.raises(InternalError):
        await answer(engine, Breaking(everything))

    tokens, reason, _ = await answer(engine, OneOf(everything), max_tokens=3)
    assert (len(tokens), reason) == (3, FinishReason.LENGTH)
    assert engine.metrics()["running"] == 0
