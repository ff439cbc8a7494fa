"""The native backend: renderer, an engine, and the parsers behind it, for one model.

request → Prompt, AnswerPlan → TokenChunk … → text and tags → pieces → MessageStream → events
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import groupby

from msgspec import UnsetType

from antiphon.backends.answers import AnswerPlan, AnswerPlanner, output_schema
from antiphon.backends.base import RequestContext
from antiphon.backends.support import reject_unsupported
from antiphon.engines.base import Engine, FinishReason, Generation, SamplingParams, TokenKind
from antiphon.errors import prompt_too_long
from antiphon.ids import NewId
from antiphon.parsing.detokenizer import Detokenizer
from antiphon.parsing.message_stream import MessageStream
from antiphon.parsing.stop_sequences import StopSequences
from antiphon.parsing.tool_formats.base import CallInput, CallStart, Piece, TextPiece, ToolFormat
from antiphon.rendering.renderer import Prompt, Renderer
from antiphon.wire.content import ToolUseBlock
from antiphon.wire.events import Event
from antiphon.wire.messages import (
    CountTokens,
    CreateMessage,
    Message,
    PromptParams,
    StopReason,
    TokenCount,
    Usage,
)
from antiphon.wire.resources import ModelInfo

MESSAGE_CHARS = 20  # what a template puts around a message
TOOL_CHARS = 400  # of a definition, roughly
RENDER_INLINE_CHARS = 8_000  # longer prompts are rendered in a thread: 2,400 tokens take 6 ms

STOP_REASONS: dict[FinishReason, StopReason] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.CONTEXT: "model_context_window_exceeded",
}


class NativeBackend:
    """Answers for one model with an engine of ours."""

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        model: ModelInfo,
        new_id: NewId,
        tool_format: ToolFormat,
    ) -> None:
        self._engine = engine
        self._renderer = renderer
        self._model = model
        self._new_id = new_id
        self._planner = AnswerPlanner(engine.info, engine.tokenizer, tool_format)
        special = engine.tokenizer.special_tokens
        silent = {token.id for token in special if token.kind == TokenKind.CONTROL}
        self._silent = frozenset(silent) | engine.info.end_of_generation

    async def stream(
        self, request: CreateMessage, context: RequestContext
    ) -> AsyncGenerator[Event]:
        """See `backends.base.Backend.stream`."""
        reject_unsupported(request)
        owner = context.principal
        prompt = await self._off_the_loop(request, lambda request: self._prompt(request, owner))
        plan = await self._plan(request)
        job = Generation(
            prompt.token_ids, self._sampling(request), request.max_tokens, plan.constraint
        )
        stream = MessageStream(self._new_id("msg"), request.model)
        detokenizer = Detokenizer(self._engine.tokenizer.token_bytes)
        ends = self._engine.info.end_of_generation
        answer = _Answer(stream, plan, detokenizer, request, self._silent, ends, self._new_id)
        input_tokens = len(prompt.token_ids)

        async with aclosing(self._engine.generate(job)) as chunks:
            first = await anext(chunks)  # admitted: from here on errors are events
            context.account.reused_tokens = first.cached or 0
            for event in stream.start(Usage(input_tokens=input_tokens, output_tokens=0)):
                yield event
            async for chunk in chunks:
                for event in answer.feed(chunk.token_ids):
                    yield event
                if chunk.finish_reason is not None and answer.stop_reason is None:
                    for event in answer.finish(chunk.finish_reason):
                        yield event
                if answer.stop_reason is not None:
                    break
        assert answer.stop_reason is not None, "the engine ended without a reason"
        usage = Usage(input_tokens=input_tokens, output_tokens=answer.output_tokens)
        ending = stream.finish(answer.stop_reason, answer.stop_sequence, usage)
        self._remember(prompt, stream.message(), answer.token_ids, owner)
        for event in ending:
            yield event

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        reject_unsupported(request)
        owner = context.principal
        prompt = await self._off_the_loop(request, lambda request: self._prompt(request, owner))
        return TokenCount(input_tokens=len(prompt.token_ids))

    async def models(self) -> list[ModelInfo]:
        return [self._model]

    def _remember(
        self, prompt: Prompt, message: Message, token_ids: Sequence[int], owner: str
    ) -> None:
        """What the client will send back is to be the same tokens again. A call that was cut short
        cannot be sent back."""
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        if calls and message.stop_reason != "tool_use":
            return
        self._renderer.remember(prompt, message.content, token_ids, owner)

    async def _plan(self, request: CreateMessage) -> AnswerPlan:
        """Schemas compile in a thread: a large one takes long."""
        if request.tools or output_schema(request):
            return await asyncio.to_thread(self._planner.plan, request)
        return self._planner.plan(request)

    async def _off_the_loop[T](self, request: PromptParams, work: Callable[[PromptParams], T]) -> T:
        """What takes long is done in a thread."""
        if _size(request) > RENDER_INLINE_CHARS:
            return await asyncio.to_thread(work, request)
        return work(request)

    def _prompt(self, request: PromptParams, owner: str) -> Prompt:
        """
        Raises:
            InvalidRequestError: the template refuses the request, or it does not fit.
        """
        prompt = self._renderer.render(request, owner)
        longest = self._engine.info.context_len - 1  # room for one token of the answer
        if isinstance(request, CreateMessage) and len(prompt.token_ids) > longest:
            raise prompt_too_long(len(prompt.token_ids), longest)
        return prompt

    def _sampling(self, request: CreateMessage) -> SamplingParams:
        """What the request says, else the model's own defaults (spec §2.3)."""
        own = self._engine.info.sampling
        return SamplingParams(
            temperature=_given(request.temperature, own.temperature),
            top_k=_given(request.top_k, own.top_k),
            top_p=_given(request.top_p, own.top_p),
            seed=own.seed,
        )


class _Answer:
    """One answer as it comes in tokens: what may be shown of it, and how it ended."""

    def __init__(
        self,
        stream: MessageStream,
        plan: AnswerPlan,
        detokenizer: Detokenizer,
        request: CreateMessage,
        silent: frozenset[int],
        ends: frozenset[int],
        new_id: NewId,
    ) -> None:
        self._stream = stream
        self._parser = plan.parser
        self._tags = plan.tags
        self._detokenizer = detokenizer
        self._stops = StopSequences(_given(request.stop_sequences, []))
        self._silent = silent
        self._ends = ends
        self._new_id = new_id
        self._has_called = False
        self.output_tokens = 0  # every kept token, the end-of-turn token included
        self.token_ids: list[int] = []  # without it
        self.stop_reason: StopReason | None = None
        self.stop_sequence: str | None = None

    def feed(self, token_ids: tuple[int, ...]) -> list[Event]:
        """Take tokens in. Those after a stop sequence are discarded and do not count."""
        shown: list[Piece] = []
        for token_id in token_ids:
            self.output_tokens += 1
            if token_id not in self._ends:
                self.token_ids.append(token_id)
            if token_id in self._tags:
                shown += self._scan(self._parser.tag(self._tags[token_id]))
            elif token_id not in self._silent:
                shown += self._scan(self._parser.text(self._detokenizer.feed(token_id)))
            if self.stop_reason is not None:
                break
        return self._events(shown)

    def finish(self, reason: FinishReason) -> list[Event]:
        shown = self._scan(self._parser.finish())
        if self.stop_reason is None:  # else the last text held a stop sequence
            shown.append(TextPiece(self._stops.finish()))
            self.stop_reason = STOP_REASONS[reason]
        events = self._events(shown)
        if self._has_called and self.stop_reason == "end_turn":
            self.stop_reason = "tool_use"
        return events

    def _scan(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Stop sequences are looked for in text only: a call is not the visible answer."""
        shown: list[Piece] = []
        for piece in pieces:
            if not isinstance(piece, TextPiece):
                held = self._stops.finish()
                shown += [TextPiece(held), piece] if held else [piece]
                continue
            scanned = self._stops.feed(piece.text)
            shown.append(TextPiece(scanned.text))
            if scanned.matched is not None:
                self.stop_reason, self.stop_sequence = "stop_sequence", scanned.matched
                break
        return shown

    def _events(self, pieces: Iterable[Piece]) -> list[Event]:
        """One delta for what came at once."""
        events: list[Event] = []
        for kind, group in groupby(pieces, key=type):
            if kind is TextPiece:
                events += self._stream.text("".join(p.text for p in group if type(p) is TextPiece))
            elif kind is CallInput:
                json = "".join(piece.json for piece in group if type(piece) is CallInput)
                events += self._stream.input_json(json)
            else:
                self._has_called = True
                for piece in group:
                    assert isinstance(piece, CallStart)
                    events += self._stream.tool_use(self._new_id("toolu"), piece.name)
        return events


def _size(request: PromptParams) -> int:
    """Characters of the prompt, roughly: long ones are not rendered on the loop."""
    parts = [_given(request.system, ""), *(message.content for message in request.messages)]
    texts = (part if isinstance(part, str) else "".join(map(_text_of, part)) for part in parts)
    around = MESSAGE_CHARS * len(request.messages) + TOOL_CHARS * len(request.tools or ())
    return around + sum(map(len, texts))


def _text_of(block: object) -> str:
    text = getattr(block, "text", None) or getattr(block, "content", None)
    return text if isinstance(text, str) else ""


def _given[T](value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
