"""How much there is to render of a request, roughly: what takes long is done off the event loop."""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import UnsetType

from antiphon.wire.messages import PromptParams

MESSAGE_CHARS = 30  # what a template takes for a message takes as long as so many characters
TOOL_CHARS = 400  # of a definition, roughly
LONG_CHARS = 1000  # of a message that is worth knowing again
# Tokens of what was rendered before are at hand, but not for certain: they make room for others,
# and messages that were alone may be joined. So it counts as less, and not as nothing.
KNOWN_SHARE = 3
MESSAGES_MAX = 1000


class RenderingCost:
    """In characters of new text. For one thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()  # hashes, latest last

    def of(self, request: PromptParams) -> int:
        chars = MESSAGE_CHARS * len(request.messages) + TOOL_CHARS * len(request.tools or ())
        for texts in _messages(request):
            size = sum(map(len, texts))
            is_known = size >= LONG_CHARS and hash(texts) in self._known
            chars += size // KNOWN_SHARE if is_known else size
        return chars

    def rendered(self, request: PromptParams) -> None:
        """Its messages are known from now on, until many others are."""
        for texts in _messages(request):
            if sum(map(len, texts)) >= LONG_CHARS:
                key = hash(texts)
                self._known[key] = None
                self._known.move_to_end(key)
        while len(self._known) > MESSAGES_MAX:
            self._known.popitem(last=False)


def _messages(request: PromptParams) -> Iterator[tuple[str, ...]]:
    """The texts of each, and of the system prompt."""
    system = "" if isinstance(request.system, UnsetType) else request.system
    for content in (system, *(message.content for message in request.messages)):
        yield (content,) if isinstance(content, str) else tuple(map(_text_of, content))


def _text_of(block: object) -> str:
    parts = (getattr(block, name, None) for name in ("text", "content", "signature"))
    return next((part for part in parts if isinstance(part, str)), "")
