"""The embedded engine on a tiny random model: many at once, everyone right, nobody in the way."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.engines.base import FinishReason, Generation, SamplingParams, TokenChunk
from antiphon.engines.llamacpp import engine as llamacpp_engine
from antiphon.engines.llamacpp import scheduler
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.engines.llamacpp.step import Chunk
from antiphon.errors import (
    GatewayTimeoutError,
    InternalError,
    InvalidRequestError,
    OverloadedError,
)
from tests.engines.asking import TOLERANCE, Answer, job, run, text, until
from tests.engines.tiny_model import Reference, write_model, write_recurrent_model


async def drain(chunks: AsyncGenerator[TokenChunk]) -> None:
    async for _ in chunks:
        pass


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[LlamaEngine]:
    engine = LlamaEngine.load(tiny_model, slots=4, context=4096, threads=1, waiting_max=20)
    yield engine
    engine._stop()


@pytest.fixture
def decoded(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> list[list[Chunk]]:
    """The chunks of every step so far."""
    steps: list[list[Chunk]] = []
    decode = engine._runner.decode

    def recording(chunks: Sequence[Chunk], padding: int) -> list[int]:
        steps.append(list(chunks))
        return decode(chunks, padding)

    monkeypatch.setattr(engine._runner, "decode", recording)
    return steps


def test_info(engine: LlamaEngine) -> None:
    info = engine.info

    assert info.model_name == "tiny-random"
    assert (info.context_len, info.slots, info.vocab_size) == (4096, 4, 300)
    assert (info.eos_token, info.bos_token) == ("<|im_end|>", "<|endoftext|>")
    assert info.begin_id is None
    assert info.chat_template is not None
    assert info.details["flash attention"] == "on"
    assert info.details["context"] == "4096 of 8192 trained, as set"


async def test_greedy_answers_are_the_models_own(engine: LlamaEngine, reference: Reference) -> None:
    prompt = text(engine, "Where does the river go?")

    answer = await run(engine, job(prompt, 150))

    assert answer.cached == 0
    assert len(answer.tokens) == 150
    assert answer.finish_reason == FinishReason.LENGTH
    assert reference.worst_gap(prompt, answer.tokens) < TOLERANCE


async def test_the_first_chunk_leaves_before_the_prefill(
    engine: LlamaEngine, decoded: list[list[Chunk]]
) -> None:
    async with aclosing(engine.generate(job([65] * 3000, 1))) as chunks:
        assert (await anext(chunks)).cached == 0
        assert sum(len(chunk.tokens) for step in list(decoded) for chunk in step) < 3000


async def test_max_tokens_zero_fills_the_cache(engine: LlamaEngine) -> None:
    prompt = text(engine, "Remember this for later, please.")

    assert await run(engine, job(prompt, 0)) == Answer(0, [], FinishReason.LENGTH)
    assert (await run(engine, job(prompt, 1))).cached == len(prompt) - 1


async def test_a_conversation_computes_only_the_new_turn(
    engine: LlamaEngine, reference: Reference
) -> None:
    first = text(engine, "One, two, three.")
    answer = await run(engine, job(first, 50))
    second = [*first, *answer.tokens, *text(engine, " And further?")]

    follow_up = await run(engine, job(second, 50))
    other = [*first, *answer.tokens[:10], 7]
    branch = await run(engine, job(other, 50))

    # The last token was never computed: nothing had to be drawn behind it.
    assert follow_up.cached == len(first) + len(answer.tokens) - 1
    assert branch.cached == len(first) + 10
    assert reference.worst_gap(second, follow_up.tokens) < TOLERANCE
    assert reference.worst_gap(other, branch.tokens) < TOLERANCE


async def test_a_short_turn_of_a_long_conversation_is_computed_with_rows_of_nobody(
    engine: LlamaEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[int, int]] = []
    decode = engine._runner.decode

    def recording(chunks: Sequence[Chunk], padding: int) -> list[int]:
        batches.append((sum(len(chunk.tokens) for chunk in chunks), padding))
        return decode(chunks, padding)

    monkeypatch.setattr(engine._runner, "decode", recording)
    start = [(n * n) % 250 for n in range(3000)]
    await run(engine, job(start, 0))
    turn = [(n * 7) % 250 for n in range(40)]
    before = engine.metrics()["prompt_tokens_computed"]
    answer = await run(engine, job(start + turn, 20))

    assert answer.cached == 3000
    assert engine.metrics()["prompt_tokens_computed"] - before == 40
    assert (40, 24) in batches
    assert batches[-1] == (1, 0)
    assert reference.worst_gap(start + turn, answer.tokens) < TOLERANCE


async def test_requests_with_one_beginning_compute_it_once(
    engine: LlamaEngine, reference: Reference
) -> None:
    shared = text(engine, "A long instruction that everybody shares. " * 30)
    prompts = [[*shared, *text(engine, f"Question {n}")] for n in range(4)]

    answers = await asyncio.gather(*(run(engine, job(prompt, 20)) for prompt in prompts))

    own = sum(len(prompt) - len(shared) for prompt in prompts)
    assert engine.metrics()["prompt_tokens_computed"] <= len(shared) + own
    for prompt, answer in zip(prompts, answers, strict=True):
        assert reference.worst_gap(prompt, answer.tokens) < TOLERANCE


async def test_seeds(engine: LlamaEngine) -> None:
    prompt = text(engine, "Surprise me")

    def sampled(seed: int | None) -> Generation:
        return job(prompt, 30, SamplingParams(temperature=1.5, top_k=0, top_p=1, seed=seed))

    first, again, other = [(await run(engine, sampled(seed))).tokens for seed in (1, 1, 2)]
    free = [(await run(engine, sampled(None))).tokens for _ in range(2)]

    assert first == again != other
    assert free[0] != free[1]


async def test_sixteen_outgrow_the_cache_and_all_are_right(
    tiny_model: Path, reference: Reference
) -> None:
    engine = LlamaEngine.load(tiny_model, slots=16, context=4096, threads=1)
    prompts = [text(engine, f"hello number {n}") for n in range(16)]

    answers = await asyncio.gather(*(run(engine, job(prompt)) for prompt in prompts))
    await engine.close()

    for prompt, answer in zip(prompts, answers, strict=True):
        if answer.finish_reason == FinishReason.STOP:
            assert answer.tokens[-1] in engine.info.end_of_generation
        else:
            assert answer.finish_reason == FinishReason.CONTEXT
            assert len(prompt) + len(answer.tokens) == 4096
        assert reference.worst_gap(prompt, answer.tokens) < TOLERANCE
    assert sum(len(answer.tokens) for answer in answers) > 4096
    assert engine.metrics()["evictions"] > 0
    assert engine.metrics()["failed_steps"] == 0
    assert engine.metrics()["running"] == engine.metrics()["paused"] == 0


async def test_endless_answers_fill_the_context_one_after_the_other(tmp_path: Path) -> None:
    path = write_model(tmp_path / "endless.gguf", endless=True)
    reference = Reference(path)
    engine = LlamaEngine.load(path, slots=16, context=1024, threads=1)
    prompts = [text(engine, f"Tell me everything about {n}") for n in range(16)]

    answers = await asyncio.gather(*(run(engine, job(prompt)) for prompt in prompts))
    await engine.close()

    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.finish_reason == FinishReason.CONTEXT
        assert len(prompt) + len(answer.tokens) == 1024
        assert reference.worst_gap(prompt, answer.tokens) < TOLERANCE
    assert engine.metrics()["pauses"] > 0
    assert engine.metrics()["failed_steps"] == 0
    reference.close()


async def test_a_prompt_whose_client_has_left_is_there_when_it_comes_again(
    engine: LlamaEngine,
) -> None:
    prompt = [65] * 3500
    async with aclosing(engine.generate(job(prompt))) as chunks:
        await anext(chunks)
    await until(lambda: engine.metrics()["cancellations"] == 1)
    await until(lambda: engine.metrics()["running"] == 0)

    assert (await run(engine, job(prompt, 1))).cached == 3499


@pytest.mark.parametrize("tokens_before_leaving", [0, 5])
async def test_a_client_that_leaves_frees_its_slot_by_the_next_step(
    engine: LlamaEngine,
    decoded: list[list[Chunk]],
    tokens_before_leaving: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the middle of a prefill that is far from its end, and in the middle of an answer."""
    monkeypatch.setattr(scheduler, "ORPHAN_S", 0.0)
    prompt = [65] * 3500 if tokens_before_leaving == 0 else [65] * 10
    got = 0
    async with aclosing(engine.generate(job(prompt))) as chunks:
        await anext(chunks)
        while got < tokens_before_leaving:
            got += len((await anext(chunks)).token_ids)
    steps_when_leaving = len(decoded)

    await until(lambda: engine.metrics()["cancellations"] == 1)

    assert len(decoded) <= steps_when_leaving + 1  # the one that was being computed
    assert engine.metrics()["running"] == 0
    assert (await run(engine, job(prompt, 1))).cached > 0  # what was computed stays


async def test_a_waiting_client_can_leave(engine: LlamaEngine) -> None:
    running = [asyncio.create_task(run(engine, job([n + 1] * 20, 1500))) for n in range(4)]
    await until(lambda: engine.metrics()["running"] == 4)
    waiting = asyncio.create_task(run(engine, job([9, 9])))
    await until(lambda: engine.metrics()["waiting"] == 1)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await until(lambda: engine.metrics()["cancellations"] == 1)
    assert engine.metrics()["waiting"] == 0
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_waiting_job_fails_when_its_time_is_over(engine: LlamaEngine) -> None:
    running = [asyncio.create_task(run(engine, job([n + 1] * 20, 1500))) for n in range(4)]
    await until(lambda: engine.metrics()["running"] == 4)

    with pytest.raises(GatewayTimeoutError, match=r"not complete within 0\.01 s"):
        await run(engine, replace(job([9, 9]), deadline_s=0.01))

    assert engine.metrics()["timeouts"] == 1
    assert engine.metrics()["waiting"] == 0
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_running_job_fails_when_its_time_is_over_and_gives_what_it_has(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still until some tokens have come."""
    clock = [100.0]
    monkeypatch.setattr(llamacpp_engine, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    prompt, got = [65] * 10, 0
    async with aclosing(engine.generate(replace(job(prompt), deadline_s=5))) as chunks:
        while got < 5:
            got += len((await anext(chunks)).token_ids)
        clock[0] = 105.0
        with pytest.raises(GatewayTimeoutError, match="not complete within 5 s"):
            await drain(chunks)

    assert engine.metrics()["running"] == 0
    assert engine.metrics()["cancellations"] == 0
    assert (await run(engine, job(prompt, 1))).cached == len(prompt) - 1


async def test_limits(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="4096 tokens > 4095 maximum"):
        await run(engine, job([1] * 4096))
    goes_on = threading.Event()
    decode = engine._runner.decode
    monkeypatch.setattr(engine._runner, "decode", lambda *step: goes_on.wait(60) and decode(*step))
    crowd = [asyncio.create_task(run(engine, job([n + 1] * 9))) for n in range(24)]
    await until(lambda: engine._num_jobs == 24)

    with pytest.raises(OverloadedError, match="too many requests are waiting"):
        await run(engine, job([5]))

    goes_on.set()
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_slow_reader_gets_merged_chunks_and_holds_nobody_up(engine: LlamaEngine) -> None:
    async with aclosing(engine.generate(job([72, 73], 300))) as chunks:
        await anext(chunks)
        await until(lambda: engine.metrics()["running"] == 0)
        chunk = await anext(chunks)

    assert list(chunk.token_ids) == (await run(engine, job([72, 73], 300))).tokens
    assert chunk.finish_reason is not None


async def test_a_failed_step_fails_its_own_requests_only(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decode = engine._runner.decode

    def failing(chunks: Sequence[Chunk], padding: int) -> list[int]:
        if any(66 in chunk.tokens[:3] for chunk in chunks if chunk.start == 0):
            raise RuntimeError("injected")
        return decode(chunks, padding)

    monkeypatch.setattr(engine._runner, "decode", failing)
    before = await run(engine, job([65] * 50, 20))

    with (
        caplog.at_level(logging.ERROR, "antiphon.engine"),
        pytest.raises(InternalError, match="The engine failed"),
    ):
        await run(engine, job([66] * 50, 20))

    assert "injected" in caplog.text
    assert await run(engine, job([65] * 50, 20)) == Answer(49, *before[1:])
    assert engine.metrics()["failed_steps"] == 1


async def test_a_request_that_cannot_be_taken_in_fails_alone(
    engine: LlamaEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no token cannot be looked up among the blocks."""
    before = await run(engine, job([65] * 50, 20))

    with (
        caplog.at_level(logging.ERROR, "antiphon.engine"),
        pytest.raises(InternalError, match="The engine failed"),
    ):
        await run(engine, job([2**31] * 200, 20))

    assert "could not be taken in" in caplog.text
    assert await run(engine, job([65] * 50, 20)) == Answer(49, *before[1:])
    assert engine.metrics()["waiting"] == engine.metrics()["running"] == 0


async def test_who_reads_the_end_of_an_answer_finds_its_steps_counted(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    flush = engine._outbox.flush

    def flushing() -> None:
        for _, item in engine._outbox._items:
            if isinstance(item, TokenChunk) and item.finish_reason is not None:
                counted.append(engine.metrics()["steps"])
        flush()

    monkeypatch.setattr(engine._outbox, "flush", flushing)
    for number in range(3):
        await run(engine, job([65 + number] * 20, 1))

    assert counted == [1, 2, 3]


async def test_a_wrong_book_empties_the_cells_and_the_engine_goes_on(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await run(engine, job([65] * 50, 20))
    await until(lambda: not engine._scheduler.has_chores)
    with monkeypatch.context() as patch:
        patch.setattr(engine._scheduler, "update", _broken)
        with pytest.raises(InternalError):
            await run(engine, job([65] * 50, 20))

    assert engine.metrics()["cells_used"] == 0
    assert await run(engine, job([65] * 50, 20)) == Answer(49, *before[1:]), "from memory"


def _broken(*_: Any) -> Any:
    raise KeyError("injected")


async def test_a_dead_engine_says_so(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.problem() is None
    # A crash of the thread itself, which nothing in a step can cause.
    monkeypatch.setattr(engine, "_drain", _broken)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with contextlib.suppress(OverloadedError):  # its answer may have come before
        await run(engine, job(text(engine, "one"), 1))
    await until(lambda: engine.problem() is not None)

    with pytest.raises(OverloadedError):
        await run(engine, job(text(engine, "two"), 1))
    assert engine.problem() == "The engine has stopped: restart the server."


async def test_a_step_that_never_ends_is_a_problem(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_engine, "STUCK_S", -1.0)
    began = threading.Event()
    goes_on = threading.Event()

    def stuck(*_: Any) -> Any:
        began.set()
        goes_on.wait(60)
        raise RuntimeError("stuck no more")

    monkeypatch.setattr(engine._runner, "decode", stuck)
    asking = asyncio.create_task(run(engine, job(text(engine, "one"), 1)))
    await asyncio.to_thread(began.wait, 60)

    assert "has been computing one step for" in str(engine.problem())

    goes_on.set()
    with pytest.raises(InternalError):
        await asking


async def test_close_fails_what_runs_and_what_waits(engine: LlamaEngine) -> None:
    tasks = [asyncio.create_task(run(engine, job([n + 1] * 3000))) for n in range(6)]
    await until(lambda: engine.metrics()["running"] > 0)

    await engine.close()
    await engine.close()

    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, OverloadedError)
    with pytest.raises(OverloadedError, match="shutting down"):
        await run(engine, job([1]))


async def test_a_recurrent_model_is_continued_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_recurrent_model(tmp_path / "mamba.gguf")
    engine = LlamaEngine.load(path, slots=2, context=512, threads=1)
    fresh = LlamaEngine.load(path, slots=2, context=512, threads=1)
    first = text(engine, "the river flows")
    answer = await run(engine, job(first, 20))
    onward = [*first, *answer.tokens, *text(engine, " and on")]
    aside = [*first, *answer.tokens[:5], *text(engine, " and off")]

    for prompt, cached in ((aside, 0), (onward, len(first) + len(answer.tokens) - 1)):
        continued = await run(engine, job(prompt, 20))
        assert continued == Answer(cached, *(await run(fresh, job(prompt, 20)))[1:])

    together = await asyncio.gather(*(run(engine, job([n + 65] * 9)) for n in range(6)))
    assert {a.finish_reason for a in together} <= {FinishReason.STOP, FinishReason.CONTEXT}
    assert engine.metrics()["failed_steps"] == 0
    await engine.close()
    await fresh.close()


async def test_an_engine_serves_several_loops(engine: LlamaEngine) -> None:
    here = await run(engine, job([70] * 9, 30))

    there = await asyncio.to_thread(lambda: asyncio.run(run(engine, job([70] * 9, 30))))

    assert there.tokens == here.tokens
