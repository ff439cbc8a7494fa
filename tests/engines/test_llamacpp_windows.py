"""Models some of whose layers look back a few tokens only: what lies behind is kept all the same,
since others may begin with it."""

import random
from pathlib import Path

import pytest

from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.errors import StartupError
from tests.engines.asking import converse
from tests.engines.tiny_model import Reference, write_windowed_model

WINDOW = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_windowed_model(tmp_path_factory.mktemp("models") / "windowed.gguf", WINDOW)


def words(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(256) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("stores", [False, True])
async def test_conversations_fork_and_come_back_as_they_were(
    model: Path, stores: bool, seed: int
) -> None:
    ram_bytes = 64 << 20 if stores else 0
    engine = LlamaEngine.load(model, slots=2, context=1024, threads=1, ram_bytes=ram_bytes)
    reference = Reference(model)
    draw = random.Random(seed)
    threads = [words(draw, 100) for _ in range(6)]
    await converse(engine, reference, draw, threads, longest=500)
    assert (engine.metrics()["restored_tokens"] > 0) == stores
    reference.close()
    await engine.close()


def test_as_many_slots_as_half_of_the_ids(model: Path) -> None:
    with pytest.raises(StartupError, match="126 slots"):
        LlamaEngine.load(model, slots=127, context=2048)
