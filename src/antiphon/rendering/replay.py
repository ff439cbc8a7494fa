"""Token-exact replay: an answer that a client sends back is the tokens that the engine generated.

Text can be tokenised in many ways, and templates write calls and thinking in a form of their own,
so what is rendered again is rarely what was generated, and everything that an engine has computed
from there on is lost. Here every answer is remembered as tokens, found again by what it says, and
spliced into the rendered prompt. Not finding it costs cache, never meaning.

Clients may re-order the keys of a call's input, drop empty blocks or trim text; that finds the
same answer. What was said before an answer decides between answers that say the same.
"""

import json
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Any

import msgspec

TOKENS_MAX = 4_000_000  # of all answers that are kept; four bytes each

_ENCODER = json.JSONEncoder(sort_keys=True)  # `json.dumps` makes one for every call

type Part = tuple[Any, ...]
"""What an answer says, piece by piece: ("text", text), ("call", name, input), …"""


class Prefix:
    """The digest of growing token ids: what stands before an answer."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._length = 0

    def digest(self, ids: Sequence[int]) -> bytes:
        """Of `ids`, which begin with those of the last call."""
        self._hash.update(_packed(ids[self._length :]))
        self._length = len(ids)
        return self._hash.digest()


def _packed(ids: Sequence[int]) -> memoryview:
    """Each of them in as many bytes as it takes, so that parts joined are packed as the whole: in
    a fifth of the time that an array takes to make."""
    packed = msgspec.msgpack.encode(ids)
    length_bytes = 1 if len(ids) < 1 << 4 else 3 if len(ids) < 1 << 16 else 5
    return memoryview(packed)[length_bytes:]


def meaning(owner: str, parts: Iterable[Part]) -> bytes:
    """The digest of what an answer says, for those who may find it."""
    said: list[list[Any]] = [["owner", owner]]
    for part in parts:
        if part[0] == "text" and said[-1][0] == "text":
            said[-1] = ["text", said[-1][1] + part[1]]
        else:
            said.append([part[0], *map(_plain, part[1:])])
    told = [[p[0], p[1].strip()] if p[0] == "text" else p for p in said]
    kept = [part for part in told if part != ["text", ""]]
    return blake2b(_ENCODER.encode(kept).encode(), digest_size=16).digest()


def _plain(value: Any) -> Any:
    """Numbers as every client writes them: JavaScript has no 1.0."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


@dataclass(frozen=True, slots=True)
class Spoken:
    """One answer's tokens. The first `opening` of them were not generated: they opened it."""

    ids: Sequence[int]
    opening: int

    @property
    def generated(self) -> Sequence[int]:
        return self.ids[self.opening :]


class ReplayMap:
    """Answers by what they say and what stood before, the least recently used forgotten first.
    Safe to use from several threads."""

    def __init__(self, tokens_max: int = TOKENS_MAX) -> None:
        self._answers: OrderedDict[tuple[bytes, bytes], Spoken] = OrderedDict()
        self._latest: dict[bytes, dict[bytes, None]] = {}  # what stood before, by meaning
        self._tokens = 0
        self._tokens_max = tokens_max
        self._lock = Lock()

    def remember(self, said: bytes, before: bytes, spoken: Spoken) -> None:
        """`before`: the digest of the tokens in front of it."""
        kept = Spoken(array("i", spoken.ids), spoken.opening)
        with self._lock:
            self._forget(said, before)
            self._answers[said, before] = kept
            self._latest.setdefault(said, {})[before] = None
            self._tokens += len(kept.ids)
            while self._tokens > self._tokens_max:
                self._forget(*next(iter(self._answers)))

    def latest(self, said: bytes) -> Spoken | None:
        """The latest answer that says this."""
        with self._lock:
            before = next(reversed(self._latest.get(said, {})), None)
            return None if before is None else self._answers[said, before]

    def exact(self, said: bytes, before: bytes) -> Spoken | None:
        """The answer that says this and was given there."""
        with self._lock:
            spoken = self._answers.get((said, before))
            if spoken is not None:
                self._answers.move_to_end((said, before))
            return spoken

    def _forget(self, said: bytes, before: bytes) -> None:
        spoken = self._answers.pop((said, before), None)
        if spoken is None:
            return
        self._tokens -= len(spoken.ids)
        del self._latest[said][before]
        if not self._latest[said]:
            del self._latest[said]
