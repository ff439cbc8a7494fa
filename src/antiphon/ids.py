"""Identifiers as the API makes them: a prefix, `_01` and 22 base62 characters (spec §3.6)."""

import random
import string
from collections.abc import Callable

ALPHABET = string.digits + string.ascii_letters
LENGTH = 22  # base62 characters: 131 bits

NewId = Callable[[str], str]


def generator(rng: random.Random | None = None) -> NewId:
    """Return `new_id(prefix) -> str`. Pass a seeded `rng` for repeatable identifiers."""
    source = rng if rng is not None else random.SystemRandom()

    def new_id(prefix: str) -> str:
        number = source.randrange(
            len(ALPHABET) ** LENGTH
        )  # one call of the system, not one a digit
        digits = []
        for _ in range(LENGTH):
            number, digit = divmod(number, len(ALPHABET))
            digits.append(ALPHABET[digit])
        return f"{prefix}_01{''.join(digits)}"

    return new_id
