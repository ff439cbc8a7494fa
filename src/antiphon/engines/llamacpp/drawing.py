"""Drawing the next tokens of one generation: a sampler, and the constraint that it is held to."""

import logging
import secrets
from collections.abc import Container
from typing import Any

from antiphon.engines.base import Constraint
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.outbox import Outlet
from antiphon.engines.llamacpp.sampler import TEMPERATURE_MIN, chain, masked, redraw, seed_of
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.errors import ConstraintError

FORCED_AT_ONCE = 64  # forced tokens that join one step; the rest joins the next
REDRAWS_MAX = 8  # before the whole mask is computed

log = logging.getLogger("antiphon.engine")


class Drawing:
    """What the engine's thread keeps for a sequence until it ends."""

    def __init__(self, outlet: Outlet, constraint: Constraint | None) -> None:
        self.outlet = outlet
        self.failed = False  # its constraint cannot go on
        self._constraint = constraint
        self._seed = 0
        self._sampler: Any = None  # keeps its random state through a pause

    def begin(self, sequence: Sequence, runner: ModelRunner) -> None:
        """The sequence is admitted; again, if it had to start over before it answered anything."""
        self.close()
        given = sequence.sampling.seed
        self._seed = secrets.randbits(32) if given is None else given
        self._sampler = runner.new_sampler(chain(sequence.sampling, any_seed=self._seed))

    def draw(
        self, sequence: Sequence, row: int, runner: ModelRunner, ends: Container[int]
    ) -> list[int]:
        """One token behind a row of the last decode, and those that the constraint forces behind
        it. `ends` are the tokens that end an answer."""
        token = runner.draw(self._sampler, row)
        constraint = self._constraint
        if constraint is None:
            return [token]
        try:
            if not constraint.allows(token):
                token = self._redraw(sequence, constraint, token, row, runner)
            constraint.advance([token])
            return [token, *_forced(constraint, token, ends)]
        except ConstraintError as error:
            log.error("a grammar cannot go on: %s", error)
            self.failed = True
            return [token]

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()

    def _redraw(
        self,
        sequence: Sequence,
        constraint: Constraint,
        first: int,
        row: int,
        runner: ModelRunner,
    ) -> int:
        """Draw again within the constraint, as `sampler.redraw` explains."""
        params, place = sequence.sampling, len(sequence.tokens)
        rejected = [first]
        while params.temperature >= TEMPERATURE_MIN and len(rejected) <= REDRAWS_MAX:
            seed = seed_of(self._seed, place, len(rejected))
            token = runner.draw_once(redraw(params, rejected, seed), row)
            if constraint.allows(token):
                return token
            if token in rejected:  # nothing else is left of the support
                break
            rejected.append(token)
        seed = seed_of(self._seed, place, 0)
        links = masked(params, constraint.allowed(), runner.vocabulary.size, seed)
        return runner.draw_once(links, row)


def _forced(constraint: Constraint, last: int, ends: Container[int]) -> list[int]:
    """What must follow a token, the end of the answer included."""
    forced: list[int] = []
    while last not in ends and len(forced) < FORCED_AT_ONCE:
        more = constraint.forced()[: FORCED_AT_ONCE - len(forced)]
        if not more:
            break
        constraint.advance(more)
        forced += more
        last = more[-1]
    return forced
