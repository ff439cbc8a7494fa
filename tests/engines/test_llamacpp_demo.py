"""The shipped model, many at once: everyone gets the answer that they would get alone."""

import asyncio
from collections import Counter
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


async def test_forks_pauses_and_returns_from_memory_and_disk_change_no_answer(
    tmp_path: Path,
) -> None:
    """Conversations in too few cells, three at a time, turn by turn; the server restarts between.
    Every token is judged by a computation from scratch."""

    def load() -> LlamaEngine:
        return LlamaEngine.load(
            MODEL, slots=3, context=768, ram_bytes=1 << 20, disk_folder=tmp_path
        )

    reference, few, counts = Reference(MODEL), load(), Counter[str]()
    threads = [chat(few, f"{question} Tell me more.") for question in QUESTIONS]
    threads += [[*threads[0][:9], *threads[1][9:]], [*threads[2]]]
    for turn in range(3):
        for first in range(0, len(threads), 3):
            group = threads[first : first + 3]
            answers = await asyncio.gather(*(answer(few, prompt) for prompt in group))
            for thread, (tokens, _) in zip(group, answers, strict=True):
                assert reference.worst_gap(thread, tokens) < TOLERANCE
                thread += [*tokens[:150], *chat(few, f"And then, {turn}?")]
                del thread[:-700]
        counts.update(few.metrics())
        if turn < 2:
            await few.close()
            few = load()
    await few.close()
    reference.close()

    assert counts["failed_steps"] == 0
    assert counts["restored_tokens"] > 0
