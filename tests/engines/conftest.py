"""The tiny random model, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.tiny_model import Reference, write_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def reference(tiny_model: Path) -> Iterator[Reference]:
    reference = Reference(tiny_model)
    yield reference
    reference.close()
