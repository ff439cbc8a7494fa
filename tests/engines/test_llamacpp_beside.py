"""Prompts that are computed in a second context, beside the answers."""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.llamacpp import engine as llamacpp_engine
from antiphon.engines.llamacpp import gguf, model_runner, placing
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.prefiller import Prefilled, Prefiller
from antiphon.engines.llamacpp.step import Applied, Chunk, Operation, Prefill, Transfer
from antiphon.engines.llamacpp.tiers import Tiers
from antiphon.errors import InternalError, OverloadedError
from tests.engines.asking import TOLERANCE, Answer, converse, job, run, until
from tests.engines.tiny_model import Reference, write_recurrent_model

VOCABULARY = 300


@pytest.fixture
def engine(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaEngine]:
    """Its model is slow, it thinks."""
    monkeypatch.setattr(placing, "SMALL_BYTES", 0)
    monkeypatch.setattr(Pace, "takes_together", lambda self, beside: False)
    engine = LlamaEngine.load(tiny_model, slots=4, context=8192, threads=1, step_s=0.02)
    yield engine
    engine._stop()


@pytest.fixture
def beside(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """What the second context has computed so far."""
    return recorded(second(engine), monkeypatch)


def second(engine: LlamaEngine) -> Any:
    assert engine._prefiller is not None
    return engine._prefiller._runner


def recorded(runner: Any, monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    computed: list[Chunk] = []
    decode = runner.decode

    def recording(chunks: Sequence[Chunk], padding: int = 0) -> list[int]:
        rows: list[int] = decode(chunks, padding)
        computed.extend(chunks)
        return rows

    monkeypatch.setattr(runner, "decode", recording)
    return computed


def tokens_of(chunks: Sequence[Chunk]) -> int:
    return sum(len(chunk.tokens) for chunk in chunks)


def prompt(seed: int, length: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(40, 250) for _ in range(length)]


@contextlib.asynccontextmanager
async def streaming(engine: LlamaEngine) -> AsyncGenerator[Callable[[], Sequence[int]]]:
    """Somebody is answered all the time; gives what has come so far."""
    tokens: list[int] = []

    async def read() -> None:
        async with aclosing(engine.generate(job(prompt(0, 5)))) as chunks:
            async for chunk in chunks:
                tokens.extend(chunk.token_ids)

    reading = asyncio.create_task(read())
    await until(lambda: len(tokens) > 3 or reading.done())
    yield lambda: tokens
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, InternalError, OverloadedError):
        await reading


async def test_a_prompt_is_computed_beside_a_stream_and_copied_into_its_cells(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    long = prompt(1, 1000)
    async with streaming(engine) as stream:
        before, computed = len(stream()), engine.metrics()["prompt_tokens_computed"]
        answer = await run(engine, job(long, 30))
        computed = engine.metrics()["prompt_tokens_computed"] - computed
        streamed = list(stream())

    assert tokens_of(beside) == 999, "all but the token that the next one is drawn behind"
    assert computed == 1000
    assert len(streamed) > before
    assert reference.worst_gap(long, answer.tokens) < TOLERANCE
    assert reference.worst_gap(prompt(0, 5), streamed) < TOLERANCE
    assert (await run(engine, job(long, 1))).cached == 999


async def test_what_is_known_of_a_prompt_is_copied_and_not_computed_again(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    long = prompt(2, 1000)
    await run(engine, job(long, 1))
    assert beside == [], "nobody was answered"
    longer = [*long, *prompt(3, 300)]
    async with streaming(engine):
        answer = await run(engine, job(longer, 20))

    assert answer.cached == 1000
    assert tokens_of(beside) == 299
    assert reference.worst_gap(longer, answer.tokens) < TOLERANCE


async def test_a_few_tokens_are_computed_among_the_answers(
    engine: LlamaEngine, beside: list[Chunk]
) -> None:
    async with streaming(engine):
        await run(engine, job(prompt(4, 32), 5))

    assert beside == []


async def test_a_short_question_does_not_wait_for_it(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    question, document = prompt(30, 20), prompt(31, 3000)
    async with streaming(engine):
        reading = asyncio.create_task(run(engine, job(document, 5)))
        await until(lambda: bool(beside))
        answer = await run(engine, job(question, 5))
        assert not reading.done()
        long = await reading

    assert tokens_of(beside) == 2999
    assert reference.worst_gap(question, answer.tokens) < TOLERANCE
    assert reference.worst_gap(document, long.tokens) < TOLERANCE


async def test_where_a_step_is_enough_prompts_are_computed_among_the_answers(
    engine: LlamaEngine, beside: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "takes_together", lambda self, beside: True)
    async with streaming(engine):
        await run(engine, job(prompt(4, 600), 5))

    assert beside == []


async def test_a_prompt_that_is_too_long_for_it_is_computed_among_the_answers(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    long = prompt(5, second(engine).cells + 1)
    async with streaming(engine):
        answer = await run(engine, job(long, 5))

    assert beside == []
    assert reference.worst_gap(long, answer.tokens) < TOLERANCE


async def test_several_prompts_share_it(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    prompts = [prompt(seed, 400) for seed in (6, 7, 8)]
    async with streaming(engine):
        answers = await asyncio.gather(*(run(engine, job(each, 10)) for each in prompts))

    for each, answer in zip(prompts, answers, strict=True):
        assert reference.worst_gap(each, answer.tokens) < TOLERANCE
    assert tokens_of(beside) > 600
    assert len({chunk.seq_id for chunk in beside}) > 1


async def test_random_conversations_beside_a_stream_are_answered_as_if_alone(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    threads = [prompt(seed, 300) for seed in range(10, 14)]
    stop = asyncio.Event()

    async def keep_busy() -> None:
        while not stop.is_set():
            await run(engine, job(prompt(0, 5), 300))

    busy = asyncio.create_task(keep_busy())
    try:
        await converse(engine, reference, random.Random(1), threads, longest=1500, pause=False)
    finally:
        stop.set()
        await busy

    assert beside


async def test_a_client_that_leaves_takes_nothing_along(
    engine: LlamaEngine, beside: list[Chunk], reference: Reference
) -> None:
    """What has been computed of its prompt stays, and the next one is computed as well."""
    long, other = prompt(20, 3000), prompt(21, 500)
    async with streaming(engine):
        async with aclosing(engine.generate(job(long))) as chunks:
            assert (await anext(chunks)).cached == 0
            await until(lambda: tokens_of(beside) > 500)
        answer = await run(engine, job(other, 10))
        again = await run(engine, job(long, 10))

    assert reference.worst_gap(other, answer.tokens) < TOLERANCE
    assert 64 <= again.cached <= 2999
    assert reference.worst_gap(long, again.tokens) < TOLERANCE
    assert tokens_of(beside) < 3000 + 500 + 300, "little of it twice"


async def test_when_it_fails_prompts_are_computed_among_the_answers(
    engine: LlamaEngine,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> list[int]:
        raise RuntimeError("out of order")

    monkeypatch.setattr(second(engine), "decode", fail)
    long = prompt(22, 1000)
    with caplog.at_level(logging.ERROR, "antiphon.engine"):
        async with streaming(engine) as stream:
            answer = await run(engine, job(long, 10))
            streamed = list(stream())

    assert reference.worst_gap(long, answer.tokens) < TOLERANCE
    assert reference.worst_gap(prompt(0, 5), streamed) < TOLERANCE
    assert engine.metrics()["failed_steps"] == 0
    assert "out of order" in caplog.text


async def test_where_there_are_no_more_threads_prompts_are_computed_among_the_answers(
    engine: LlamaEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(engine._prefiller, "_start", fail)
    long = prompt(27, 1000)
    async with streaming(engine):
        answer = await run(engine, job(long, 10))

    assert reference.worst_gap(long, answer.tokens) < TOLERANCE
    assert engine.metrics()["failed_steps"] == 0
    assert engine._prefiller is None


async def test_what_the_cells_do_not_take_of_it_is_computed_again(
    engine: LlamaEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second(engine), "save", lambda *_: b"nothing that llama.cpp knows")
    long = prompt(23, 1000)
    async with streaming(engine):
        answer = await run(engine, job(long, 10))

    assert reference.worst_gap(long, answer.tokens) < TOLERANCE
    assert engine.metrics()["failed_steps"] == 0
    assert engine._prefiller is None, "not tried for ever"


@pytest.mark.parametrize("book", ["update", "prefilled", "prefill"])
async def test_a_wrong_book_empties_it_too(
    book: str,
    engine: LlamaEngine,
    beside: list[Chunk],
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = prompt(24, 3000)
    async with streaming(engine):
        failing = asyncio.create_task(run(engine, job(long, 10)))
        await until(lambda: bool(beside))
        with monkeypatch.context() as patch:
            patch.setattr(engine._scheduler, book, None)
            with pytest.raises(InternalError):
                await failing
    answers = []
    async with streaming(engine):
        answers.append(await run(engine, job(long, 10)))

    assert answers[0].cached == 0
    assert reference.worst_gap(long, answers[0].tokens) < TOLERANCE
    assert engine.metrics()["failed_steps"] == 1


async def test_a_computation_that_never_ends_is_a_problem(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefiller: Any = engine._prefiller
    is_stuck, goes_on = threading.Event(), threading.Event()

    def stuck(*_: Any) -> list[int]:
        while not is_stuck.wait(0.001):
            prefiller._let_others()
        goes_on.wait(60)
        raise RuntimeError("stuck no more")

    monkeypatch.setattr(second(engine), "decode", stuck)
    async with streaming(engine):
        asking = asyncio.create_task(run(engine, job(prompt(28, 1000), 1)))
        await until(lambda: engine._scheduler.is_prefilling)
    await until(lambda: prefiller.lent() == (True, None))  # nobody else is answered any more
    monkeypatch.setattr(llamacpp_engine, "STUCK_S", 0.0)
    is_stuck.set()

    try:
        assert "has been computing one step for" in str(engine.problem())
    finally:
        goes_on.set()
    await asking


async def test_closing_interrupts_it(engine: LlamaEngine, beside: list[Chunk]) -> None:
    asking = asyncio.create_task(run(engine, job(prompt(25, 3000), 10)))
    async with streaming(engine):
        other = asyncio.create_task(run(engine, job(prompt(26, 3000), 10)))
        await until(lambda: bool(beside))
        await engine.close()
        for task in (asking, other):
            with contextlib.suppress(OverloadedError):
                assert isinstance(await task, Answer)

    assert not any(thread.name == "antiphon-prefill" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "why", ["small", "gpu", "window", "recurrent", "memory", "scaling", "spinning"]
)
def test_there_is_none_where_it_is_of_no_use(
    why: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_model
    if why != "small":
        monkeypatch.setattr(placing, "SMALL_BYTES", 0)
    if why == "recurrent":
        path = write_recurrent_model(tmp_path / "recurrent.gguf")
    if why == "memory":
        monkeypatch.setattr(placing, "SECOND_MEMORY_SHARE", 0)
    if why == "scaling":
        monkeypatch.setattr(ModelFile, "depends_on_context", True)
    if why == "spinning":
        monkeypatch.setattr(model_runner, "threads_sleep", lambda: False)
    engine = LlamaEngine.load(path, slots=2, context=2048, threads=1)
    try:
        runner = engine._runner
        if why == "gpu":
            runner.gpu_layers = 1
        if why == "window":
            runner.window = 64
        if why in ("gpu", "window"):
            file = gguf.read(path)
            found = placing.second_context(file, runner, cells=2048, slots=2, threads=1)
            assert found is None
            return
        assert engine._prefiller is None
    finally:
        engine._stop()


def test_it_takes_no_more_ids_than_there_are(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "SMALL_BYTES", 0)
    engine = LlamaEngine.load(tiny_model, slots=254, context=1024, threads=1)
    try:
        assert second(engine).sequence_ids == 255
    finally:
        engine._stop()


class Operations:
    """A runner that computes so many operations, and asks before each of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.done = 0
        self.began = threading.Event()
        self.is_interrupted: Callable[[], bool] = lambda: False

    def ask_before_each_operation(self, is_interrupted: Callable[[], bool]) -> None:
        self.is_interrupted = is_interrupted

    def decode(self, chunks: Sequence[Chunk], padding: int) -> list[int]:
        self.padding = padding
        while self.done < self.count:
            if self.is_interrupted():
                raise InterruptedError
            self.done += 1
            self.began.set()
        return []

    def apply(self, operations: Sequence[Operation], tiers: Tiers) -> Applied:
        assert not operations
        return Applied()

    def save(self, seq_id: int, start: int, end: int) -> bytes:
        return bytes(end - start)

    def restore(self, seq_id: int, start: int, end: int, data: bytes) -> bool:
        return len(data) == end - start


def prefill(*transfers: Transfer) -> Prefill:
    sequence: Any = None
    return Prefill([], list(transfers), [Chunk(sequence, 0, 10, [7] * 70, False)], padding=3)


def started(operations: int, *transfers: Transfer) -> tuple[Prefiller, Any, list[Prefilled]]:
    runner: Any = Operations(operations)
    done: list[Prefilled] = []
    prefiller = Prefiller(runner, 64, done.append)
    prefiller.begin(prefill(*transfers), runner)
    return prefiller, runner, done


def test_it_stands_still_while_others_have_the_processors() -> None:
    prefiller, runner, done = started(10**9)
    assert runner.began.wait(10)
    for _ in range(20):
        with prefiller.held():
            before = runner.done
            threading.Event().wait(0.002)
            assert runner.done == before
        runner.began.clear()
        assert runner.began.wait(10), "it goes on"

    prefiller.stop()
    assert done == [], "what was interrupted is not heard of"


def test_what_it_has_computed_comes_in_parts() -> None:
    prefiller, runner, done = started(5, Transfer(3, 0, 0, 10))
    while not done:
        threading.Event().wait(0.001)
    prefiller.stop()

    (prefilled,) = done
    assert prefilled.error is None
    assert runner.padding == 3
    assert prefilled.rows == 73
    assert [(part.length, part.data) for part in prefilled.parts[0]] == [
        (64, bytes(64)),
        (6, bytes(6)),
    ]


def test_without_work_it_has_no_thread() -> None:
    prefiller, runner, done = started(5)
    while not done:
        threading.Event().wait(0.001)
    assert prefiller._thread is not None
    prefiller.begin(None, runner)

    assert prefiller._thread is None
