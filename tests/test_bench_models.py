"""The models of the benches do what their docstring promises."""

import random
from pathlib import Path

import pytest

from antiphon.engines.base import Generation, SamplingParams
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.tokenizer import LlamaTokenizer
from antiphon.parsing.tool_formats.hermes import Hermes
from antiphon.parsing.tool_formats.table import format_of
from antiphon.rendering.chat_template import ChatTemplate
from antiphon.rendering.profiles import probe
from bench import models

TEXT = "The server keeps what it has computed, so that the next question is answered at once. "


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.made(models.TINY, tmp_path_factory.mktemp("models"))


def test_a_model_is_written_once_and_leaves_nothing_beside_it(path: Path) -> None:
    written = path.stat().st_mtime_ns
    assert models.made(models.TINY, path.parent).stat().st_mtime_ns == written
    assert list(path.parent.iterdir()) == [path]


def test_its_template_knows_tools_and_opens_an_answer_with_the_space_that_is_drawn() -> None:
    profile = probe(ChatTemplate(models.chat_template()))
    assert profile.knows_tools
    assert isinstance(format_of(models.chat_template()), Hermes)
    opening = profile.openings[False]
    assert opening is not None
    assert (opening.asked, opening.told) == ("", " ")


def test_a_text_has_as_many_tokens_as_it_should(path: Path) -> None:
    tokenizer = LlamaTokenizer(ModelRunner(path, gpu_layers=0, name="tiny").vocabulary)
    first, others = models.words()
    assert all(len(tokenizer.encode(word + others[0])) == 2 for word in first)
    assert len(tokenizer.encode("".join(others))) == len(others)
    assert len(tokenizer.encode(models.text(random.Random(1), 500))) == 500


@pytest.mark.parametrize("temperature", [0.0, 0.8])
async def test_answers_run_to_the_end_and_are_spelled_as_they_were_drawn(
    path: Path, temperature: float
) -> None:
    engine = LlamaEngine.load(path, slots=1, threads=1, context=1024)
    encode, token_bytes = engine.tokenizer.encode, engine.tokenizer.token_bytes
    assert 3 < len(TEXT) / len(encode(TEXT)) < 5
    job = Generation(encode(TEXT), SamplingParams(temperature=temperature, top_k=40, seed=1), 200)
    drawn = [token async for chunk in engine.generate(job) for token in chunk.token_ids]
    assert len(drawn) == 200
    assert encode(b"".join(map(token_bytes, drawn)).decode()) == drawn
    await engine.close()
