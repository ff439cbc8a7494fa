"""Identifiers as the API makes them: a prefix, `_01` and 22 base62 characters (spec §3.6)."""

import random
import string
from collections.abc import Callable

ALPHABET = string.digits + string.ascii_letters
LENGTH = 22  # base62 characters: 131 bits
NUMBERS = len(ALPHABET) ** LENGTH
PAIRS = [second + first for first in ALPHABET for second in ALPHABET]

NewId = Callable[[str], str]


def generator(rng: random.Random | None = None) -> NewId:
    """Return `new_id(prefix) -> str`. Pass a seeded `rng` for repeatable identifiers."""
    source = rng if rng is not None else random.SystemRandom()

    def new_id(prefix: str) -> str:
        number = source.randrange(NUMBERS)  # one call of the system, not one a digit
        pairs = []
        for _ in range(LENGTH // 2):
            number, pair = divmod(number, len(PAIRS))
            pairs.append(PAIRS[pair])
        return f"{prefix}_01{''.join(pairs)}"

    return new_id
