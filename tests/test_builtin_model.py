"""The shipped model: what its card and its place in the package promise."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.catalog.models import BUILTIN, model_path
from antiphon.engines.llamacpp.engine import LlamaEngine

ROOT = Path(__file__).parent.parent
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaEngine]:
    engine = LlamaEngine.load(model_path(BUILTIN), slots=1)
    yield engine
    asyncio.run(engine.close())


def test_it_is_small_enough_to_ship() -> None:
    assert model_path(BUILTIN).stat().st_size <= 16 * MEBIBYTE


def test_its_context_is_what_it_was_trained_for(engine: LlamaEngine) -> None:
    assert engine.info.context_len == 2048


def test_it_carries_the_template_of_the_repository(engine: LlamaEngine) -> None:
    template = (ROOT / "builtin_model" / "chat_template.jinja").read_text(encoding="utf-8")

    assert engine.info.chat_template == template.strip()


def test_it_carries_its_own_sampling_defaults(engine: LlamaEngine) -> None:
    sampling = engine.info.sampling

    assert (round(sampling.temperature, 3), sampling.top_k, round(sampling.top_p, 3)) == (
        0.2,
        20,
        0.95,
    )


def test_tags_for_tools_and_thinking_are_in_the_vocabulary(engine: LlamaEngine) -> None:
    texts = {token.text for token in engine.tokenizer.special_tokens}

    assert {"<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>"} <= texts


def test_the_evaluation_is_not_in_the_training_data() -> None:
    check = subprocess.run(
        [sys.executable, "check_data.py"], cwd=ROOT / "builtin_model", capture_output=True
    )

    assert check.returncode == 0, check.stderr.decode()
