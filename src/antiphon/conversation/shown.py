"""Which pieces of text a stream hands out: together they are the text of the reply."""

from antiphon.conversation.steps import Follows


class Shown:
    """White space at the end is held back until more text comes: an answer that goes on by prefill
    goes on without it. Answers before and after calls of tools are a paragraph apart."""

    def __init__(self) -> None:
        self._held = ""
        self._is_begun = False

    def begin(self, follows: Follows) -> None:
        """A request."""
        if follows == "prefill":
            self._held = ""
        elif follows == "nothing" and self._is_begun:
            self._held = "\n\n"

    def feed(self, piece: str) -> str:
        text = self._held + piece
        shown = text.rstrip()
        self._held = text[len(shown) :]
        self._is_begun = self._is_begun or bool(shown)
        return shown

    def finish(self) -> str:
        return self._held
