"""Whose turn it is: who of those that wait may run next, and how a step is shared. Pure.

A question of 20 tokens behind a document of 4,000 would wait half a minute on a small machine, and
the document would hardly notice it. So what is short goes first, and nobody starves of it:

- A waiting sequence is overtaken by `OVERTAKEN_MAX` of its owner's at most. Whoever else is
  admitted before it came before it, or is of another owner, who then had fewer that ran, or as many
  and one that waits for longer than all of this owner. Only who waits for a prefix that is being
  computed is passed by all who can run: it is not its turn that it waits for.
- The prompt that came first gets `OLDEST_SHARE` of the prompt tokens of every step at least, so it
  takes twice as many steps as alone at most. The others get that share at the latest when all that
  came before them are computed.
- Everyone who decodes gets a token in every step, and prompts get what `Pace` says, which is never
  nothing: neither of them holds up the other for longer than a step.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from math import ceil

from antiphon.engines.llamacpp.pace import Pace
from antiphon.engines.llamacpp.padding import TOGETHER
from antiphon.engines.llamacpp.sequence import Sequence

OVERTAKEN_MAX = 8
SIZE_TOKENS = 64  # prompts with fewer tokens to compute are of one size, then twice as many are
OLDEST_SHARE = 0.5
PREFILL_TOKENS_ALONE = 512  # prompt tokens a step while nobody waits for a token, or one batch
PREFILL_TOKENS_BESIDE = 512  # the same beside decoding streams, which the step holds up
FORCED_TOKENS_MAX = 512  # that all who decode may add to a step, beside their one token each


def in_turn(waiting: Iterable[Sequence], running: Iterable[Sequence]) -> Iterator[Sequence]:
    """Those who wait, given in order of arrival, in the order in which one of them may run. Once
    one of them does, it is another."""
    waiting = list(waiting)
    if len(waiting) < 2:
        yield from waiting
        return
    runs = Counter(sequence.owner for sequence in running)
    queues: dict[str, list[Sequence]] = {}
    for sequence in waiting:
        queues.setdefault(sequence.owner, []).append(sequence)
    for owner in sorted(queues, key=lambda owner: runs[owner]):  # of as many, who waits for longest
        yield from _short_first(queues[owner])


def _short_first(queue: Iterable[Sequence]) -> Iterator[Sequence]:
    """By size, then by arrival; nobody behind one that has been overtaken often enough goes before
    it."""
    group: list[Sequence] = []
    for sequence in queue:
        group.append(sequence)
        if sequence.overtaken >= OVERTAKEN_MAX:
            yield from sorted(group, key=_size)
            group = []
    yield from sorted(group, key=_size)


def _size(sequence: Sequence) -> int:
    """Of about as many tokens, the first to come goes first: nobody gains by less than half."""
    return (sequence.to_compute // SIZE_TOKENS).bit_length()


def count_overtaken(by: Sequence, waiting: Iterable[Sequence]) -> None:
    """`by` runs before these, who do not ride."""
    for sequence in waiting:
        if sequence.owner == by.owner and sequence.arrival < by.arrival:
            assert sequence.overtaken < OVERTAKEN_MAX
            sequence.overtaken += 1


def decodes(sequence: Sequence) -> bool:
    """Whether all that it was admitted with is computed, or one token of it is left."""
    return sequence.num_pending == 1 or sequence.computed >= sequence.resumed_at


def is_prompt(sequence: Sequence) -> bool:
    """Whether its next tokens are computed among those of other prompts."""
    return not (decodes(sequence) or sequence.restoring or sequence.beside)


def lengths(
    running: SequenceOf[Sequence], pace: Pace | None, alone: int = PREFILL_TOKENS_ALONE
) -> list[tuple[Sequence, int]]:
    """How many tokens a step computes, and whose: everyone who decodes, one token and what was
    forced behind it; then prompts, `alone` of their tokens at most while nobody decodes. Both in
    order of arrival."""
    steps, forced = [], FORCED_TOKENS_MAX
    for sequence in filter(decodes, running):
        length = min(sequence.num_pending, 1 + forced)
        forced -= length - 1
        steps.append((sequence, length))
    beside = sum(length for _, length in steps)
    budget = PREFILL_TOKENS_BESIDE - beside % TOGETHER if steps else alone
    prompts = [s for s in running if is_prompt(s)]
    left = [sequence.num_pending for sequence in prompts]
    if pace is not None:
        budget = pace.tokens(min(budget, sum(left)), beside=beside)
    shares = share(budget, left)
    return steps + [(s, length) for s, length in zip(prompts, shares, strict=True) if length]


def share(budget: int, left: SequenceOf[int]) -> list[int]:
    """Tokens for each prompt, given how many it has left. First `OLDEST_SHARE` for the first of
    them; then who has the fewest left gets all of these, as far as the budget goes."""
    shares = [0] * len(left)
    if left:
        shares[0] = min(left[0], ceil(budget * OLDEST_SHARE))
        budget -= shares[0]
    for number in sorted(range(len(left)), key=lambda number: left[number]):
        more = min(budget, left[number] - shares[number])
        shares[number] += more
        budget -= more
    return shares
