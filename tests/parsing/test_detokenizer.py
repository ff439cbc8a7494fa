"""Text comes out whole: no half characters, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import InternalError
from antiphon.parsing.detokenizer import Detokenizer

BYTES = [bytes([i]) for i in range(256)]


@given(st.text())
def test_one_byte_at_a_time_gives_the_text_back(text: str) -> None:
    detokenizer = Detokenizer(BYTES.__getitem__)

    assert "".join(detokenizer.feed(byte) for byte in text.encode()) == text


@given(st.text(min_size=1))
def test_no_piece_is_half_a_character(text: str) -> None:
    detokenizer = Detokenizer(BYTES.__getitem__)
    pieces = [detokenizer.feed(byte) for byte in text.encode()]

    assert all(len(piece) <= 1 for piece in pieces)
    assert "�" not in "".join(pieces) or "�" in text


def test_a_character_cut_by_the_end_is_dropped() -> None:
    detokenizer = Detokenizer(BYTES.__getitem__)
    pieces = [detokenizer.feed(byte) for byte in "ab🎵".encode()[:-1]]

    assert "".join(pieces) == "ab"


def test_bytes_that_are_no_text_do_not_swallow_their_neighbours() -> None:
    detokenizer = Detokenizer(BYTES.__getitem__)
    pieces = [detokenizer.feed(byte) for byte in b"a\xff\xc3b"]

    assert "".join(pieces) == "a��b"


def test_a_token_outside_the_vocabulary_is_the_engines_bug_and_says_so() -> None:
    with pytest.raises(InternalError, match="unknown token 999"):
        Detokenizer(BYTES.__getitem__).feed(999)
