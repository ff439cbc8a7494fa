"""How long a context may be is decided from the header and the free memory, before loading."""

import os
import platform
from pathlib import Path

import pytest

from antiphon.engines.llamacpp import memory
from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.errors import StartupError

GIB = 1 << 30


def model(trained: int | None = 32_768) -> ModelFile:
    """A model of 1 GiB whose cells take 100 kB."""
    metadata = {
        "general.architecture": "qwen3",
        "general.name": "Test",
        "qwen3.block_count": 25,
        "qwen3.attention.head_count": 16,
        "qwen3.attention.head_count_kv": 8,
        "qwen3.attention.key_length": 125,
        "qwen3.attention.value_length": 125,
    }
    if trained is not None:
        metadata["qwen3.context_length"] = trained
    return ModelFile(Path("test.gguf"), metadata, GIB)


def test_all_that_was_trained_fits() -> None:
    plan = memory.plan_context(model(), None, 16 * GIB, slots=4, scratch=0)

    assert (plan.cells, plan.context_len) == (32_768, 32_768)
    assert plan.reason == "32768, all that was trained"


def test_short_contexts_share_a_larger_cache() -> None:
    plan = memory.plan_context(model(2048), None, 16 * GIB, slots=4, scratch=0)
    assert (plan.cells, plan.context_len) == (8192, 2048)

    plan = memory.plan_context(model(2048), None, 16 * GIB, slots=100, scratch=0)
    assert (plan.cells, plan.context_len) == (16_384, 2048)

    plan = memory.plan_context(model(2048), None, 2 * GIB, slots=100, scratch=0)
    assert plan.cells == 2048


def test_what_fits() -> None:
    plan = memory.plan_context(model(), None, 2 * GIB, slots=4, scratch=0)

    assert 5_000 < plan.cells < 6_000  # three quarters of the room beside the weights
    assert plan.cells == plan.context_len
    assert plan.cells % 256 == 0
    assert plan.reason == f"{plan.cells} of 32768 trained: what fits into 2.0 GiB of free memory"


def test_what_the_operator_wants() -> None:
    plan = memory.plan_context(model(), 1000, 16 * GIB, slots=4, scratch=0)
    assert (plan.cells, plan.context_len) == (1024, 1000)

    longer = memory.plan_context(model(4096), 8000, 16 * GIB, slots=4, scratch=0)
    assert longer.cells >= 8000  # room for two
    assert longer.context_len == 4096
    assert memory.plan_context(model(None), None, 16 * GIB, slots=4, scratch=0).context_len == 4096


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(StartupError, match=r"'Test' needs 1\.3 GiB .* only 1\.0 GiB are free"):
        memory.plan_context(model(), None, GIB, slots=4, scratch=0)
    with pytest.raises(StartupError, match=r"context of 20000 tokens, but only 2\.0 GiB"):
        memory.plan_context(model(), 20_000, 2 * GIB, slots=4, scratch=0)


def test_an_automatic_context_has_what_it_must() -> None:
    def plan(least: int, trained: int) -> memory.ContextPlan:
        return memory.plan_context(model(trained), None, 2 * GIB, slots=4, scratch=0, least=least)

    assert plan(7000, 32_768).cells > 6900  # more than the share of what is free, then
    assert plan(9000, 7000).context_len == 7000
    with pytest.raises(StartupError, match="context of 9000"):
        plan(9000, 32_768)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_machine_and_every_control_group_above_count(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert memory.available_bytes(tmp_path) == 8000 * 1024

    write(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    groups = tmp_path / "sys/fs/cgroup"
    write(groups / "a/b/memory.max", "max\n")
    write(groups / "a/b/memory.current", "5000\n")
    assert memory.available_bytes(tmp_path) == 8000 * 1024

    write(groups / "a/memory.max", "1000000\n")
    write(groups / "a/memory.current", "400000\n")
    assert memory.available_bytes(tmp_path) == 600_000

    write(groups / "a/memory.stat", "anon 1\ninactive_file 30000\n")
    assert memory.available_bytes(tmp_path) == 630_000


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemAvailable:    8000 kB\n")
    write(tmp_path / "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/x\n")
    groups = tmp_path / "sys/fs/cgroup/memory"
    write(groups / "x/memory.limit_in_bytes", "700000\n")
    write(groups / "x/memory.usage_in_bytes", "100000\n")

    assert memory.available_bytes(tmp_path) == 600_000


def test_this_machine_has_memory() -> None:
    assert memory.available_bytes() > 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no trim")
def test_freed_memory_goes_back_to_the_system_when_there_is_enough_of_it() -> None:
    """Pieces of 64 kB, every other one freed: the C library keeps the holes."""
    sizes = []
    held = [bytearray(64_000) for _ in range(2000)]
    freed = memory.Freed()
    del held[::2]
    for number in (1, memory.FREED_BYTES):
        before = resident_bytes()
        freed.give_back(number)
        sizes.append(before - resident_bytes())

    assert len(held) == 1000
    assert sizes[0] < 8 << 20
    assert sizes[1] > 32 << 20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
