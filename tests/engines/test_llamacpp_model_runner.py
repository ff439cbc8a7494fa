"""What the runner does to the cache leaves no trace in the logits."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp import model_runner, sampler
from antiphon.engines.llamacpp.blocks import block_behind, root_key
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.native_log import NativeLog
from antiphon.engines.llamacpp.sequence import Sequence as Job
from antiphon.engines.llamacpp.step import Chunk, Copy, Remove, Restore, Save
from antiphon.engines.llamacpp.tiers import Tiers
from antiphon.errors import StartupError

NOTHING = Tiers(block_tokens=1, ram_bytes_max=0)
A = list(b"The quick brown fox jumps over the lazy dog.")
B = list(b" And then?")
C = list(b" Who would have thought it!")


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Iterator[ModelRunner]:
    runner = ModelRunner(tiny_model, gpu_layers=0, name="tiny")
    runner.open(cells=1024, sequence_ids=16, threads=1)
    yield runner
    runner.close()


@pytest.fixture(autouse=True)
def empty_cache(runner: ModelRunner) -> None:
    runner.clear()


def chunk(seq_id: int, start: int, tokens: Sequence[int], *, draws: bool = True) -> Chunk:
    job = Job.from_prompt(tokens, max_tokens=1, sampling=SamplingParams())
    return Chunk(job, seq_id, start, tokens, draws)


def logits(runner: ModelRunner, seq_id: int, start: int, tokens: Sequence[int]) -> list[float]:
    (row,) = runner.decode([chunk(seq_id, start, tokens)])
    return runner.logits(row)


def same(left: Sequence[float], right: Sequence[float]) -> bool:
    return max(abs(a - b) for a, b in zip(left, right, strict=True)) < 0.05


def test_a_forked_prefix_computes_as_if_alone(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + C)
    runner.decode([chunk(1, 0, A + B)])

    runner.apply([Copy(1, 2, len(A))], NOTHING)

    assert same(logits(runner, 2, len(A), C), alone)
    assert same(logits(runner, 1, len(A + B), C), logits(runner, 3, 0, A + B + C))


def test_a_sequence_whose_tail_was_removed_computes_as_if_alone(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + C)
    runner.decode([chunk(1, 0, A + B)])

    runner.remove(1, len(A))

    assert same(logits(runner, 1, len(A), C), alone)


def test_what_was_saved_and_restored_computes_as_if_alone(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + B + C)
    runner.decode([chunk(1, 0, A + B)])
    saved = [runner.save(1, 0, 30), runner.save(1, 30, len(A + B))]
    runner.remove(1)

    runner.restore(2, 0, 30, saved[0])
    runner.restore(2, 30, len(A + B), saved[1])

    assert same(logits(runner, 2, len(A + B), C), alone)


def test_a_restored_part_joins_a_beginning_that_others_hold(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + B + C)
    runner.decode([chunk(1, 0, A + B)])
    saved = runner.save(1, len(A), len(A + B))
    runner.apply([Copy(1, 2, len(A)), Remove(1), Copy(2, 3, len(A))], NOTHING)

    runner.restore(3, len(A), len(A + B), saved)

    assert same(logits(runner, 3, len(A + B), C), alone)
    assert same(logits(runner, 2, len(A), C), logits(runner, 4, 0, A + C)), "the other is as it was"


def test_the_beginning_of_a_block_comes_back_alone(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + C)
    runner.decode([chunk(1, 0, A + B)])
    saved = runner.save(1, 0, len(A + B))
    runner.remove(1)

    runner.restore(2, 0, len(A), saved)

    assert same(logits(runner, 2, len(A), C), alone)


def test_nothing_stays_of_a_block_that_has_no_room(runner: ModelRunner) -> None:
    runner.decode([chunk(1, 0, A + B)])
    saved = runner.save(1, 0, len(A + B))
    runner.decode([chunk(5, 0, [7] * (1024 - len(A + B) - 5), draws=False)])
    assert not runner.restore(2, 0, len(A + B), saved)
    runner.remove(5)

    assert runner.restore(2, 0, len(A + B), saved)
    assert same(logits(runner, 2, len(A + B), C), logits(runner, 1, len(A + B), C))


def test_what_is_moved_is_counted_and_what_is_stored_already_is_not(runner: ModelRunner) -> None:
    tiers = Tiers(block_tokens=len(A), ram_bytes_max=1 << 20)
    runner.decode([chunk(1, 0, A)])
    block = block_behind(root_key(""), A)
    assert runner.apply([Save(1, 0, block)], tiers).num_blocks == 1
    assert runner.apply([Save(1, 0, block)], tiers).num_blocks == 0

    data = tiers.get(block)
    assert data is not None
    applied = runner.apply([Restore(2, 0, len(A), block, data)], tiers)
    assert (applied.num_blocks, applied.broken) == (1, set())


def test_whatever_begins_with_what_did_not_come_back_is_broken_too(runner: ModelRunner) -> None:
    tiers = Tiers(block_tokens=len(A), ram_bytes_max=1 << 20)
    block = block_behind(root_key(""), A)
    bad = Restore(2, 0, len(A), block, b"no state")
    assert runner.apply([bad, Copy(2, 3, 10)], tiers).broken == {2, 3}
    assert runner.apply([bad, Save(2, 0, block), Remove(2)], tiers).broken == set()
    assert tiers.num_blocks == 0


@pytest.mark.parametrize("token", [-1, 300])
def test_a_token_that_there_is_not_never_reaches_llama_cpp(runner: ModelRunner, token: int) -> None:
    """Which would end the process."""
    with pytest.raises(AssertionError):
        runner.decode([chunk(1, 0, [*A, token])])
    runner.decode([chunk(1, 0, A)])


def test_a_source_may_go_after_the_copy(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + C)
    runner.decode([chunk(1, 0, A + B)])

    runner.apply([Copy(1, 2, len(A)), Remove(1), Copy(2, 1, 5), Remove(1)], NOTHING)

    assert same(logits(runner, 2, len(A), C), alone)


def test_sequences_in_one_batch_do_not_see_each_other(runner: ModelRunner) -> None:
    alone = [logits(runner, 0, 0, A), logits(runner, 1, 0, C)]

    rows = runner.decode([chunk(2, 0, A), chunk(3, 0, B, draws=False), chunk(4, 0, C)])

    assert rows == [len(A) - 1, len(A + B + C) - 1]
    for row, expected in zip(rows, alone, strict=True):
        assert same(runner.logits(row), expected)


def test_small_steps_take_fewer_threads(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ModelRunner(tiny_model, gpu_layers=0, name="tiny")
    runner.open(cells=256, sequence_ids=4, threads=2, threads_small=1)
    monkeypatch.setattr(model_runner, "LONE_THREAD_BYTES", runner._size * len(A))

    large = logits(runner, 0, 0, A)
    assert runner._context.n_threads() == 2
    for start, token in enumerate(A[:-1]):
        runner.decode([chunk(1, start, [token], draws=False)])
    assert same(logits(runner, 1, len(A) - 1, A[-1:]), large)
    assert runner._context.n_threads() == 1
    runner.close()


def test_without_layers_on_a_gpu_it_computes_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp lends large batches to it, though all weights are on the host."""
    made, context = [], model_runner.binding().LlamaContext

    def recorded(model: object, params: Any, *rest: object) -> object:
        made.append((params.op_offload, params.offload_kqv))
        return context(model, params, *rest)

    monkeypatch.setattr(model_runner.binding(), "LlamaContext", recorded)
    for layers in (0, -1):
        runner = ModelRunner(tiny_model, gpu_layers=layers, name="tiny")
        runner.open(cells=256, sequence_ids=4, threads=1)
        runner.close()

    assert made == [(False, False), (True, True)]


def test_a_failed_decode_leaves_nothing_behind(runner: ModelRunner) -> None:
    runner.decode([chunk(0, 0, A)])
    full = [7] * (1024 - len(A) + 1)

    with pytest.raises(ValueError, match="KV slot"):
        runner.decode([chunk(0, len(A), B), chunk(1, 0, full)])

    assert same(logits(runner, 0, len(A), C), logits(runner, 2, 0, A + C))


def test_rows_that_are_computed_for_nothing_leave_nothing_behind(runner: ModelRunner) -> None:
    alone = logits(runner, 0, 0, A + C)
    runner.decode([chunk(1, 0, A)])

    (row,) = runner.decode([chunk(1, len(A), C)], padding=64 - len(C))
    assert same(runner.logits(row), alone)
    with pytest.raises(ValueError, match="KV slot"):
        runner.decode([chunk(1, len(A + C), [7] * 850)], padding=64)
    assert same(logits(runner, 1, len(A + C), B), logits(runner, 2, 0, A + C + B))
    runner.clear()
    runner.decode([chunk(3, 0, [7] * 1024)])  # all of the cells


def test_an_interrupted_decode_leaves_nothing_behind(runner: ModelRunner) -> None:
    runner.decode([chunk(0, 0, A)])
    runner.cancel()
    with pytest.raises(InterruptedError):
        runner.decode([chunk(0, len(A), B * 60), chunk(1, 0, C)], padding=20)
    runner._context.cancel = False

    assert same(logits(runner, 0, len(A), C), logits(runner, 2, 0, A + C))
    assert same(logits(runner, 1, 0, A), logits(runner, 3, 0, A))
    runner.clear()
    runner.decode([chunk(0, 0, [7] * 1024)])  # all of the cells


def test_what_the_binding_does_not_guard_is_asserted(runner: ModelRunner) -> None:
    runner.decode([chunk(0, 0, A), chunk(1, 0, A)])

    with pytest.raises(AssertionError, match="empty"):
        runner.copy(0, 1, 3)
    with pytest.raises(AssertionError):
        runner.copy(0, 2, len(A) + 1)
    with pytest.raises(AssertionError, match="contiguous"):
        runner.decode([chunk(0, len(A) + 1, B)])
    with pytest.raises(AssertionError):
        runner.remove(0, len(A) + 1)


def test_seeds_repeat_and_differ(runner: ModelRunner) -> None:
    def draws(seed: int) -> list[int]:
        links = sampler.chain(SamplingParams(1.5, 0, 1.0, seed), any_seed=0)
        native = runner.new_sampler(links)
        (row,) = runner.decode([chunk(0, 0, A)])
        drawn = [runner.draw(native, row) for _ in range(20)]
        native.close()
        runner.clear()
        return drawn

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_a_model_that_cannot_be_loaded_says_why(tiny_model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(tiny_model.read_bytes().replace(b"qwen3", b"qwenX"))

    with pytest.raises(StartupError, match="unknown model architecture: 'qwenX'"):
        ModelRunner(foreign, gpu_layers=0, name="foreign")


def test_the_native_log_joins_continued_lines() -> None:
    log = NativeLog()
    log(2, "loading ")
    log(5, "...\n")
    log(1, "details\n")
    log(4, "error: no\n")
    log(3, "warning\n")

    assert log.complaints() == "error: no; warning"
    assert log.contains("loading ...")
    assert not log.contains("details")


@pytest.mark.parametrize(
    ("size", "waits"), [(1 << 20, ("10000", None)), (1 << 30, ("1000000", "active"))]
)
def test_how_threads_wait_depends_on_the_model_and_on_who_said_so(
    size: int, waits: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    monkeypatch.setattr(os, "environ", {})
    model_runner.set_spin_count(size)
    assert tuple(map(os.environ.get, names)) == waits

    monkeypatch.setattr(os, "environ", dict.fromkeys(names, "as set"))
    model_runner.set_spin_count(size)
    assert list(map(os.environ.get, names)) == ["as set", "as set"]
