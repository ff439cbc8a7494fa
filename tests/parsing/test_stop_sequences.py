"""Stop sequences: the same result for every way the text is cut into pieces."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.parsing.stop_sequences import StopSequences


def run(sequences: list[str], pieces: Iterable[str]) -> tuple[str, str | None]:
    scanner = StopSequences(sequences)
    shown = ""
    for piece in pieces:
        scanned = scanner.feed(piece)
        shown += scanned.text
        if scanned.matched is not None:
            return shown, scanned.matched
    return shown + scanner.finish(), None


CASES = [
    (["END"], "one END two", ("one ", "END")),
    (["END"], "one EN", ("one EN", None)),
    (["END"], "ENEND", ("EN", "END")),
    (["aab"], "aaab", ("a", "aab")),
    (["\n\n"], "a\nb\n\nc", ("a\nb", "\n\n")),
    (["b", "abc"], "xabc", ("xa", "b")),
    (["abc", "c"], "xabc", ("x", "abc")),
    (["aXb", "X"], "aXb", ("a", "X")),
    (["ab", "abab"], "abab", ("", "ab")),
    ([], "anything", ("anything", None)),
    (["é"], "caf\u00e9!", ("caf", "é")),
]


@pytest.mark.parametrize(("sequences", "text", "expected"), CASES)
def test_one_character_at_a_time(
    sequences: list[str], text: str, expected: tuple[str, str | None]
) -> None:
    assert run(sequences, text) == expected


@pytest.mark.parametrize(("sequences", "text", "expected"), CASES)
def test_in_one_piece(sequences: list[str], text: str, expected: tuple[str, str | None]) -> None:
    assert run(sequences, [text]) == expected


alphabet = st.text("ab\n", max_size=12)


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
    alphabet,
    st.lists(st.integers(0, 12)),
)
def test_the_way_of_cutting_does_not_matter(
    sequences: list[str], text: str, cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]

    assert run(sequences, pieces) == run(sequences, text)


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), alphabet)
def test_what_is_shown_never_contains_a_stop_sequence(sequences: list[str], text: str) -> None:
    shown, matched = run(sequences, text)

    assert not any(sequence in shown for sequence in sequences)
    assert text.startswith(shown + (matched or ""))


def test_text_that_cannot_begin_a_sequence_is_not_held_back() -> None:
    scanner = StopSequences(["</answer>"])

    assert scanner.feed("Hello <").text == "Hello "
    assert scanner.feed("b>").text == "<b>"
