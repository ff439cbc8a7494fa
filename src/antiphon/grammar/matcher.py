"""Grammars compiled for one vocabulary, and followed token by token (llguidance).

A `Matcher` is a `Constraint` of the engine seam: it says of a token whether it may come next in a
microsecond or two, and computes the mask of all of them only when it is asked.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from antiphon.errors import ConstraintError

# A schema from a request is somebody else's program. These stop it; the defaults are for one's own.
LIMITS = LLParserLimits(
    max_items_in_row=2000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=300_000,
    verbose_errors=False,
)


class GrammarError(Exception):
    """A grammar cannot be compiled; the text says why, in the compiler's words."""


class SpecialToken(Protocol):
    @property
    def id(self) -> int: ...


class Tokenizer(Protocol):
    """What a grammar needs of a vocabulary."""

    @property
    def special_tokens(self) -> Sequence[SpecialToken]: ...
    def encode(self, text: str) -> list[int]: ...
    def token_bytes(self, token_id: int) -> bytes: ...


class Vocabulary:
    """The tokens that grammars are followed in. Preparing it takes 80 ms for 152,000 tokens, so it
    waits for the first grammar. Safe to use from several threads."""

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, end_of_generation: Iterable[int]
    ) -> None:
        self._tokenizer = tokenizer
        self.size = vocab_size
        self.end_of_generation = sorted(end_of_generation)

    def compile(self, lark: str) -> "Matcher":
        """
        Raises:
            GrammarError: the grammar is not valid, or too large.
        """
        matcher = LLMatcher(
            self._prepared, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS
        )
        if matcher.is_error():
            raise GrammarError(matcher.get_error())
        return Matcher(matcher, self)

    @cached_property
    def _prepared(self) -> LLTokenizer:
        return LLTokenizer(
            TokenizerWrapper(_Tokens(self)), self.size, eos_token=self.end_of_generation
        )

    def tokens(self) -> list[bytes]:
        return [self._tokenizer.token_bytes(token) for token in range(self.size)]

    def special_ids(self) -> list[int]:
        special = {token.id for token in self._tokenizer.special_tokens}
        return sorted(special | set(self.end_of_generation))

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)


class _Tokens:
    """A vocabulary in the shape that llguidance asks for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = vocabulary.tokens()
        self.special_token_ids = vocabulary.special_ids()
        self.eos_token_id = vocabulary.end_of_generation[0]
        self.bos_token_id = None
        self._encode = vocabulary.encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text.decode() if isinstance(text, bytes) else text)


_BITS = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]


class Matcher:
    """One answer's way through a grammar. Implements `engines.base.Constraint`."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._ends = frozenset(vocabulary.end_of_generation)
        self._has_ended = False

    def fresh(self) -> "Matcher":
        """The same grammar at its beginning. Only for one that has not been advanced."""
        return Matcher(self._matcher.deep_copy(), self._vocabulary)

    def allows(self, token_id: int) -> bool:
        if token_id in self._ends:
            return bool(self._matcher.is_accepting())
        return bool(self._matcher.validate_tokens([token_id]))

    def allowed(self) -> list[int]:
        if self._matcher.is_stopped():
            return list(self._vocabulary.end_of_generation)
        mask = self._matcher.compute_bitmask()
        tokens = [
            index * 8 + bit
            for index, byte in enumerate(mask)
            if byte  # mostly not: eight tokens at a time
            for bit in _BITS[byte]
        ]
        size = self._vocabulary.size  # the mask ends with a whole word
        return tokens if not tokens or tokens[-1] < size else [t for t in tokens if t < size]

    def forced(self) -> list[int]:
        if self._has_ended:
            return []
        if self._matcher.is_stopped():
            return self._vocabulary.end_of_generation[:1]
        return list(self._matcher.compute_ff_tokens())

    def advance(self, token_ids: Sequence[int]) -> None:
        for token in token_ids:
            if token in self._ends:
                self._has_ended = True
            elif not self._matcher.consume_token(token):
                raise ConstraintError(self._matcher.get_error())
