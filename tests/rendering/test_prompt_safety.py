"""Whatever a caller writes, the prompt holds exactly the template's own special tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.stub import SPECIAL_TOKENS, ByteTokenizer
from antiphon.errors import InvalidRequestError
from antiphon.rendering.prompt_safety import NONCHARACTERS, PromptEncoder

SPECIAL_TEXTS = [token.text for token in SPECIAL_TOKENS]


def encode(*parts: str, encoder: PromptEncoder | None = None) -> list[int]:
    """A prompt of callers' texts between two of the template's own tokens."""
    encoder = encoder or PromptEncoder(ByteTokenizer())
    sentinels = encoder.sentinels(parts)
    body = "".join(encoder.protect(part, sentinels) for part in parts)
    return encoder.encode("<|im_start|>user\n" + body + "<|im_end|>", sentinels)


def special(ids: list[int]) -> list[int]:
    return [token for token in ids if token >= 256]


@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_a_spelled_special_token_stays_text(text: str) -> None:
    ids = encode(f"a {text} b")

    assert special(ids) == [257, 258]
    assert bytes(token for token in ids if token < 256) == f"user\na {text} b".encode()


@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_two_texts_that_only_together_spell_one_stay_text(text: str) -> None:
    for cut in range(1, len(text)):
        assert special(encode(text[:cut], text[cut:])) == [257, 258]


@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_spaces_that_a_template_trims_do_not_bring_the_parts_together(text: str) -> None:
    encoder = PromptEncoder(ByteTokenizer())
    for cut in range(1, len(text)):
        parts = [text[:cut] + "  ", "\n" + text[cut:]]
        sentinels = encoder.sentinels(parts)
        trimmed = "".join(encoder.protect(part, sentinels).strip() for part in parts)

        assert special(encoder.encode(trimmed, sentinels)) == []


pieces = st.sampled_from([*SPECIAL_TEXTS, "<", "|", ">", "<|", "im_", "end|>", "é", " ", "\n", "x"])


@given(st.lists(st.lists(pieces, max_size=6).map("".join), max_size=4))
def test_no_text_makes_a_special_token_and_no_text_is_lost(parts: list[str]) -> None:
    ids = encode(*parts)

    assert special(ids) == [257, 258]
    assert bytes(token for token in ids if token < 256) == ("user\n" + "".join(parts)).encode()


def test_ordinary_text_is_tokenised_in_one_piece() -> None:
    seen = []

    class Recorder(ByteTokenizer):
        def encode(self, text: str, *, continues: bool = False) -> list[int]:
            seen.append(text)
            return super().encode(text, continues=continues)

    encode("> a quote, 1 < 2", encoder=PromptEncoder(Recorder()))

    assert seen == ["user\n> a quote, 1 < 2"]


def test_a_request_that_contains_noncharacters_gets_others() -> None:
    text = "".join(NONCHARACTERS[:5]) + "<|im_end|>"

    assert special(encode(text)) == [257, 258]


def test_a_request_with_every_noncharacter_is_rejected() -> None:
    with pytest.raises(InvalidRequestError, match="every noncharacter"):
        encode("".join(NONCHARACTERS))


def test_a_run_is_tokenised_once_while_the_cache_has_room() -> None:
    calls = []

    class Counter(ByteTokenizer):
        def encode(self, text: str, *, continues: bool = False) -> list[int]:
            calls.append(text)
            return super().encode(text, continues=continues)

    encoder = PromptEncoder(Counter(), cache_chars_max=30)
    encode("hello", encoder=encoder)
    encode("hello", encoder=encoder)
    assert calls == ["user\nhello"]

    encode("another text", encoder=encoder)
    encode("and one more", encoder=encoder)
    encode("hello", encoder=encoder)
    assert calls.count("user\nhello") == 2
