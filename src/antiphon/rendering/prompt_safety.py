"""Text of callers never becomes a special token, whatever it spells.

Tokenisers turn `<|im_end|>` inside a question into the token that ends a turn, and so a caller,
or a document that a caller pastes, could speak as somebody else. Templates work on text, so the
mark has to survive them: `protect` puts a sentinel, a noncharacter that occurs nowhere in the
request, into everything in a caller's text that spells a special token, and `PromptEncoder` later
splits the rendered text at the special tokens that are still whole, which are the template's own.

Two sentinels are needed. The cut breaks a special token's text, and the text is tokenised in two
parts there. The edge stands where a caller's text begins or ends with a part of a special token's
text: it keeps the neighbouring text from completing it, and vanishes before tokenisation, so that
ordinary text gives exactly the tokens that it gives without it.
"""

import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from antiphon.errors import InvalidRequestError

CACHE_CHARS_MAX = 16 * 1024 * 1024  # text whose token ids are kept, in characters

# The 66 noncharacters of Unicode: legal in strings, never assigned, not for interchange.
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)] + [
    chr(plane + low) for plane in range(0, sys.maxunicode, 0x10000) for low in (0xFFFE, 0xFFFF)
]
_NONCHARACTER = re.compile(f"[{''.join(NONCHARACTERS)}]")


class SpecialToken(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...


class Tokenizer(Protocol):
    """What rendering needs of an engine's tokeniser (see `engines.base.Tokenizer`)."""

    @property
    def special_tokens(self) -> Sequence[SpecialToken]: ...

    def encode(self, text: str, *, continues: bool = False) -> list[int]: ...

    def token_bytes(self, token_id: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The noncharacters of one request. `splice` stands where token ids are put in later, `marks`
    (see `breakpoints.py`) are taken out before text is encoded."""

    cut: str
    edge: str
    splice: str
    marks: tuple[str, str]

    def strip(self, text: str) -> str:
        return text.replace(self.cut, "").replace(self.edge, "")


class PromptEncoder:
    """Protects callers' texts and turns rendered text into token ids.

    Ids of a run between two special tokens are kept by text (least recently used goes first):
    a conversation that grows by a turn tokenises that turn only. Safe from several threads.
    """

    def __init__(self, tokenizer: Tokenizer, cache_chars_max: int = CACHE_CHARS_MAX) -> None:
        self._tokenizer = tokenizer
        tokens = [token for token in tokenizer.special_tokens if len(token.text) > 1]
        self._ids = {token.text: token.id for token in tokens}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._beginnings = {text[:n] for text in self._ids for n in range(1, len(text))}
        self._endings = {text[n:] for text in self._ids for n in range(1, len(text))}
        # Most texts end and begin with none of these: one look instead of twenty slices.
        self._part_ends = {part[-1] for part in self._beginnings}
        self._part_begins = {part[0] for part in self._endings}
        self._part_len_max = max(map(len, self._ids), default=1) - 1
        self._cache: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()
        self._cache_chars = 0
        self._cache_chars_max = cache_chars_max
        self._lock = Lock()

    def token(self, text: str) -> int | None:
        """The token that is this text, if there is one."""
        return self._ids.get(text)

    def sentinels(self, texts: Iterable[str]) -> Sentinels:
        """Choose noncharacters that occur in none of `texts`."""
        others = (text for text in texts if not text.isascii())
        used = set().union(*map(_NONCHARACTER.findall, others))
        free = [char for char in NONCHARACTERS if char not in used]
        if len(free) < 5:
            raise InvalidRequestError("messages: the text uses every noncharacter of Unicode")
        return Sentinels(cut=free[0], edge=free[1], splice=free[2], marks=(free[3], free[4]))

    def protect(self, text: str, sentinels: Sentinels) -> str:
        """Mark everything in a caller's text that is, or could become, a special token."""
        if any(mark in text for mark in sentinels.marks):
            pieces = re.split(f"([{''.join(sentinels.marks)}])", text)
            return "".join(self._protect(piece, sentinels) for piece in pieces)
        return self._protect(text, sentinels)

    def _protect(self, text: str, sentinels: Sentinels) -> str:
        while self._special.search(text):  # again: cutting one may leave one that overlapped it
            text = self._special.sub(lambda m: m[0][0] + sentinels.cut + m[0][1:], text)
        body = text.rstrip()  # templates trim: the end of the text may become the one before
        longest = min(self._part_len_max, len(body)) if body[-1:] in self._part_ends else 0
        for length in range(longest, 0, -1):
            if body[-length:] in self._beginnings:
                text = body + sentinels.edge + text[len(body) :]
                break
        body = text.lstrip()
        longest = min(self._part_len_max, len(body)) if body[:1] in self._part_begins else 0
        for length in range(longest, 0, -1):
            if body[:length] in self._endings:
                return text[: len(text) - len(body)] + sentinels.edge + body
        return text

    def encode(self, rendered: str, sentinels: Sentinels, *, continues: bool = False) -> list[int]:
        """Token ids of a rendered prompt, sentinels removed. `continues`: it goes on after plain
        text."""
        ids: list[int] = []
        position = 0
        for match in self._special.finditer(rendered):
            run = rendered[position : match.start()]
            ids += self._encode_run(run, sentinels, continues=continues and not position)
            ids.append(self._ids[match[0]])
            position = match.end()
        run = rendered[position:]
        return ids + self._encode_run(run, sentinels, continues=continues and not position)

    def whole_up_to(self, rendered: str, end: int) -> int:
        """The position behind the last special token that ends by `end`; 0 if there is none. What
        stands in front and behind can be encoded apart."""
        last = 0
        for match in self._special.finditer(rendered):
            if match.end() > end:
                break
            last = match.end()
        return last

    def cut(self, ids: Sequence[int], text: str) -> list[int]:
        """Those of `ids` that spell `text`, which they begin with; what the last of them says
        beyond its end is left out by spelling the rest anew."""
        wanted = text.encode()
        kept = length = 0
        for token in ids:
            piece = self._tokenizer.token_bytes(token)
            if not wanted.startswith(piece, length):
                break
            kept, length = kept + 1, length + len(piece)
        while kept and wanted[length : length + 1] and wanted[length] & 0xC0 == 0x80:
            kept -= 1  # in the middle of a character
            length -= len(self._tokenizer.token_bytes(ids[kept]))
        rest = wanted[length:].decode()
        return [*ids[:kept], *(self._tokenizer.encode(rest, continues=True) if rest else [])]

    def _encode_run(self, run: str, sentinels: Sentinels, *, continues: bool) -> list[int]:
        """Text between special tokens. The edge cuts too where, without it, a special token
        would stand in the text: a tokeniser may know user-defined tokens even in plain text."""
        if sentinels.edge not in run and sentinels.cut not in run:
            return self._encode_plain(run, continues=continues) if run else []
        joined = run.replace(sentinels.edge, "")
        if self._special.search(joined.replace(sentinels.cut, "\0")):
            joined = run.replace(sentinels.edge, sentinels.cut)
        ids: list[int] = []
        for part in joined.split(sentinels.cut):
            if part:
                ids += self._encode_plain(part, continues=continues or bool(ids))
        return ids

    def _encode_plain(self, text: str, *, continues: bool) -> list[int]:
        key = (text, continues)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        ids = self._tokenizer.encode(text, continues=continues)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = ids
                self._cache_chars += len(text)
            while self._cache_chars > self._cache_chars_max:
                (oldest, _), _ = self._cache.popitem(last=False)
                self._cache_chars -= len(oldest)
        return ids
