"""Prefixes that are kept for a time, whoever else wants their room. Pure: the clock is passed in.

Each is held by a sequence id of its own, a copy of cells that are there anyway. Together they may
take a part of the cache only, and they give way when a running sequence could not go on otherwise:
what nobody computes at the moment is worth less than what somebody waits for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from antiphon.engines.llamacpp.radix_cache import RadixCache


@dataclass(frozen=True, slots=True)
class Deadline:
    """The first `length` tokens of a prompt are kept until `until`, in seconds of the clock."""

    length: int
    until: float


class Pins:
    def __init__(self, *, cells_max: int, ids_max: int) -> None:
        self._cells_max = cells_max
        self._ids_max = ids_max
        self._held: dict[int, Deadline] = {}
        self._owner: dict[int, str] = {}

    def __contains__(self, seq_id: object) -> bool:
        return seq_id in self._held

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def cells(self) -> int:
        """As if no two shared a beginning: an upper bound."""
        return sum(pin.length for pin in self._held.values())

    def prolong(self, cache: RadixCache, tokens: Sequence[int], owner: str, until: float) -> bool:
        """Whether these tokens are pinned already; then they are for longer."""
        for seq_id, pin in self._held.items():
            is_same = pin.length == len(tokens) and self._owner[seq_id] == owner
            if is_same and cache.tokens(seq_id) == list(tokens):
                self._held[seq_id] = Deadline(pin.length, max(pin.until, until))
                return True
        return False

    def make_room(self, pin: Deadline) -> bool:
        """Whether there is room for one more, if need be by giving up those that end before it."""
        while len(self._held) >= self._ids_max or self.cells + pin.length > self._cells_max:
            first = self.first_to_end()
            if first is None or self._held[first].until >= pin.until:
                return False
            self.forget(first)
        return True

    def add(self, seq_id: int, pin: Deadline, owner: str) -> None:
        self._held[seq_id], self._owner[seq_id] = pin, owner

    def until(self, seq_id: int) -> float | None:
        return self._held[seq_id].until if seq_id in self._held else None

    def first_to_end(self, but: int | None = None) -> int | None:
        held = (seq_id for seq_id in self._held if seq_id != but)
        return min(held, key=lambda seq_id: self._held[seq_id].until, default=None)

    def expire(self, now: float) -> None:
        """What has ended is a retired sequence like others."""
        for seq_id in [seq_id for seq_id, pin in self._held.items() if pin.until <= now]:
            self.forget(seq_id)

    def forget(self, seq_id: int) -> None:
        self._held.pop(seq_id, None)
        self._owner.pop(seq_id, None)
