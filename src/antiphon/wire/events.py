"""Stream events (spec §6): the order they must come in, their bytes, their sum.

Rule 1: everything that decides which event may follow which stands in `TRANSITIONS`, `DELTAS` and
`FINAL_DELTAS`. The official clients accept 5 of 11 deliberate faults without a word, so these
tables, and not a client, say what a legal stream is.
"""

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from enum import StrEnum

import msgspec
from msgspec import UNSET, structs

from antiphon.wire.content import (
    CompactionBlock,
    ContentBlock,
    McpToolUseBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from antiphon.wire.event_types import (
    CitationsDelta,
    CompactionDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Delta,
    DeltaUsage,
    ErrorEvent,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    ProtocolError,
    SignatureDelta,
    StopDelta,
    TextDelta,
    ThinkingDelta,
)
from antiphon.wire.joining import join
from antiphon.wire.messages import Message
from antiphon.wire.resources import api_error
from antiphon.wire.structs import Object

__all__ = [
    "DELTAS",
    "FINAL_DELTAS",
    "TRANSITIONS",
    "Accumulator",
    "CitationsDelta",
    "CompactionDelta",
    "ContentBlockDelta",
    "ContentBlockStart",
    "ContentBlockStop",
    "Delta",
    "DeltaUsage",
    "ErrorEvent",
    "Event",
    "InputJsonDelta",
    "MessageDelta",
    "MessageStart",
    "MessageStop",
    "Ping",
    "ProtocolError",
    "SignatureDelta",
    "State",
    "StopDelta",
    "StreamState",
    "TextDelta",
    "ThinkingDelta",
    "accumulate",
    "accumulate_async",
    "sse",
]


# The order (spec §6.2) -----------------------------------------------------------------------


class State(StrEnum):
    BEGIN = "begin"
    BETWEEN_BLOCKS = "between blocks"
    IN_BLOCK = "in block"
    ENDING = "ending"
    DONE = "done"
    FAILED = "failed"


TRANSITIONS: dict[State, dict[type[Event], State]] = {
    State.BEGIN: {
        MessageStart: State.BETWEEN_BLOCKS,
        Ping: State.BEGIN,
        ErrorEvent: State.FAILED,
    },
    State.BETWEEN_BLOCKS: {
        ContentBlockStart: State.IN_BLOCK,
        MessageDelta: State.ENDING,
        Ping: State.BETWEEN_BLOCKS,
        ErrorEvent: State.FAILED,
    },
    State.IN_BLOCK: {
        ContentBlockDelta: State.IN_BLOCK,
        ContentBlockStop: State.BETWEEN_BLOCKS,
        Ping: State.IN_BLOCK,
        ErrorEvent: State.FAILED,
    },
    State.ENDING: {
        MessageDelta: State.ENDING,
        MessageStop: State.DONE,
        Ping: State.ENDING,
        ErrorEvent: State.FAILED,
    },
    State.DONE: {},
    State.FAILED: {},
}

# Which deltas a block takes. A block that is not listed arrives whole in its start.
DELTAS: dict[type[ContentBlock], tuple[type[Delta], ...]] = {
    TextBlock: (TextDelta, CitationsDelta),
    ThinkingBlock: (ThinkingDelta, SignatureDelta),
    ToolUseBlock: (InputJsonDelta,),
    ServerToolUseBlock: (InputJsonDelta,),
    McpToolUseBlock: (InputJsonDelta,),
    CompactionBlock: (CompactionDelta,),
}

# After one of these the block takes no further delta.
FINAL_DELTAS: tuple[type[Delta], ...] = (SignatureDelta, CompactionDelta)


class StreamState:
    """Follows one stream through the tables; raises `ProtocolError` at the first illegal event."""

    __slots__ = ("_block", "_blocks", "_final", "state")

    def __init__(self) -> None:
        self.state = State.BEGIN
        self._blocks = 0  # started so far; the open block's index is one less
        self._block: type[ContentBlock] | None = None
        self._final = False  # the open block has had its final delta

    def apply(self, event: Event) -> None:
        successor = TRANSITIONS[self.state].get(type(event))
        if successor is None:
            raise ProtocolError(f"{_name(event)} in state {self.state!s}")
        match event:
            case MessageStart(message) if message.content:
                raise ProtocolError("message_start already has content")
            case ContentBlockStart():
                self._expect(event.index, self._blocks)
                self._blocks += 1
                self._block, self._final = type(event.content_block), False
            case ContentBlockDelta():
                self._expect(event.index, self._blocks - 1)
                self._take(type(event.delta))
            case ContentBlockStop():
                self._expect(event.index, self._blocks - 1)
        self.state = successor

    def finish(self) -> None:
        """The stream is over: it must have said so itself."""
        if self.state not in (State.DONE, State.FAILED):
            raise ProtocolError(f"the stream ended in state {self.state!s}")

    def _expect(self, index: int, expected: int) -> None:
        if index != expected:
            raise ProtocolError(f"block index {index}, expected {expected}")

    def _take(self, delta: type[Delta]) -> None:
        assert self._block is not None
        if delta not in DELTAS.get(self._block, ()):
            raise ProtocolError(f"{delta.__name__} in a {self._block.__name__}")
        if self._final:
            raise ProtocolError(f"{delta.__name__} after the block's final delta")
        self._final = delta in FINAL_DELTAS


# The bytes (spec §6.1) -----------------------------------------------------------------------


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)


_PING = b'event: ping\ndata: {"type": "ping"}\n\n'  # with the space that the API sends


def sse(event: Event) -> bytes:
    """One server-sent event. JSON escapes line ends, so `data` is always one line."""
    if isinstance(event, Ping):
        return _PING
    return b"event: %b\ndata: %b\n\n" % (_name(event).encode(), msgspec.json.encode(event))


# The sum (the answer that is not streamed) ----------------------------------------------------

# Ends that may cut a tool's input short (spec §4.2).
_CUT = ("max_tokens", "model_context_window_exceeded", "refusal")


class Accumulator:
    """Adds events up to the message they mean. Checks every event against the tables."""

    __slots__ = ("_blocks", "_deltas", "_message", "_state")

    def __init__(self) -> None:
        self._state = StreamState()
        self._message: Message | None = None
        self._blocks: list[ContentBlock] = []  # as they started
        self._deltas: list[list[Delta]] = []  # of each block

    def add(self, event: Event) -> None:
        """Raises the `APIError` that an error event stands for."""
        self._state.apply(event)
        match event:
            case MessageStart(message):
                self._message = message
            case ContentBlockStart(content_block=block):
                self._blocks.append(block)
                self._deltas.append([])
            case ContentBlockDelta(delta=delta):
                self._deltas[-1].append(delta)
            case MessageDelta():
                assert self._message is not None
                self._message = _ended(self._message, event)
            case ErrorEvent(error):
                raise api_error(error)

    def message(self) -> Message:
        """The finished message. The stream must have ended with `message_stop`."""
        self._state.finish()
        assert self._message is not None
        cut = self._message.stop_reason in _CUT
        content = [join(*pair, cut) for pair in zip(self._blocks, self._deltas, strict=True)]
        return structs.replace(self._message, content=content)


def accumulate(events: Iterable[Event]) -> Message:
    """The message that a stream means: what `"stream": false` answers."""
    accumulator = Accumulator()
    for event in events:
        accumulator.add(event)
    return accumulator.message()


async def accumulate_async(
    events: AsyncIterable[Event], seen: Callable[[Event], None] = lambda _: None
) -> Message:
    """`accumulate` for a backend's stream; `seen` is told of each event. Whoever made the generator
    closes it."""
    accumulator = Accumulator()
    async for event in events:
        seen(event)
        accumulator.add(event)
    return accumulator.message()


def _ended(message: Message, event: MessageDelta) -> Message:
    """`message_delta` overwrites; what it leaves out keeps its earlier value (spec §6.5)."""
    beside = {
        "container": event.delta.container,
        "context_management": event.context_management,
        "input_transformations": event.input_transformations,
    }
    return structs.replace(
        message,
        stop_reason=event.delta.stop_reason,
        stop_sequence=event.delta.stop_sequence,
        stop_details=event.delta.stop_details,
        usage=structs.replace(message.usage, **_given(structs.asdict(event.usage))),
        **_given(beside),
    )


def _given(fields: Mapping[str, object]) -> Object:
    return {key: value for key, value in fields.items() if value is not UNSET and value is not None}
