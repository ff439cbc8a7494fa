"""The only writer of block indexes: pieces of an answer in, legal stream events out.

Every event passes `StreamState`, so an illegal stream is an assertion here and never bytes.
"""

from antiphon.wire.content import TextBlock
from antiphon.wire.events import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    DeltaUsage,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    StopDelta,
    StreamState,
    TextDelta,
)
from antiphon.wire.messages import Message, StopReason, Usage


class MessageStream:
    """Builds one answer. Call `start`, then `text` any number of times, then `finish`."""

    def __init__(self, message_id: str, model: str) -> None:
        self._message_id = message_id
        self._model = model
        self._state = StreamState()
        self._index = 0
        self._is_open = False

    def start(self, usage: Usage) -> list[Event]:
        """`usage` already carries the true input and cache counts (spec §6.5)."""
        message = Message(model=self._model, id=self._message_id, content=[], usage=usage)
        return self._checked([MessageStart(message=message)])

    def text(self, piece: str) -> list[Event]:
        if not piece:
            return []
        events = self._open_text()
        events.append(ContentBlockDelta(index=self._index, delta=TextDelta(text=piece)))
        return self._checked(events)

    def finish(
        self, stop_reason: StopReason, stop_sequence: str | None, usage: Usage
    ) -> list[Event]:
        """End the answer. One without text gets an empty text block all the same, because
        `response.content[0].text` is what the API's own tutorials read (spec §5.2); only a
        prompt that was just computed (`max_tokens: 0`) has no content at all (spec §8.2)."""
        events = self._open_text() if usage.output_tokens else []
        if self._is_open:
            events.append(ContentBlockStop(index=self._index))
        totals = DeltaUsage(
            input_tokens=usage.input_tokens,
            cache_creation_input_tokens=usage.cache_creation_input_tokens,
            cache_read_input_tokens=usage.cache_read_input_tokens,
            output_tokens=usage.output_tokens,
        )
        events += [MessageDelta(StopDelta(stop_reason, stop_sequence), totals), MessageStop()]
        return self._checked(events)

    def _open_text(self) -> list[Event]:
        if self._is_open:
            return []
        self._is_open = True
        return [ContentBlockStart(index=self._index, content_block=TextBlock(text=""))]

    def _checked(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._state.apply(event)
        return events
