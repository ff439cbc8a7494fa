"""Token ids to text, one token at a time, never half a character.

Byte-level vocabularies split one character over several tokens, so bytes wait here until they
form a whole character (spec §6.7).
"""

import codecs
from collections.abc import Callable

from antiphon.errors import InternalError


class Detokenizer:
    """Feed token ids, get text. `token_bytes(id) -> bytes` comes from the engine's vocabulary.

    A character cut off by the end of the answer is dropped: it has no text form. Bytes that are
    no UTF-8 at all, which a bad model can produce, become U+FFFD and nothing around them is lost.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """Return the text that is complete now; "" when a character is still open."""
        try:
            piece = self._token_bytes(token_id)
        except IndexError as error:
            raise InternalError(f"The engine produced the unknown token {token_id}.") from error
        return self._decoder.decode(piece)
