"""Conversations leave the cells and come back, on a tiny random model: never a wrong answer."""

import asyncio
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.engines.base import Pin
from antiphon.engines.llamacpp.blocks import BLOCK_TOKENS_MAX
from antiphon.engines.llamacpp.disk import HEADER, BlockFiles
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.errors import StartupError
from tests.engines.asking import TOLERANCE, Answer, converse, idle, job, run, text, until
from tests.engines.tiny_model import Reference, write_recurrent_model


def load(path: Path, folder: Path | None = None, **options: int) -> LlamaEngine:
    settings = {"slots": 4, "context": 4096, "threads": 1, "ram_bytes": 64 << 20, **options}
    return LlamaEngine.load(path, disk_folder=folder, disk_bytes=64 << 20, **settings)


async def test_conversations_that_outgrow_the_cells_come_back_from_memory(
    tiny_model: Path, reference: Reference
) -> None:
    """Eight of them, 900 tokens each, in 4,096 cells: turn by turn, one after the other."""
    engine = load(tiny_model)
    threads = [text(engine, f"Conversation {n}. ") + [65 + n] * 600 for n in range(8)]
    lengths = [0] * len(threads)
    for turn in range(3):
        for number, thread in enumerate(threads):
            answer = await run(engine, job(thread, 40))
            assert reference.worst_gap(thread, answer.tokens) < TOLERANCE
            assert answer.cached is not None
            new = len(thread) - lengths[number]
            assert turn == 0 or answer.cached >= len(thread) - new - 16
            lengths[number] = len(thread) + len(answer.tokens)
            thread += [*answer.tokens, *text(engine, f"Turn {turn}? ")]
            await idle(engine)

    metrics = engine.metrics()
    assert metrics["restored_tokens"] > 8 * 600
    assert metrics["failed_steps"] == 0
    assert 0 < metrics["ram_bytes_used"] <= metrics["ram_bytes_total"]
    await engine.close()


async def test_without_memory_they_are_computed_again(tiny_model: Path) -> None:
    engine = LlamaEngine.load(tiny_model, slots=1, context=1024, threads=1, ram_bytes=0)
    prompts = [[65 + n] * 600 for n in range(3)]
    for prompt in [*prompts, prompts[0]]:
        answer = await run(engine, job(prompt, 1))
    await engine.close()

    assert answer.cached == 0
    assert engine.metrics()["restored_tokens"] == 0


async def stored(model: Path, folder: Path) -> list[int]:
    """A prompt that another process has computed and left on disk."""
    before = load(model, folder)
    prompt = text(before, "A long beginning. " * 30)
    await run(before, job(prompt, 10))
    await before.close()
    return prompt


async def test_a_conversation_survives_a_restart(
    tiny_model: Path, reference: Reference, tmp_path: Path
) -> None:
    before = load(tiny_model, tmp_path)
    prompt = text(before, "A long beginning. " * 30)
    answer = await run(before, job(prompt, 40))
    onward = [*prompt, *answer.tokens, *text(before, " And on?")]
    await before.close()

    after = load(tiny_model, tmp_path)
    again = await run(after, job(onward, 40))

    assert again.cached == len(prompt) + len(answer.tokens) - 1
    assert reference.worst_gap(onward, again.tokens) < TOLERANCE
    metrics = after.metrics()
    assert 0 < metrics["disk_bytes_used"] <= metrics["disk_bytes_total"]
    await after.close()


async def test_a_conversation_survives_a_process_that_is_killed(
    tiny_model: Path, tmp_path: Path
) -> None:
    """What is idle is stored at once, not when the engine closes."""
    before = load(tiny_model, tmp_path)
    prompt = text(before, "A long beginning. " * 30)
    await run(before, job(prompt, 10))
    await idle(before)
    await until(lambda: not before._loaded.files or not before._loaded.files._waiting)

    after = load(tiny_model, tmp_path)
    assert (await run(after, job([*prompt, 7], 1))).cached == len(prompt)
    await after.close()
    await before.close()


async def test_what_runs_when_the_engine_closes_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    before = load(tiny_model, tmp_path)
    prompt = text(before, "A long beginning. " * 30)
    chunks = before.generate(job(prompt))
    for _ in range(3):
        await anext(chunks)
    await before.close()
    await chunks.aclose()

    after = load(tiny_model, tmp_path)
    assert (await run(after, job([*prompt, 7], 1))).cached == len(prompt)
    await after.close()


async def test_without_memory_what_a_slow_disk_takes_later_is_kept_as_well(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the engine closes, it is busy for the first ten times that it is asked."""
    before = load(tiny_model, tmp_path, ram_bytes=0)
    prompt = text(before, "A long beginning. " * 30)
    chunks = before.generate(job(prompt))
    for _ in range(3):
        await anext(chunks)
    answers = iter([True] * 10)
    monkeypatch.setattr(BlockFiles, "is_busy", property(lambda _: next(answers, False)))
    await before.close()
    await chunks.aclose()

    after = load(tiny_model, tmp_path, ram_bytes=0)
    assert (await run(after, job([*prompt, 7], 1))).cached >= len(prompt) - 1
    await after.close()


def with_other_weights(model: Path, path: Path) -> Path:
    content = bytearray(model.read_bytes())
    content[-20_000:] = bytes(20_000)
    path.write_bytes(content)
    return path


def damage_files(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """Every other one, from the first on."""
    for path in sorted(folder.rglob("*.kv"))[::2]:
        path.write_bytes(damage(path.read_bytes()))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda _: b""])
async def test_damage_on_the_disk_costs_time_and_nothing_else(
    tiny_model: Path, reference: Reference, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    prompt = await stored(tiny_model, tmp_path)
    damage_files(tmp_path, damage)

    after = load(tiny_model, tmp_path)
    answer = await run(after, job([*prompt, 7], 40))

    assert answer.cached < len(prompt)
    assert answer.cached % BLOCK_TOKENS_MAX == 0
    assert after.metrics()["prompt_tokens_computed"] == len(prompt) + 1 - answer.cached
    assert reference.worst_gap([*prompt, 7], answer.tokens) < TOLERANCE
    await after.close()


async def test_another_model_finds_nothing(tiny_model: Path, tmp_path: Path) -> None:
    prompt = await stored(tiny_model, tmp_path / "cache")
    after = load(with_other_weights(tiny_model, tmp_path / "other.gguf"), tmp_path / "cache")
    assert (await run(after, job([*prompt, 7], 1))).cached == 0
    await after.close()


async def test_keys_do_not_share_what_is_on_disk(tiny_model: Path, tmp_path: Path) -> None:
    prompt = await stored(tiny_model, tmp_path)

    after = load(tiny_model, tmp_path)
    foreign = job([*prompt, 7], 1)
    object.__setattr__(foreign, "owner", "somebody else")
    assert (await run(after, foreign)).cached == 0
    await after.close()


def test_a_folder_that_cannot_be_used_is_named_before_it_is_too_late(
    tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="Nothing can be kept"):
        load(tiny_model, tmp_path / "file")


async def test_random_conversations_in_few_cells_are_answered_as_if_alone(
    tmp_path: Path, tiny_model: Path, reference: Reference
) -> None:
    """Forks, pauses, departures, returns from memory and disk, all at once."""
    draw = random.Random(5)
    engine = load(tiny_model, tmp_path, context=1024, slots=3, ram_bytes=1 << 20)
    threads = [[draw.randrange(40, 120) for _ in range(draw.randint(5, 300))] for _ in range(8)]
    await converse(engine, reference, draw, threads, longest=900)
    assert engine.metrics()["restored_tokens"] > 0
    await engine.close()


async def test_states_that_cannot_be_cut_come_back_whole_from_memory_and_disk(
    tmp_path: Path,
) -> None:
    path = write_recurrent_model(tmp_path / "mamba.gguf")
    fresh = load(path, slots=2, context=512, ram_bytes=0)
    engine = load(path, tmp_path / "cache", slots=2, context=512)
    threads = [text(engine, f"conversation {n} flows on and on, ") for n in range(6)]
    for turn in range(3):
        for thread in threads:
            answer = await run(engine, job(thread, 20))
            assert answer[1:] == (await run(fresh, job(thread, 20)))[1:]
            assert (answer.cached == 0) == (turn == 0)
            thread += [*answer.tokens, *text(engine, " and then")]
            await idle(engine)
    await engine.close()

    after = load(path, tmp_path / "cache", slots=2, context=512)
    for thread in threads:
        answer = await run(after, job(thread, 20))
        assert answer.cached > 0
        assert answer[1:] == (await run(fresh, job(thread, 20)))[1:]
    assert after.metrics()["failed_steps"] == 0
    await after.close()
    await fresh.close()


async def test_a_state_that_cannot_be_cut_is_kept_where_a_prefix_is_pinned(tmp_path: Path) -> None:
    path = write_recurrent_model(tmp_path / "mamba.gguf")
    engine = load(path, slots=2, context=512)
    fresh = load(path, slots=2, context=512, ram_bytes=0)
    system = text(engine, "a system prompt that all of them share: ")
    answers: list[Answer] = []
    for number in range(3):
        prompt = [*system, *text(engine, f"question {number}")]
        answers.append(await run(engine, job(prompt, 20, pins=[Pin(len(system), 60)])))
        assert answers[-1][1:] == (await run(fresh, job(prompt, 20)))[1:]

    assert [answer.cached for answer in answers] == [0, len(system), len(system)]
    await engine.close()
    await fresh.close()


def all_with_right_checksums(folder: Path) -> None:
    """Files that are whole, and whose bytes are no state of llama.cpp's."""
    for path in folder.rglob("*.kv"):
        content = path.read_bytes()
        *head, num_tokens, num_bytes, _ = HEADER.unpack_from(content)
        start = HEADER.size + 4 * num_tokens
        garbage = bytes(num_bytes)
        named = zlib.crc32(content[8:40] + content[HEADER.size : start])
        checksum = zlib.crc32(garbage, named)
        packed = HEADER.pack(*head, num_tokens, num_bytes, checksum)
        path.write_bytes(packed + content[HEADER.size : start] + garbage)


async def test_a_block_that_llama_cpp_does_not_take_is_computed(
    tiny_model: Path, tmp_path: Path
) -> None:
    fresh = load(tiny_model, tmp_path / "other")
    prompt = await stored(tiny_model, tmp_path / "cache")
    all_with_right_checksums(tmp_path / "cache")

    after = load(tiny_model, tmp_path / "cache")
    other = asyncio.create_task(run(after, job([65] * 30, 400)))
    await until(lambda: after.metrics()["running"] == 1)
    again = await run(after, job([*prompt, 7], 10))
    assert again[1:] == (await run(fresh, job([*prompt, 7], 10)))[1:]
    assert (await other).finish_reason is not None, "nobody else notices"
    assert after.metrics()["failed_steps"] == 0
    await after.close()
    await fresh.close()


async def test_a_state_that_was_being_computed_when_the_engine_closed_is_not_kept(
    tmp_path: Path,
) -> None:
    """Half of a step may be in it."""
    path = write_recurrent_model(tmp_path / "mamba.gguf")
    before = load(path, tmp_path / "cache", slots=2, context=2048)
    fresh = load(path, slots=2, context=2048, ram_bytes=0)
    prompt = text(before, "one two three four " * 60)
    chunks = before.generate(job(prompt))
    await anext(chunks)
    await before.close()
    await chunks.aclose()

    after = load(path, tmp_path / "cache", slots=2, context=2048)
    assert (await run(after, job([*prompt, 7], 20)))[1:] == (
        await run(fresh, job([*prompt, 7], 20))
    )[1:]
    assert after.metrics()["failed_steps"] == 0
    await after.close()
    await fresh.close()
