"""A model is one path away, and whatever is wrong with it is one sentence."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from antiphon.engines.base import EngineInfo, Generation, SamplingParams
from antiphon.engines.llamacpp import gguf, loading, memory, placing
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.engines.llamacpp.native_log import NativeLog
from antiphon.engines.llamacpp.step import Chunk
from antiphon.errors import StartupError
from tests.engines.tiny_model import Reference, write_model


def test_the_context_is_what_was_trained(tmp_path: Path) -> None:
    path = write_model(tmp_path / "warm.gguf", context_length=1024, temperature=0.5)

    engine = LlamaEngine.load(path, slots=2, threads=1)
    engine._stop()

    assert engine.info.context_len == 1024
    assert engine.info.sampling.temperature == 0.5
    assert engine.info.details["context"] == "1024, all that was trained"


def test_a_missing_template_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "bare.gguf", chat_template=None)
    with caplog.at_level(logging.INFO, "antiphon.engine"):
        engine = LlamaEngine.load(path, slots=1, context=256, threads=1)
    engine._stop()

    assert engine.info.chat_template is None
    assert engine.info.details["chat template"].startswith("none in the model file")
    assert "context: 256 of 8192 trained, as set" in caplog.text


def test_a_model_without_flash_attention_is_a_problem(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> EngineInfo:
        engine = LlamaEngine.load(tiny_model, slots=1, context=256, threads=1)
        engine._stop()
        return engine.info

    assert not load().problems
    monkeypatch.setattr(NativeLog, "contains", lambda log, words: False)
    info = load()

    assert "cannot use flash attention" in info.problems[0]
    assert info.details["flash attention"].startswith("off")


def test_too_little_memory_is_refused_before_anything_is_loaded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 << 20)
    monkeypatch.setattr(placing, "ModelRunner", None)

    with pytest.raises(StartupError, match=r"'tiny-random' needs .* only 0\.1 GiB are free"):
        LlamaEngine.load(tiny_model, gpu_layers=0)


def test_a_foreign_model_quotes_the_native_log(tiny_model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(tiny_model.read_bytes().replace(b"qwen3", b"qwenX"))

    with pytest.raises(StartupError, match=r"cannot be loaded: .*unknown model architecture"):
        LlamaEngine.load(foreign)


@pytest.mark.parametrize(("slots", "context"), [(0, None), (256, None), (4, 1)])
def test_settings_out_of_range(tiny_model: Path, slots: int, context: int | None) -> None:
    with pytest.raises(StartupError):
        LlamaEngine.load(tiny_model, slots=slots, context=context)


def test_wrong_headers_never_reach_the_native_loader(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="does not exist"):
        LlamaEngine.load(tmp_path / "none.gguf")


def test_threads_are_what_this_process_may_use(tmp_path: Path) -> None:
    groups = tmp_path / "sys/fs/cgroup"
    (groups / "cpu").mkdir(parents=True)
    free = loading.default_threads(tmp_path)
    assert free >= 1

    (groups / "cpu.max").write_text("max 100000\n")
    assert loading.default_threads(tmp_path) == free
    (groups / "cpu.max").write_text("100000 100000\n")
    assert loading.default_threads(tmp_path) == 1
    (groups / "cpu.max").unlink()
    (groups / "cpu/cpu.cfs_quota_us").write_text("50000\n")
    (groups / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert loading.default_threads(tmp_path) == 1


def test_parts_of_the_estimate(tiny_model: Path) -> None:
    file = gguf.read(tiny_model)
    assert loading._scratch_bytes(file, 512) < 10 << 20
    assert loading._scratch_bytes(file, 8192) > 40 << 20


@pytest.mark.parametrize("batch", [32, 1500, 4096])
def test_a_prompt_is_answered_alike_whatever_is_computed_together(
    tiny_model: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    engine = LlamaEngine.load(tiny_model, slots=2, context=6000, threads=1, batch=batch, step_s=60)
    lengths, decode = [], engine._runner.decode

    def recorded(chunks: Sequence[Chunk], padding: int) -> list[int]:
        lengths.append(sum(len(chunk.tokens) for chunk in chunks))
        return decode(chunks, padding)

    monkeypatch.setattr(engine._runner, "decode", recorded)
    prompt = [(n * n) % 250 for n in range(5000)]
    job = Generation(prompt, SamplingParams(temperature=0), max_tokens=8)

    async def answer() -> list[int]:
        async with aclosing(engine.generate(job)) as chunks:
            return [token async for chunk in chunks for token in chunk.token_ids]

    tokens = asyncio.run(answer())
    engine._stop()

    assert reference.worst_gap(prompt, tokens) < 0.5
    assert max(lengths) == max(batch, 512)


def test_a_larger_batch_leaves_less_room_for_the_context(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 300 << 20)
    lengths = []
    for batch in (512, 4096):
        engine = LlamaEngine.load(tiny_model, slots=2, threads=1, batch=batch, gpu_layers=0)
        engine._stop()
        lengths.append(engine.info.context_len)

    assert lengths[0] == 8192
    assert lengths[1] < 1024
