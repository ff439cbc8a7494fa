"""How much a step may take on, so that nobody who waits for a token waits long. Pure.

What a step costs whatever is in it (above all, reading the weights), what a prompt token costs, and
what a block costs that leaves the cells or comes back, is learned from the steps themselves: it
depends on the model, the machine, what else runs there, and the length of the context.
"""

from collections.abc import Sequence

from antiphon.engines.llamacpp.padding import TOGETHER

FIRST_TOKENS = 16  # beside others, while nothing is known yet
TOKENS_MIN = 6  # of every step: a prompt always goes on
PROMPT_SHARE = 0.5  # of a step's time at least, whatever reading the weights takes
TOKENS_SHARE_MIN = 0.2  # of what a step with a prompt took, that is put down to its tokens
# While nobody waits for a token, a step holds up newcomers only. So it may be twice as long, and
# takes so many tokens at least: in a long context small steps are dear (67 tokens behind 4,237 took
# 2.6 times as long in pieces of 8), and a turn of a conversation is computed in one of them.
ALONE_STEPS, ALONE_TOKENS_MIN = 2, 128
TRIED_AT = 24  # tokens that a step is enough for: together they may not take longer
LONGER = 1.25  # a step may be so much longer, where that is enough for those, or for their share
SHORTER_SHARE = 0.6  # of what a token has cost meanwhile: then the context is a shorter one
BRIEF_S = 0.005  # that nobody notices
LATEST_SHARE = 0.3  # of the last step in the average
FIRST_BLOCKS = 2  # of a step, while nothing is known of blocks yet
BLOCKS_MAX = 32  # of a step
QUIET_FIRST_S, QUIET_MAX_S = 0.005, 0.05  # while nothing is known of blocks; at most
APART_TOKENS_MAX = 8 * TOGETHER  # of one batch in the second context
APART_SHARE = 0.75  # of the time, for the second context
SAVING_SHARE = 0.1  # of the time of those who decode, for saving beside them


class Pace:
    """`step_s`: how long a step should take at most, in seconds. `fills_up`: fewer tokens than are
    taken together take no longer than those do, see `padding.py`."""

    def __init__(self, step_s: float, *, fills_up: bool = False) -> None:
        assert step_s > 0
        self._step_s = step_s
        self._fills_up = fills_up
        self._fixed_s: float | None = None
        self._token_s: float | None = None  # of less than are taken together
        self._together_s: float | None = None  # a token, of those
        self._dearest_s = 0.0  # a token of less, since so many were taken together
        self._beside_s: float | None = None  # a step, while the second context computes
        self._block_s: float | None = None
        self._saving_s = 0.0  # that may be taken from those who decode
        self._spent_s = 0.0  # on blocks, in this step

    def tokens(self, most: int, *, beside: int) -> int:
        """Prompt tokens for the next step, `most` at most, `beside` so many of those who wait for a
        token: with these they make up what can be taken together."""
        step_s, least, first = self._step_s, TOKENS_MIN, FIRST_TOKENS
        if not beside:
            step_s, least, first = ALONE_STEPS * step_s, ALONE_TOKENS_MIN, ALONE_TOKENS_MIN
        for_tokens = self._for_tokens_s(step_s)
        tokens = few = first if self._token_s is None else int(for_tokens / self._token_s)
        together = TOGETHER - beside % TOGETHER
        is_enough = self._is_enough(together, few, for_tokens)
        many = few if self._together_s is None else int(for_tokens / self._together_s)
        if is_enough and (most >= together or self._fills_up):
            whole = (many + beside) // TOGETHER * TOGETHER - beside
            tokens = max(together, whole if 2 * whole >= many else many)
        return min(most, max(least, tokens))

    def takes_together(self, beside: int) -> bool:
        """Whether a step beside so many who wait for a token is known to be enough for as many of a
        prompt as are taken together."""
        for_tokens = self._for_tokens_s(self._step_s)
        is_known = self._together_s is not None
        return is_known and self._is_enough(TOGETHER - beside % TOGETHER, 0, for_tokens)

    def tokens_apart(self) -> int:
        """Prompt tokens for the second context: a step's worth, though it stands still for others
        in the middle of them."""
        if self._together_s is None:
            return TOGETHER
        many = int(self._step_s / self._together_s) // TOGETHER * TOGETHER
        return min(max(many, TOGETHER), APART_TOKENS_MAX)

    def rest_s(self, spent_s: float, *, beside: bool) -> float:
        """How long the second context computes until the next step, in seconds. `beside` those who
        wait for a token: what is left of a step, if the next one takes as long as the last ones
        did, of which the latest took `spent_s`; up to `APART_SHARE` of the time, as far as a step
        that is `LONGER` is enough for that; and half of a step at least. Else as long as this one
        took. Modifies what the last ones took."""
        if not beside:
            return max(self._step_s - spent_s, spent_s)
        self._beside_s = _average(self._beside_s, spent_s)
        share_s = APART_SHARE / (1 - APART_SHARE) * self._beside_s
        longer_s = min(share_s, LONGER * self._step_s - self._beside_s)
        return max(self._step_s - self._beside_s, longer_s, PROMPT_SHARE * self._step_s)

    def tokens_in(self, seconds: float) -> int:
        """Prompt tokens that so many seconds are enough for, as far as is known; else 0."""
        token_s = self._together_s or self._token_s
        return int(seconds / token_s) if token_s else 0

    def is_brief(self, tokens: int) -> bool:
        """Whether a step of so many tokens is known to be over before anybody would notice."""
        token_s = self._token_s or self._together_s
        if self._fixed_s is None or token_s is None:
            return False
        return self._fixed_s + tokens * token_s <= BRIEF_S

    def blocks(self, share: float = 1.0) -> int:
        """Blocks that a share of a step is enough for; at least one, so that all goes on."""
        if self._block_s is None:
            return FIRST_BLOCKS
        return max(1, min(BLOCKS_MAX, int(share * self._step_s / self._block_s)))

    def blocks_beside(self) -> int:
        """Blocks that may be saved beside those who decode: often none, and one every few steps.
        Modifies what is left for the next steps."""
        block_s = self._step_s if self._block_s is None else self._block_s
        if self._saving_s < block_s:
            return 0
        self._saving_s = 0.0
        return 1

    def quiet_s(self) -> float:
        """How long nobody may have asked for anything until blocks are saved, in seconds: as long
        as one takes, so that who goes on at once waits for less."""
        return QUIET_FIRST_S if self._block_s is None else min(QUIET_MAX_S, self._block_s)

    def begin_step(self) -> None:
        self._spent_s = 0.0

    def spend_on_blocks(self, count: int) -> None:
        """Take their time from what the step has for prompts."""
        self._spent_s += count * (self._block_s or 0)

    def observe(self, lengths: Sequence[int], seconds: float, *, padding: int = 0) -> None:
        """A step computed so many tokens of each sequence, and `padding` more, in `seconds`. Steps
        of a few tokens each say what a step costs at least, the others what a token of a prompt
        costs."""
        tokens = sum(lengths) + padding
        self._saving_s += SAVING_SHARE * seconds
        if max(lengths, default=0) < TOKENS_MIN:
            beyond = (tokens - 1) * (self._token_s or self._together_s or 0)
            self._fixed_s = _average(self._fixed_s, max(0, seconds - beyond))
        elif seconds > 0:
            token_s = max(seconds - (self._fixed_s or 0), TOKENS_SHARE_MIN * seconds) / tokens
            if tokens < TOGETHER:
                self._token_s = _average(self._token_s, token_s)
                self._dearest_s = max(self._dearest_s, self._token_s)
                if self._token_s < SHORTER_SHARE * self._dearest_s:
                    self._together_s = None  # to be tried again
            else:
                self._observe_together(token_s)

    def observe_apart(self, tokens: int, seconds: float) -> None:
        """The second context has computed so many."""
        if tokens >= TOGETHER and seconds > 0:
            self._observe_together(seconds / tokens)

    def observe_blocks(self, blocks: int, seconds: float) -> None:
        """So many were saved or brought back in `seconds`."""
        if blocks and seconds > 0:
            self._block_s = _average(self._block_s, seconds / blocks)

    def _observe_together(self, token_s: float) -> None:
        self._dearest_s = 0.0
        self._together_s = _average(self._together_s, token_s)
        if self._token_s is not None:
            self._token_s = max(self._token_s, self._together_s)

    def _for_tokens_s(self, step_s: float) -> float:
        """What a step of so many seconds has for the tokens of prompts."""
        fixed_s = self._spent_s + (self._fixed_s or 0)
        return max(step_s - fixed_s, PROMPT_SHARE * step_s)

    def _is_enough(self, together: int, few: int, seconds: float) -> bool:
        """Whether seconds that are enough for a `few` tokens are for so many together."""
        if self._together_s is None:
            return few >= TRIED_AT
        return together * self._together_s <= LONGER * seconds


def _average(before: float | None, latest: float) -> float:
    return latest if before is None else before + LATEST_SHARE * (latest - before)
