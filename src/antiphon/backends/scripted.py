"""The scripted backend: replies from a script, for tests of agents that need no model.

Everything else is the real server: validation, keys, limits, streams, errors. Tokens are words
here, counted the same way for prompts, answers and `max_tokens`.
"""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from antiphon.backends.base import RequestContext
from antiphon.backends.script import Block, Failure, Match, Reply, Script
from antiphon.errors import APIError, no_reply
from antiphon.ids import NewId
from antiphon.parsing.message_stream import MessageStream
from antiphon.parsing.stop_sequences import StopSequences
from antiphon.wire.content import TextBlock, ToolResultBlock
from antiphon.wire.events import Event
from antiphon.wire.messages import (
    CountTokens,
    CreateMessage,
    MessageParam,
    PromptParams,
    StopReason,
    TokenCount,
    Usage,
)
from antiphon.wire.resources import ErrorDetail, ModelInfo, api_error

MODEL = "scripted"
WORD = re.compile(r"\S+\s*")
TEXT_CHARS_SHOWN = 80  # of a request that no reply fits


class ScriptedBackend:
    """Answers with the first reply of the script that fits. Safe to use from several threads."""

    def __init__(
        self,
        script: Script,
        new_id: NewId,
        on_request: Callable[[PromptParams], None] = lambda request: None,
    ) -> None:
        self._replies = script.replies
        self._new_id = new_id
        self._on_request = on_request
        self._used: Counter[int] = Counter()
        self._lock = threading.Lock()

    async def stream(
        self, request: CreateMessage, context: RequestContext
    ) -> AsyncGenerator[Event]:
        """See `backends.base.Backend.stream`."""
        self._on_request(request)
        reply = self._choose(request)
        await asyncio.sleep(reply.delay_s)
        if reply.error is not None and reply.error.after_chars is None:
            raise _error(reply.error)
        answer = _Answer(reply, request, self._new_id)
        count = count_words(request)
        for event in answer.stream.start(Usage(input_tokens=count, output_tokens=0)):
            yield event
        for events in answer.events():
            for event in events:
                yield event
            await asyncio.sleep(reply.pace_s)
        usage = Usage(input_tokens=count, output_tokens=answer.words)
        for event in answer.stream.finish(answer.stop_reason, answer.stop_sequence, usage):
            yield event

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        return TokenCount(input_tokens=count_words(request))

    async def models(self) -> list[ModelInfo]:
        return [
            ModelInfo(id=MODEL, display_name="Scripted", created_at=datetime.fromtimestamp(0, UTC))
        ]

    def _choose(self, request: CreateMessage) -> Reply:
        """
        Raises:
            InvalidRequestError: no reply fits, or those that do are used up.
        """
        with self._lock:
            for number, reply in enumerate(self._replies):
                is_left = reply.times is None or self._used[number] < reply.times
                if is_left and _fits(reply.match, request):
                    self._used[number] += 1
                    return reply
        raise no_reply(len(self._replies), _text(request.messages[-1])[:TEXT_CHARS_SHOWN])


class _Answer:
    """One reply as events: cut at `max_tokens`, at a stop sequence, or by its error."""

    def __init__(self, reply: Reply, request: CreateMessage, new_id: NewId) -> None:
        self.stream = MessageStream(new_id("msg"), request.model)
        self.words = 0
        self.stop_reason = reply.stop_reason or _meant(reply.blocks)
        self.stop_sequence = reply.stop_sequence
        self._reply = reply
        self._left = request.max_tokens
        self._stops = StopSequences(request.stop_sequences or [])
        self._chars = 0
        self._new_id = new_id
        self._is_over = False

    def events(self) -> Iterator[list[Event]]:
        """What goes out together; between two of them is a pause."""
        for block in self._reply.blocks:
            yield from self._block(block)
            if self._is_over:
                return
        yield self.stream.text(self._stops.finish())

    def _block(self, block: Block) -> Iterator[list[Event]]:
        if block.tool_use is not None:
            use = block.tool_use
            yield self.stream.text(self._stops.finish())
            yield self.stream.tool_use(use.id or self._new_id("toolu"), use.name)
            written = json.dumps(use.input, ensure_ascii=False) if use.input else ""
            for piece in self._pieces(written):
                yield self.stream.input_json(piece)
        elif block.thinking is not None:
            for piece in self._pieces(block.thinking):
                yield self.stream.thinking(piece)
            yield self.stream.sign(block.signature)
        else:
            for piece in self._pieces(block.text or ""):
                scanned = self._stops.feed(piece)
                yield self.stream.text(scanned.text)
                if scanned.matched is not None:
                    self._end("stop_sequence", scanned.matched)
                    return

    def _pieces(self, text: str) -> Iterator[str]:
        """Deltas of a text, as many words of it as are left."""
        words = WORD.findall(text)
        shown = text if len(words) <= self._left else "".join(words[: self._left])
        self.words += min(len(words), self._left)
        self._left -= min(len(words), self._left)
        for start in range(0, len(shown), self._reply.chunk_chars):
            piece = shown[start : start + self._reply.chunk_chars]
            self._fail_within(len(piece))
            yield piece
        if len(shown) < len(text):
            self._end("max_tokens", None)

    def _fail_within(self, chars: int) -> None:
        self._chars += chars
        error = self._reply.error
        if error is not None and self._chars > (error.after_chars or 0):
            raise _error(error)

    def _end(self, reason: StopReason, sequence: str | None) -> None:
        self._is_over = True
        self.stop_reason, self.stop_sequence = reason, sequence


def _meant(blocks: list[Block]) -> StopReason:
    has_call = any(block.tool_use is not None for block in blocks)
    return "tool_use" if has_call else "end_turn"


def _error(failure: Failure) -> APIError:
    error = api_error(ErrorDetail(failure.type, failure.message))
    if failure.retry_after_s is not None:
        error.headers["retry-after"] = f"{failure.retry_after_s:g}"
    return error


def _fits(match: Match, request: CreateMessage) -> bool:
    last = request.messages[-1]
    system = request.system if isinstance(request.system, str) else ""
    if isinstance(request.system, list):
        system = "\n".join(block.text for block in request.system)
    turns = sum(message.role == "assistant" for message in request.messages)
    tools = {getattr(tool, "name", None) for tool in request.tools or ()}
    return (
        (match.text is None or re.search(match.text, _text(last)) is not None)
        and (match.system is None or re.search(match.system, system) is not None)
        and (match.model is None or match.model == request.model)
        and (match.tool is None or match.tool in tools)
        and (match.tool_result is None or _has_result(match.tool_result, last))
        and (match.turn is None or match.turn == turns)
    )


def _text(message: MessageParam) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(block.text for block in message.content if isinstance(block, TextBlock))


def _has_result(pattern: str, message: MessageParam) -> bool:
    blocks = () if isinstance(message.content, str) else message.content
    return any(
        re.search(pattern, _result_text(block))
        for block in blocks
        if isinstance(block, ToolResultBlock)
    )


def _result_text(block: ToolResultBlock) -> str:
    content = block.content or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, TextBlock))


def count_words(request: PromptParams) -> int:
    """Words of everything that a model would be told. No tokenizer, but always the same."""
    told: dict[str, Any] = {"messages": request.messages, "system": request.system or ""}
    texts = [json.dumps(msgspec.to_builtins(told), ensure_ascii=False)]
    texts += [json.dumps(msgspec.to_builtins(tool)) for tool in request.tools or ()]
    return sum(len(WORD.findall(text)) for text in texts)
