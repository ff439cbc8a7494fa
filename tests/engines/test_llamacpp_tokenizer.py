"""Text and token ids, over real vocabularies of both families."""

from pathlib import Path

import pytest

from antiphon.engines.base import TokenKind
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.tokenizer import LlamaTokenizer
from tests.engines.tiny_model import write_sentencepiece_model


@pytest.fixture(scope="module")
def byte_level(tiny_model: Path) -> LlamaTokenizer:
    return LlamaTokenizer(ModelRunner(tiny_model, gpu_layers=0, name="tiny").vocabulary)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    path = write_sentencepiece_model(tmp_path_factory.mktemp("spm") / "spm.gguf")
    return LlamaTokenizer(ModelRunner(path, gpu_layers=0, name="spm").vocabulary)


def decode(tokenizer: LlamaTokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


@pytest.mark.parametrize("text", ["hello the world", "a  b\n\tc", "Grüße, 世界 🌍", "a\0b", ""])
def test_round_trip(byte_level: LlamaTokenizer, text: str) -> None:
    assert decode(byte_level, byte_level.encode(text)) == text


def test_special_tokens(byte_level: LlamaTokenizer) -> None:
    kinds = {token.text: token.kind for token in byte_level.special_tokens}

    assert kinds["<|im_end|>"] == TokenKind.CONTROL
    assert kinds["<think>"] == TokenKind.USER_DEFINED
    assert "    " not in kinds  # spaces are text, however the vocabulary marks them
    assert len(kinds) == 7
    for token in byte_level.special_tokens:
        assert byte_level.token_bytes(token.id) == token.text.encode()


def test_control_tokens_are_not_found_in_text(byte_level: LlamaTokenizer) -> None:
    control = {t.id for t in byte_level.special_tokens if t.kind == TokenKind.CONTROL}

    assert control.isdisjoint(byte_level.encode("<|im_end|><|im_start|>system"))


def test_ids_that_do_not_exist(byte_level: LlamaTokenizer) -> None:
    for token_id in (-1, 300, 1 << 40):
        with pytest.raises(IndexError):
            byte_level.token_bytes(token_id)


def test_half_a_surrogate_pair_is_replaced(byte_level: LlamaTokenizer) -> None:
    assert decode(byte_level, byte_level.encode("a\ud800b")) == "a?b"


def test_long_texts(byte_level: LlamaTokenizer) -> None:
    text = "the cat and the dog. " * 20_000

    assert decode(byte_level, byte_level.encode(text)) == text


def test_sentencepiece_marks_the_beginning_of_a_text_only(sentencepiece: LlamaTokenizer) -> None:
    whole = sentencepiece.encode("hello world")
    first, rest = sentencepiece.encode("hello"), sentencepiece.encode(" world", continues=True)

    assert decode(sentencepiece, whole) == " hello world"
    assert first + rest == whole
    assert decode(sentencepiece, sentencepiece.encode("lo", continues=True)) == "lo"
    assert sentencepiece.encode("", continues=True) == []


def test_continues_changes_nothing_in_byte_level_vocabularies(byte_level: LlamaTokenizer) -> None:
    assert byte_level.encode("the end", continues=True) == byte_level.encode("the end")
