"""As many layers are on the GPU as there is room for beside a context of use. The GPU is pretended:
what its memory does not hold is refused, as a driver does."""

from math import nan
from pathlib import Path
from types import SimpleNamespace

import pytest

from antiphon.engines.llamacpp import memory, model_runner, placing
from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.engines.llamacpp.native_log import NativeLog
from antiphon.engines.llamacpp.placing import Placing
from antiphon.engines.llamacpp.step import Chunk
from antiphon.errors import StartupError

GIB = 1 << 30
LAYERS = 20
CELL_BYTES = 2 * 2 * 8 * 128 * LAYERS


def model(size: int = 4 * GIB) -> ModelFile:
    metadata = {
        "general.architecture": "qwen3",
        "general.name": "Test",
        "qwen3.context_length": 40_960,
        "qwen3.block_count": LAYERS,
        "qwen3.attention.head_count": 16,
        "qwen3.attention.head_count_kv": 8,
        "qwen3.attention.key_length": 128,
        "qwen3.attention.value_length": 128,
    }
    return ModelFile(Path("test.gguf"), metadata, size)


class Machine:
    """Memory of a host and a GPU, and what is opened on them."""

    def __init__(self, host: int, gpu: int) -> None:
        self.host, self.gpu = host, gpu
        self.says_free, self.computes, self.fails = True, True, False
        self.log = NativeLog()
        self.tried: list[int] = []
        self.open: list[Runner] = []

    def take(self, layers: int, size: int) -> None:
        share = layers / LAYERS if 0 <= layers <= LAYERS else 1
        if share * size > self.gpu:
            raise StartupError("out of device memory")
        assert (1 - share) * size <= self.host, "the host would swap"


class Runner:
    sequence_ids_max, cuttable = 127, True

    def __init__(self, machine: Machine, gpu_layers: int) -> None:
        machine.tried.append(gpu_layers)
        machine.log.begin_load()
        if gpu_layers and machine.says_free:
            free = machine.gpu >> 20
            machine.log(2, f"using device CUDA0 (NVIDIA X) (0000:01:00.0) - {free} MiB free\n")
        self._machine, self.gpu_layers = machine, gpu_layers
        self._size = model().size
        machine.take(gpu_layers, self._size)
        machine.open.append(self)

    def open(self, *, cells: int, **options: int) -> None:
        self.sequence_ids = options["sequence_ids"]
        self._machine.take(self.gpu_layers, self._size + cells * CELL_BYTES)

    vocabulary = SimpleNamespace(size=1000)

    def decode(self, chunks: list[Chunk]) -> list[int]:
        if self._machine.fails:
            raise RuntimeError("decode failed")
        self._rows = sum(len(chunk.tokens) for chunk in chunks)
        return [self._rows - 1]

    def logits(self, row: int) -> list[float]:
        assert row == self._rows - 1
        return [0.5, 0.5 if self._rows == 1 or self._machine.computes else nan]

    def remove(self, seq_id: int) -> None:
        pass

    def close(self) -> None:
        self._machine.open.remove(self)


def opened(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    gpu_layers: int | None = None,
    context: int | None = None,
    has_gpu: bool = True,
) -> tuple[int, int]:
    """How many layers are on the GPU, and how long the context is."""
    monkeypatch.setattr(memory, "available_bytes", lambda: machine.host)
    monkeypatch.setattr(model_runner, "native_log", machine.log)
    monkeypatch.setattr(model_runner, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(
        placing, "ModelRunner", lambda path, *, gpu_layers, name: Runner(machine, gpu_layers)
    )
    runner, plan = Placing(
        file=model(),
        context=context,
        gpu_layers=gpu_layers,
        slots=4,
        batch=512,
        scratch=100 << 20,
        threads=4,
        threads_small=1,
    ).open()
    assert len(machine.open) == 1, "whatever was tried before is closed"
    return runner.gpu_layers, plan.context_len


def test_a_model_that_fits_is_on_the_gpu_with_a_context_of_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert opened(Machine(2 * GIB, 24 * GIB), monkeypatch) == (-1, 40_960)

    layers, context = opened(Machine(64 * GIB, 6 * GIB), monkeypatch)
    assert layers == -1
    assert 10_000 < context < 16_000  # the host has room for all


def test_what_does_not_fit_is_shared_with_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (3 * GIB, int(4.3 * GIB)):  # too little for the weights; for a context beside them
        machine = Machine(16 * GIB, gpu)
        layers, context = opened(machine, monkeypatch)

        assert machine.tried == [-1, layers]
        assert 0.5 * LAYERS * gpu / GIB / 4.8 < layers < LAYERS
        assert context >= memory.CONTEXT_USEFUL


def test_a_longer_context_leaves_room_for_fewer_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [
        opened(Machine(64 * GIB, 5 * GIB), monkeypatch, context=context)[0]
        for context in (4096, 20_000, 40_000)
    ]
    assert layers[0] == -1
    assert LAYERS > layers[1] > layers[2] > 0


def test_a_gpu_of_unknown_memory_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu, expected in ((24 * GIB, -1), (int(4.5 * GIB), LAYERS // 2), (1 * GIB, 0)):
        machine = Machine(16 * GIB, gpu)
        machine.says_free = False
        assert opened(machine, monkeypatch, context=20_000)[0] == expected


def test_a_gpu_that_holds_no_layer_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(16 * GIB, 100 << 20)
    assert opened(machine, monkeypatch) == (0, 40_960)
    assert machine.tried == [-1, 0]


def test_a_gpu_that_does_not_compute_the_model_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(16 * GIB, 24 * GIB)
    machine.computes = False
    assert opened(machine, monkeypatch) == (0, 40_960)
    with pytest.raises(StartupError, match=r"512 tokens come out as no number.*gpu-layers 0"):
        opened(machine, monkeypatch, gpu_layers=20)
    assert len(machine.open) == 1

    machine = Machine(16 * GIB, 24 * GIB)
    machine.fails = True
    assert opened(machine, monkeypatch) == (0, 40_960)


def test_as_many_layers_as_asked_for_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(Machine(16 * GIB, 3 * GIB), monkeypatch, gpu_layers=8)[0] == 8
    assert opened(Machine(16 * GIB, 24 * GIB), monkeypatch, gpu_layers=99) == (99, 40_960)
    with pytest.raises(StartupError, match="device memory"):
        opened(Machine(16 * GIB, 3 * GIB), monkeypatch, gpu_layers=LAYERS)


def test_without_a_gpu_nothing_is_loaded_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(2 * GIB, 24 * GIB)
    for options in ({"has_gpu": False}, {"gpu_layers": 0}):
        with pytest.raises(StartupError, match=r"only 2\.0 GiB are free"):
            opened(machine, monkeypatch, **options)
    assert machine.tried == []


def test_several_gpus_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = NativeLog()
    log.begin_load()
    for number in range(2):
        log(2, f"using device CUDA{number} (NVIDIA - 8 X) (0000:0{number}:00.0) - 1024 MiB free\n")
    assert log.gpu_free_bytes == 2 * GIB
    log.begin_load()
    assert log.gpu_free_bytes is None


@pytest.mark.parametrize(
    ("size", "cuttable", "slots", "expected"),
    [
        (4 * GIB, True, 8, 127),
        (6 << 20, True, 8, 63),  # where a step is short, fewer ids make it shorter
        (6 << 20, True, 40, 80),
        (6 << 20, True, 100, 127),
        (6 << 20, False, 8, 16),
        (4 * GIB, False, 100, 127),
    ],
)
def test_sequence_ids_are_for_the_slots_and_what_stands_beside_them(
    monkeypatch: pytest.MonkeyPatch, size: int, cuttable: bool, slots: int, expected: int
) -> None:
    monkeypatch.setattr(Runner, "cuttable", cuttable)
    placing = Placing(model(size), None, 0, slots, 512, 0, 1, 1)
    assert placing._sequence_ids(Runner(Machine(16 * GIB, 0), 0)) == expected  # type: ignore[arg-type]
