"""The vocabulary inside a native model."""

from typing import Any

from antiphon.engines.base import TokenKind


class NativeVocabulary:
    """See `tokenizer.Vocabulary`. Keeps the model alive, so it works when the runner is closed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._vocab = model.get_vocab()
        self.size = int(self._vocab.n_vocab)

    def tokenize(self, text: str) -> list[int]:
        return list(self._vocab.tokenize(text, False, False))  # no BOS, no control tokens

    def token_bytes(self, token_id: int) -> bytes:
        assert 0 <= token_id < self.size
        return bytes(self._vocab.token_to_bytes(token_id, 0, True))

    def kind(self, token_id: int) -> TokenKind | None:
        assert 0 <= token_id < self.size
        attributes = int(self._vocab.get_attr(token_id))  # flags of llama_token_attr
        if attributes & 8:
            return TokenKind.CONTROL
        if attributes & 16:
            return TokenKind.USER_DEFINED
        return TokenKind.UNKNOWN if attributes & 1 else None

    def end_of_generation(self) -> frozenset[int]:
        return frozenset(token for token in range(self.size) if self._vocab.is_eog(token))

    def begin(self) -> int | None:
        """The token that the model wants every prompt to begin with."""
        return self.bos() if self._vocab.get_add_bos() else None

    def bos(self) -> int | None:
        token = int(self._vocab.token_bos())
        return token if 0 <= token < self.size else None

    def eos(self) -> int | None:
        token = int(self._vocab.token_eos())
        return token if 0 <= token < self.size else None

    def never_drawn(self) -> list[int]:
        """Tokens that the model file asks to suppress."""
        return [token for token in self._vocab.get_suppress_tokens() if 0 <= token < self.size]
