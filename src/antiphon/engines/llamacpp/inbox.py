"""What the engine's thread is told from outside. Plain values."""

from dataclasses import dataclass

from antiphon.engines.base import Constraint
from antiphon.engines.llamacpp.outbox import Outlet
from antiphon.engines.llamacpp.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Submit:
    sequence: Sequence
    outlet: Outlet
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Wake:
    """There may be something to do: the disk takes more again."""


@dataclass(frozen=True, slots=True)
class Close:
    pass
