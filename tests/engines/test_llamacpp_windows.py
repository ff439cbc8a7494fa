"""Models some of whose layers look back a few tokens only: what lies behind is kept all the same,
since others may begin with it."""

import random
from pathlib import Path

import pytest

from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.errors import StartupError
from tests.engines.asking import TOLERANCE, converse, job, run
from tests.engines.tiny_model import Reference, write_windowed_model

WINDOW = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_windowed_model(tmp_path_factory.mktemp("models") / "windowed.gguf", WINDOW)


def words(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(256) for _ in range(count)]


async def test_the_answer_depends_on_what_lies_outside_of_the_window(model: Path) -> None:
    """Without that, nothing that is compared below could differ."""
    engine = LlamaEngine.load(model, slots=1, context=1024, threads=1, ram_bytes=0)
    reference = Reference(model)
    draw = random.Random(1)
    end = words(draw, 2 * WINDOW)
    asked, other = words(draw, 40) + end, words(draw, 40) + end
    answer = (await run(engine, job(asked, 20))).tokens
    assert reference.worst_gap(asked, answer) < TOLERANCE
    assert reference.worst_gap(other, answer) > 2 * TOLERANCE
    reference.close()
    await engine.close()


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
