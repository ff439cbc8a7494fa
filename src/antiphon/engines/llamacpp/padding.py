"""Rows that are computed for nothing, since together all of them take less time. Pure.

On a CPU, llama.cpp's flash attention takes 64 rows of a batch together (`GGML_FA_TILE_Q`), and
where there are fewer, each one alone, at several times the cost: behind 3,000 tokens, 40 rows of a
0.6B model take 2.5 s, and 64 take 1.2. So a batch of fewer is filled up, where that is less work.
"""

from collections.abc import Iterable

TOGETHER = 64
# What a multiplication with a key takes, against one with a weight: measured 4 to 6 for models of
# 0.3 to 440 million weights, and of that a fifth where rows are taken together.
KEY_FACTOR, TOGETHER_SHARE = 5, 0.2


class Padding:
    """Of a model that multiplies each row with `weights` values, and for each token before it, with
    `keys` more."""

    def __init__(self, *, weights: int, keys: int) -> None:
        self._key = KEY_FACTOR * keys / max(weights, 1)  # its cost, where a row's weights are 1

    def rows(self, batch: Iterable[tuple[int, int]], cells: int) -> int:
        """How many to add to a batch: of each sequence so many rows, behind so many tokens. `cells`
        are free for them."""
        rows, alone, keys = 0, 0.0, 0
        for length, behind in batch:
            rows += length
            alone += length * (1 + self._key * behind)
            keys += behind  # what several share is counted again: rather too few are filled up
        together = TOGETHER * (1 + TOGETHER_SHARE * self._key * keys)
        missing = TOGETHER - rows
        return missing if 0 < missing <= cells and together < alone else 0
