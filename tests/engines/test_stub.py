"""The stub engine keeps every promise of the engine seam."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from antiphon.engines.base import Engine, FinishReason, Generation, SamplingParams, TokenKind
from antiphon.engines.stub import IM_END, ByteTokenizer, StubEngine
from antiphon.errors import GatewayTimeoutError, InvalidRequestError, OverloadedError

PROMPT = list(b"<user>Why is the sky blue?")


def job(
    prompt: Sequence[int] = PROMPT, max_tokens: int = 32_000, seed: int | None = None
) -> Generation:
    return Generation(prompt, SamplingParams(seed=seed), max_tokens)


async def run(engine: Engine, job: Generation) -> tuple[int, list[int], FinishReason]:
    """Tokens found in the cache, tokens generated, why it ended."""
    cached: int | None = None
    tokens: list[int] = []
    async with aclosing(engine.generate(job)) as chunks:
        async for chunk in chunks:
            if cached is None:
                assert chunk.cached is not None
                assert chunk.token_ids == ()
                cached = chunk.cached
            tokens += chunk.token_ids
    assert cached is not None
    assert chunk.finish_reason is not None
    return cached, tokens, chunk.finish_reason


def test_byte_tokens_round_trip() -> None:
    tokenizer = ByteTokenizer()
    text = "héllo <|im_end|>\n<think>"

    ids = tokenizer.encode(text)

    assert max(ids) < 256
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text


def test_special_tokens_have_their_text_and_kind() -> None:
    tokenizer = ByteTokenizer()

    for token in tokenizer.special_tokens:
        assert tokenizer.token_bytes(token.id) == token.text.encode()
    control = {t.text for t in tokenizer.special_tokens if t.kind == TokenKind.CONTROL}
    assert control == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    with pytest.raises(IndexError):
        tokenizer.token_bytes(10_000)


async def test_the_answer_depends_on_prompt_and_seed_only() -> None:
    first, second = StubEngine(), StubEngine(slots=1)

    assert (await run(first, job()))[1] == (await run(second, job()))[1]
    assert (await run(first, job(seed=1)))[1] == (await run(second, job(seed=1)))[1]
    assert (await run(first, job(seed=1)))[1] != (await run(first, job(seed=2)))[1]
    assert (await run(first, job()))[1] != (await run(first, job([*PROMPT, 33])))[1]


async def test_the_answer_ends_with_the_end_of_turn() -> None:
    _, tokens, reason = await run(StubEngine(), job())

    assert reason == FinishReason.STOP
    assert tokens[-1] == IM_END
    assert bytes(tokens[:-1]).decode().endswith(".")


async def test_max_tokens() -> None:
    assert (await run(StubEngine(), job(max_tokens=0)))[1:] == ([], FinishReason.LENGTH)
    whole = (await run(StubEngine(), job()))[1]
    assert (await run(StubEngine(), job(max_tokens=7)))[1:] == (whole[:7], FinishReason.LENGTH)


async def test_the_context_limit() -> None:
    engine = StubEngine(context_len=len(PROMPT) + 5)

    _, tokens, reason = await run(engine, job())
    assert (len(tokens), reason) == (5, FinishReason.CONTEXT)
    with pytest.raises(InvalidRequestError, match="prompt is too long: 31 tokens > 30 maximum"):
        await run(engine, job([1] * 31))


async def test_a_reply_is_given_word_for_word() -> None:
    engine = StubEngine(reply=lambda prompt: b"<think>hm</think>" + bytes(prompt[:3]))

    _, tokens, reason = await run(engine, job())

    assert tokens == [263, *b"hm", 264, *PROMPT[:3], IM_END]
    assert reason == FinishReason.STOP


async def test_the_next_turn_finds_the_first_in_the_cache() -> None:
    engine = StubEngine()

    cached, tokens, _ = await run(engine, job())
    assert cached == 0
    assert (await run(engine, job()))[0] == len(PROMPT) - 1  # the last token is computed anew
    follow_up = PROMPT + tokens + list(b"And at night?")
    assert (await run(engine, job(follow_up)))[0] == len(PROMPT) + len(tokens)
    assert engine.metrics()["prompt_tokens_computed"] == len(PROMPT) + 1 + 13


async def test_two_hundred_at_once_are_not_mixed_up() -> None:
    engine = StubEngine(slots=8, reply=lambda prompt: b"answer to " + bytes(prompt))
    prompts = [f"question {n}".encode() for n in range(200)]

    answers = await asyncio.gather(*(run(engine, job(list(prompt))) for prompt in prompts))

    for prompt, (_, tokens, reason) in zip(prompts, answers, strict=True):
        assert bytes(tokens[:-1]) == b"answer to " + prompt
        assert reason == FinishReason.STOP
    assert engine.metrics()["running"] == engine.metrics()["waiting"] == 0


async def test_closing_the_iterator_frees_the_slot() -> None:
    engine = StubEngine(slots=1)

    async with aclosing(engine.generate(job())) as chunks:
        async for chunk in chunks:
            if chunk.token_ids:
                break
        assert engine.metrics()["running"] == 1
    assert engine.metrics()["running"] == 0
    assert engine.metrics()["cancellations"] == 1
    assert (await run(engine, job()))[2] == FinishReason.STOP


async def test_a_waiting_request_can_leave() -> None:
    engine = StubEngine(slots=1)
    async with aclosing(engine.generate(job())) as chunks:
        await anext(chunks)
        waiting = asyncio.create_task(run(engine, job()))
        await asyncio.sleep(0)
        assert engine.metrics()["waiting"] == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert engine.metrics()["waiting"] == 0
    assert (await run(engine, job()))[2] == FinishReason.STOP


async def test_a_waiting_job_fails_when_its_time_is_over() -> None:
    engine = StubEngine(slots=1)
    async with aclosing(engine.generate(job())) as chunks:
        await anext(chunks)
        with pytest.raises(GatewayTimeoutError, match=r"not complete within 0\.01 s"):
            await run(engine, replace(job(), deadline_s=0.01))
        assert engine.metrics()["waiting"] == 0
    assert (await run(engine, replace(job(), deadline_s=600)))[2] == FinishReason.STOP


async def test_a_running_job_fails_when_its_time_is_over() -> None:
    engine = StubEngine(slots=1, context_len=2_000_000, reply=lambda prompt: b"on and " * 200_000)
    await run(engine, replace(job(max_tokens=100), deadline_s=600))
    with pytest.raises(GatewayTimeoutError):
        await run(engine, replace(job(max_tokens=10**6), deadline_s=0.1))

    assert engine.metrics()["generated_tokens"] > 101
    assert engine.metrics()["running"] == 0


async def test_a_full_queue_is_overloaded() -> None:
    engine = StubEngine(slots=1, waiting_max=1)
    async with aclosing(engine.generate(job())) as chunks:
        await anext(chunks)
        waiting = asyncio.create_task(run(engine, job()))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="Overloaded: too many requests are waiting"):
            await run(engine, job())
    assert (await waiting)[2] == FinishReason.STOP


async def test_close_fails_what_runs_and_what_waits() -> None:
    engine = StubEngine(slots=1)
    async with aclosing(engine.generate(job())) as chunks:
        await anext(chunks)
        waiting = [asyncio.create_task(run(engine, job())) for _ in range(3)]
        await asyncio.sleep(0)
        await engine.close()
        await engine.close()
        for task in waiting:
            with pytest.raises(OverloadedError, match="shutting down"):
                await task
        with pytest.raises(OverloadedError, match="shutting down"):
            await anext(chunks)
