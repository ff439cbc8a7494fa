"""How much there is to render of a request, roughly: what takes long is done off the event loop."""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import UnsetType

from antiphon.wire.messages import PromptParams

MESSAGE_CHARS = 30  # what a template takes for a message takes as long as so many characters
TOOL_CHARS = 400  # of a definition, roughly
LONG_CHARS = 1000  # of a text that is worth knowing again
KNOWN_SHARE = 10  # a text whose tokens are known takes at most a tenth of the time
TEXTS_MAX = 10_000


class RenderingCost:
    """In characters of new text. For one thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()  # hashes, latest last

    def of(self, request: PromptParams) -> int:
        chars = MESSAGE_CHARS * len(request.messages) + TOOL_CHARS * len(request.tools or ())
        for text in _texts(request):
            is_known = len(text) >= LONG_CHARS and hash(text) in self._known
            chars += len(text) // KNOWN_SHARE if is_known else len(text)
        return chars

    def rendered(self, request: PromptParams) -> None:
        """Its texts are known from now on, as long as nobody else's take their place."""
        for text in _texts(request):
            if len(text) >= LONG_CHARS:
                self._known[hash(text)] = None
                self._known.move_to_end(hash(text))
        while len(self._known) > TEXTS_MAX:
            self._known.popitem(last=False)


def _texts(request: PromptParams) -> Iterator[str]:
    system = "" if isinstance(request.system, UnsetType) else request.system
    for content in (system, *(message.content for message in request.messages)):
        if isinstance(content, str):
            yield content
        else:
            yield from map(_text_of, content)


def _text_of(block: object) -> str:
    parts = (getattr(block, name, None) for name in ("text", "content", "signature"))
    return next((part for part in parts if isinstance(part, str)), "")
