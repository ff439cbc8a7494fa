"""Stop sequences over streamed text: found across token boundaries, never shown, named when met.

Text that may be the beginning of a stop sequence is held back until it is decided (spec §5.3).
"""

from collections.abc import Sequence
from typing import NamedTuple


class Scanned(NamedTuple):
    """`text` may be shown now. `matched` is the stop sequence that ended the answer, if any."""

    text: str
    matched: str | None


class StopSequences:
    """Feed text in any pieces; the result is the same for every way of cutting it.

    The sequence that is complete first wins; of two complete at the same character the longer
    one, because it started earlier and its text must not be shown.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        assert all(sequences), "an empty stop sequence would stop everything"
        self._sequences = sorted(set(sequences), key=len, reverse=True)
        self._held = ""

    def feed(self, text: str) -> Scanned:
        """Add text; after a match nothing may be fed any more."""
        if not self._sequences:
            return Scanned(text, None)
        scanned_until = max(0, len(self._held) - 1)
        self._held += text
        match = self._first_match(scanned_until)
        if match is not None:
            start, sequence = match
            return Scanned(self._held[:start], sequence)
        keep = self._open_length()
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return Scanned(shown, None)

    def finish(self) -> str:
        """The answer ended by itself: what was held back is text after all."""
        text, self._held = self._held, ""
        return text

    def _first_match(self, scanned_until: int) -> tuple[int, str] | None:
        """The match that ends first; the longest of those. Modifies nothing."""
        best: tuple[int, int, str] | None = None
        for sequence in self._sequences:
            start = self._held.find(sequence, max(0, scanned_until - len(sequence)))
            if start < 0:
                continue
            end = start + len(sequence)
            if best is None or end < best[0]:
                best = (end, start, sequence)
        return None if best is None else (best[1], best[2])

    def _open_length(self) -> int:
        """How many characters at the end are the beginning of some sequence. Modifies nothing."""
        longest = min(len(self._held), len(self._sequences[0]) - 1)
        for length in range(longest, 0, -1):
            tail = self._held[-length:]
            if any(sequence.startswith(tail) for sequence in self._sequences):
                return length
        return 0
