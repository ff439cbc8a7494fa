"""What tests of the embedded engine ask it, and how they wait for it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from antiphon.engines.base import FinishReason, Generation, Pin, SamplingParams
from antiphon.engines.llamacpp.engine import LlamaEngine
from tests.engines.tiny_model import Reference

GREEDY = SamplingParams(temperature=0)
# Batches of another shape round differently: on this model, whose random weights amplify that, an
# answer of 2,000 tokens computed alone lies up to 0.15 below the greatest logit when it is computed
# in one batch. One missing token at the beginning makes it 1 to 9.
TOLERANCE = 0.5


class Answer(NamedTuple):
    cached: int
    tokens: list[int]
    finish_reason: FinishReason | None


def job(
    prompt: Sequence[int],
    max_tokens: int = 32_000,
    sampling: SamplingParams = GREEDY,
    pins: Sequence[Pin] = (),
) -> Generation:
    return Generation(prompt, sampling, max_tokens, pins=pins)


async def run(engine: LlamaEngine, job: Generation) -> Answer:
    """The whole answer, with what the engine said last of what was cached."""
    tokens: list[int] = []
    async with aclosing(engine.generate(job)) as chunks:
        first = await anext(chunks)
        assert first.token_ids == ()
        assert first.cached is not None
        cached = first.cached
        async for chunk in chunks:
            tokens += chunk.token_ids
            cached = cached if chunk.cached is None else chunk.cached
    return Answer(cached, tokens, chunk.finish_reason)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the engine's thread, which announces its own state."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def idle(engine: LlamaEngine) -> None:
    """Wait until all has been stored that should be."""
    await until(lambda: engine.metrics()["running"] == 0 and not engine._scheduler.has_chores)


async def converse(
    engine: LlamaEngine,
    reference: Reference,
    draw: random.Random,
    threads: list[list[int]],
    *,
    longest: int,
    pause: bool = True,
) -> None:
    """Let conversations go on, fork, begin anew, in any order and with pauses; every answer is one
    that a computation from scratch agrees with. Modifies the threads."""
    for _ in range(40):
        thread = draw.choice(threads)
        if draw.random() < 0.3:
            thread = [*thread[: draw.randint(1, len(thread))], *thread[:9]]
            threads[draw.randrange(len(threads))] = thread
        if len(thread) > longest:
            del thread[100:]
        answer = await run(engine, job(thread, draw.choice([5, 60])))
        assert reference.worst_gap(thread, answer.tokens) < TOLERANCE
        thread += answer.tokens
        if pause and draw.random() < 0.5:
            await idle(engine)
    assert engine.metrics()["failed_steps"] == 0


def text(engine: LlamaEngine, words: str) -> list[int]:
    return engine.tokenizer.encode(words)
