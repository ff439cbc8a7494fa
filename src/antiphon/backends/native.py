"""The native backend: renderer, an engine, and the parsers behind it, for one model.

request → Prompt → TokenChunk … → text → stop sequences → MessageStream → events
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import UnsetType

from antiphon.backends.base import RequestContext
from antiphon.backends.support import reject_unsupported
from antiphon.engines.base import Engine, FinishReason, Generation, SamplingParams, TokenKind
from antiphon.errors import prompt_too_long
from antiphon.ids import NewId
from antiphon.parsing.detokenizer import Detokenizer
from antiphon.parsing.message_stream import MessageStream
from antiphon.parsing.stop_sequences import StopSequences
from antiphon.rendering.renderer import Prompt, Renderer
from antiphon.wire.events import Event
from antiphon.wire.messages import (
    CountTokens,
    CreateMessage,
    PromptParams,
    StopReason,
    TokenCount,
    Usage,
)
from antiphon.wire.resources import ModelInfo

MESSAGE_CHARS = 20  # what a template puts around a message
RENDER_INLINE_CHARS = 8_000  # longer prompts are rendered in a thread: 2,400 tokens take 6 ms

STOP_REASONS: dict[FinishReason, StopReason] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.CONTEXT: "model_context_window_exceeded",
}


class NativeBackend:
    """Answers for one model with an engine of ours."""

    def __init__(self, engine: Engine, renderer: Renderer, model: ModelInfo, new_id: NewId) -> None:
        self._engine = engine
        self._renderer = renderer
        self._model = model
        self._new_id = new_id
        special = engine.tokenizer.special_tokens
        silent = {token.id for token in special if token.kind == TokenKind.CONTROL}
        self._silent = frozenset(silent) | engine.info.end_of_generation

    async def stream(
        self, request: CreateMessage, context: RequestContext
    ) -> AsyncGenerator[Event]:
        """See `backends.base.Backend.stream`."""
        prompt = await self._prompt(request)
        job = Generation(prompt.token_ids, self._sampling(request), request.max_tokens)
        message = MessageStream(self._new_id("msg"), request.model)
        answer = _Answer(Detokenizer(self._engine.tokenizer.token_bytes), request, self._silent)
        input_tokens = len(prompt.token_ids)

        async with aclosing(self._engine.generate(job)) as chunks:
            first = await anext(chunks)  # admitted: from here on errors are events
            context.account.reused_tokens = first.cached or 0
            for event in message.start(Usage(input_tokens=input_tokens, output_tokens=0)):
                yield event
            async for chunk in chunks:
                for event in message.text(answer.feed(chunk.token_ids)):
                    yield event
                if chunk.finish_reason is not None and answer.stop_reason is None:
                    for event in message.text(answer.finish(chunk.finish_reason)):
                        yield event
                if answer.stop_reason is not None:
                    break
        assert answer.stop_reason is not None, "the engine ended without a reason"
        usage = Usage(input_tokens=input_tokens, output_tokens=answer.output_tokens)
        for event in message.finish(answer.stop_reason, answer.stop_sequence, usage):
            yield event

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        prompt = await self._prompt(request)
        return TokenCount(input_tokens=len(prompt.token_ids))

    async def models(self) -> list[ModelInfo]:
        return [self._model]

    async def _prompt(self, request: PromptParams) -> Prompt:
        """
        Raises:
            InvalidRequestError: something in the request cannot be honoured, or does not fit.
        """
        reject_unsupported(request)
        if _size(request) > RENDER_INLINE_CHARS:
            prompt = await asyncio.to_thread(self._renderer.render, request)
        else:
            prompt = self._renderer.render(request)
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
    """The text of one answer so far, and how it ended."""

    def __init__(
        self, detokenizer: Detokenizer, request: CreateMessage, silent: frozenset[int]
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = StopSequences(_given(request.stop_sequences, []))
        self._silent = silent
        self.output_tokens = 0  # every kept token, the end-of-turn token included
        self.stop_reason: StopReason | None = None
        self.stop_sequence: str | None = None

    def feed(self, token_ids: tuple[int, ...]) -> str:
        """Take tokens in; return the text that may be shown. Tokens after a stop sequence are
        discarded and do not count."""
        shown = ""
        for token_id in token_ids:
            self.output_tokens += 1
            if token_id in self._silent:
                continue
            scanned = self._stops.feed(self._detokenizer.feed(token_id))
            shown += scanned.text
            if scanned.matched is not None:
                self.stop_reason, self.stop_sequence = "stop_sequence", scanned.matched
                break
        return shown

    def finish(self, reason: FinishReason) -> str:
        self.stop_reason = STOP_REASONS[reason]
        return self._stops.finish()


def _size(request: PromptParams) -> int:
    """Characters of the prompt, roughly: long ones are not rendered on the loop."""
    parts = [_given(request.system, ""), *(message.content for message in request.messages)]
    texts = (
        part if isinstance(part, str) else "".join(getattr(block, "text", "") for block in part)
        for part in parts
    )
    return MESSAGE_CHARS * len(request.messages) + sum(map(len, texts))


def _given[T](value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
