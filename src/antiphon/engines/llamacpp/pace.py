"""How many prompt tokens a step may take, so that nobody who waits for a token waits long. Pure.

What a token costs is learned from the steps themselves: it depends on the model, the machine, what
else runs there, and the length of the context.
"""

from collections.abc import Sequence

FIRST_TOKENS = 64  # of the first step, of which nothing is known yet
TOKENS_MIN = 8  # of every step: a prompt always goes on
LATEST_SHARE = 0.3  # of the last step in the average


class Pace:
    """`step_s`: how long a step should take at most, in seconds."""

    def __init__(self, step_s: float) -> None:
        assert step_s > 0
        self._step_s = step_s
        self._token_s: float | None = None

    def tokens(self, most: int) -> int:
        """Prompt tokens for the next step, `most` at most."""
        if self._token_s is None:
            return min(most, FIRST_TOKENS)
        affordable = int(self._step_s / self._token_s)
        return min(most, max(TOKENS_MIN, affordable))

    def tokens_in(self, seconds: float) -> int:
        """Prompt tokens that so many seconds are enough for, as far as is known; else 0."""
        return 0 if self._token_s is None else int(seconds / self._token_s)

    def observe(self, lengths: Sequence[int], seconds: float) -> None:
        """A step computed so many tokens of each sequence in `seconds`. Steps of a few tokens each
        say little about prompts: reading the weights is most of what they cost, however many."""
        if max(lengths) < TOKENS_MIN or seconds <= 0:
            return
        latest = seconds / sum(lengths)
        before = latest if self._token_s is None else self._token_s
        self._token_s = before + LATEST_SHARE * (latest - before)
