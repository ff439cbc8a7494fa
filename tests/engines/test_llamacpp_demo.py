"""The shipped model, many at once: everyone gets the answer that they would get alone."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from importlib.resources import files
from pathlib import Path

import pytest

from antiphon.engines.base import FinishReason, Generation, SamplingParams
from antiphon.engines.llamacpp.engine import LlamaEngine
from tests.engines.tiny_model import Reference

MODEL = Path(str(files("antiphon"))) / "catalog" / "builtin" / "antiphon-demo.gguf"
QUESTIONS = ["Hello!", "What is a token?", "What is a transformer?", "Who are you?"]
TOLERANCE = 0.05  # of a logit; batches of another shape round differently


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaEngine]:
    engine = LlamaEngine.load(MODEL, slots=8, context=4096)
    yield engine
    engine._stop()


def chat(engine: LlamaEngine, question: str) -> list[int]:
    special = {token.text: token.id for token in engine.tokenizer.special_tokens}
    start, end = special["<|im_start|>"], special["<|im_end|>"]
    encode = engine.tokenizer.encode
    turn = [start, *encode(f"user\n{question}"), end, *encode("\n")]
    return [*turn, start, *encode("assistant\n")]


async def answer(engine: LlamaEngine, prompt: list[int]) -> tuple[list[int], FinishReason | None]:
    tokens: list[int] = []
    job = Generation(prompt, SamplingParams(temperature=0), 32_000)
    async with aclosing(engine.generate(job)) as chunks:
        async for chunk in chunks:
            tokens += chunk.token_ids
    return tokens, chunk.finish_reason


def test_what_is_known_about_it(engine: LlamaEngine) -> None:
    info = engine.info

    assert info.chat_template is not None
    assert info.context_len <= 4096
    assert info.details["flash attention"] == "on"
    assert "<|im_end|>" in [
        engine.tokenizer.token_bytes(t).decode() for t in info.end_of_generation
    ]


async def test_sixteen_at_once_in_4096_cells(engine: LlamaEngine) -> None:
    prompts = [chat(engine, QUESTIONS[n % 4] + " " * (n // 4)) for n in range(16)]

    answers = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))

    reference = Reference(MODEL)
    for prompt, (tokens, reason) in zip(prompts, answers, strict=True):
        assert reason in (FinishReason.STOP, FinishReason.CONTEXT)
        assert reference.worst_gap(prompt, tokens) < TOLERANCE
    reference.close()
    assert engine.metrics()["running"] == engine.metrics()["waiting"] == 0
