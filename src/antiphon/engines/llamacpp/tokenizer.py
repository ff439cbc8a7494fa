"""`base.Tokenizer` over the vocabulary of a model file."""

from collections.abc import Sequence
from typing import Protocol

from antiphon.engines.base import SpecialToken, TokenKind

# A noncharacter: no vocabulary has a token for it, so it becomes bytes (or one unknown token)
# that nothing behind it merges with.
MARK = "\ufdd0"


class Vocabulary(Protocol):
    """What the native vocabulary offers. Every call is safe from any thread."""

    @property
    def size(self) -> int: ...
    def tokenize(self, text: str) -> list[int]: ...
    def token_bytes(self, token_id: int) -> bytes: ...
    def kind(self, token_id: int) -> TokenKind | None: ...


class LlamaTokenizer:
    """Text to token ids and back. Safe from any thread, beside a running decode."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # All at once: an id out of range would abort the process in native code, so that no id
        # from outside may ever reach it.
        self._bytes = [vocabulary.token_bytes(token) for token in range(vocabulary.size)]
        self.special_tokens: Sequence[SpecialToken] = self._find_special_tokens()
        marked = vocabulary.tokenize("a" + MARK + "a")
        after_mark = marked[len(vocabulary.tokenize("a" + MARK)) :]
        self._marks_beginnings = after_mark != vocabulary.tokenize("a")

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """See `base.Tokenizer.encode`.

        Control tokens are never recognised in the text; user-defined ones (`<tool_call>`) are,
        which `rendering.prompt_safety` knows and prevents.
        """
        text = _without_surrogates(text)
        if not (continues and self._marks_beginnings):
            return self._vocabulary.tokenize(text)
        # The binding cannot ask SentencePiece to leave the space before a text away, so the text
        # is tokenised behind a mark, and the mark is cut off.
        ids = self._vocabulary.tokenize(MARK + text)
        behind_mark = len(self._vocabulary.tokenize(MARK))
        return ids[behind_mark:]

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < 0:
            raise IndexError(f"token {token_id} is not in the vocabulary")
        return self._bytes[token_id]

    def _find_special_tokens(self) -> tuple[SpecialToken, ...]:
        """Runs of spaces that some vocabularies mark as user-defined are ordinary text."""
        special = []
        for token in range(self._vocabulary.size):
            kind = self._vocabulary.kind(token)
            text = self._bytes[token].decode("utf-8", errors="replace")
            if kind is not None and text.strip():
                special.append(SpecialToken(token, text, kind))
        return tuple(special)


def _without_surrogates(text: str) -> str:
    """Half a surrogate pair is no character and has no bytes; the native side refuses it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", errors="replace").decode()
    return text
