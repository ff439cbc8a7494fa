"""The native backend: renderer, an engine, and the parsers behind it, for one model.

request → Prompt, AnswerPlan → TokenChunk … → text and tags → pieces → MessageStream → events
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from antiphon.backends.answer import Answer, Vocabulary
from antiphon.backends.answers import AnswerPlan, AnswerPlanner, output_schema
from antiphon.backends.base import RequestContext
from antiphon.backends.caching import prompt_usage
from antiphon.backends.diagnostics import Diagnoses
from antiphon.backends.rendering_cost import RenderingCost
from antiphon.backends.support import reject_unsupported
from antiphon.engines.base import Engine, Generation, Pin, SamplingParams, TokenKind
from antiphon.errors import prompt_too_long
from antiphon.errors.prompts import changed_thinking, invalid_signature, thinking_not_supported
from antiphon.ids import NewId
from antiphon.parsing.message_stream import MessageStream
from antiphon.parsing.tool_formats.base import ToolFormat
from antiphon.rendering.context_edits import edited
from antiphon.rendering.renderer import Prompt, Renderer
from antiphon.rendering.signatures import ChangedThinking, InvalidSignature, Signer
from antiphon.wire.content import ThinkingBlock, ToolUseBlock
from antiphon.wire.context_management import AppliedEdits, OriginalTokens
from antiphon.wire.events import Event
from antiphon.wire.messages import (
    CountTokens,
    CreateMessage,
    Message,
    PromptParams,
    ThinkingEnabled,
    TokenCount,
    Usage,
)
from antiphon.wire.resources import ModelInfo

CACHE_TOKENS_MIN = 1024
RENDER_INLINE_CHARS = 8_000  # what is more is rendered in a thread: 2,400 tokens take 6 ms


class NativeBackend:
    """Answers for one model with an engine of ours."""

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        model: ModelInfo,
        new_id: NewId,
        tool_format: ToolFormat,
        *,
        cache_tokens_min: int = CACHE_TOKENS_MIN,
        shares_cache: bool = False,
        request_timeout_s: float | None = None,
    ) -> None:
        """`cache_tokens_min`: shorter prefixes are not reported as cached (spec §8.2).
        `shares_cache`: between keys, who can tell by the time that an answer takes what others have
        asked. `request_timeout_s`: what an answer may take in the engine, waiting included."""
        self._engine = engine
        self._renderer = renderer
        self._model = model
        self._new_id = new_id
        self._cache_tokens_min = cache_tokens_min
        self._shares_cache = shares_cache
        self._request_timeout_s = request_timeout_s
        self._diagnoses = Diagnoses()
        self._rendering_cost = RenderingCost()
        self._planner = AnswerPlanner(
            engine.info, engine.tokenizer, tool_format, renderer.profile.tags
        )
        special = engine.tokenizer.special_tokens
        silent = {token.id for token in special if token.kind == TokenKind.CONTROL}
        ends = engine.info.end_of_generation
        self._vocabulary = Vocabulary(engine.tokenizer.token_bytes, frozenset(silent) | ends, ends)

    async def stream(
        self, request: CreateMessage, context: RequestContext
    ) -> AsyncGenerator[Event]:
        """See `backends.base.Backend.stream`."""
        self._check(request, context)
        owner = self._owner(context)
        prompt, edits = await self._off_the_loop(request, lambda asked: self._prompt(asked, owner))
        plan = await self._plan(request, prompt)
        job = Generation(
            prompt.token_ids,
            self._sampling(request),
            request.max_tokens,
            plan.constraint,
            pins=self._pins(prompt),
            owner=owner,
            deadline_s=self._request_timeout_s,
        )
        stream = MessageStream(self._new_id("msg"), request.model)
        answer = Answer(
            self._vocabulary, stream, plan, request, self._renderer.signer, self._new_id
        )

        async with aclosing(self._engine.generate(job)) as chunks:
            first = await anext(chunks)  # admitted: from here on errors are events
            context.account.reused_tokens = first.cached or 0
            usage = self._usage(request, prompt, context)
            for event in stream.start(usage, self._diagnosis(request, stream, prompt, context)):
                yield event
            async for chunk in chunks:
                if chunk.cached is not None:  # less than was said
                    context.account.reused_tokens = chunk.cached
                    usage = self._usage(request, prompt, context)
                for event in answer.feed(chunk.token_ids):
                    yield event
                if chunk.finish_reason is not None and answer.stop_reason is None:
                    for event in answer.finish(chunk.finish_reason):
                        yield event
                if answer.stop_reason is not None:
                    break
        assert answer.stop_reason is not None, "the engine ended without a reason"
        usage = replace(
            usage,
            output_tokens=answer.output_tokens,
            output_tokens_details=answer.output_tokens_details,
        )
        ending = stream.finish(answer.stop_reason, answer.stop_sequence, usage, edits)
        self._remember(prompt, stream.message(), answer.token_ids, owner)
        for event in ending:
            yield event

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        self._check(request, context)
        owner = self._owner(context)
        prompt, edits = await self._off_the_loop(request, lambda asked: self._prompt(asked, owner))
        count = len(prompt.token_ids)
        if edits is None:
            return TokenCount(count)
        cleared = sum(edit.cleared_input_tokens for edit in edits.applied_edits)
        return TokenCount(count, OriginalTokens(count + cleared))

    async def models(self) -> list[ModelInfo]:
        return [self._model]

    def _check(self, request: PromptParams, context: RequestContext) -> None:
        """
        Raises:
            InvalidRequestError: this model or this server cannot do it; strict, and thinking came
                back altered.
        """
        reject_unsupported(request)
        if isinstance(request.thinking, ThinkingEnabled) and self._renderer.profile.tags is None:
            raise thinking_not_supported()
        if context.contract.strict:
            check_signatures(request, self._renderer.signer)

    def _remember(
        self, prompt: Prompt, message: Message, token_ids: Sequence[int], owner: str
    ) -> None:
        """What the client will send back is to be the same tokens again. A call that was cut short
        cannot be sent back."""
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        if calls and message.stop_reason != "tool_use":
            return
        self._renderer.remember(prompt, message.content, token_ids, owner)

    def _owner(self, context: RequestContext) -> str:
        """Whose prefixes and answers may be used again."""
        return "" if self._shares_cache else context.owner

    def _pins(self, prompt: Prompt) -> list[Pin]:
        long = (each for each in prompt.breakpoints if each.tokens >= self._cache_tokens_min)
        return [Pin(each.tokens, each.ttl_s) for each in long]

    def _usage(self, request: CreateMessage, prompt: Prompt, context: RequestContext) -> Usage:
        """What a request costs, as far as is known before its answer."""
        return prompt_usage(
            prompt,
            context.account.reused_tokens,
            self._cache_tokens_min,
            is_warming=request.max_tokens == 0,
        )

    def _diagnosis(
        self, request: CreateMessage, stream: MessageStream, prompt: Prompt, context: RequestContext
    ) -> dict[str, Any] | UnsetType | None:
        """What has changed since the request that the client names, if it asks (spec §8.2)."""
        if not request.diagnostics:
            return UNSET
        return self._diagnoses.diagnose(
            request,
            stream.message_id,
            context.principal,
            tokens=len(prompt.token_ids),
            reused=context.account.reused_tokens,
        )

    async def _plan(self, request: CreateMessage, prompt: Prompt) -> AnswerPlan:
        """Schemas compile in a thread: a large one takes long."""
        thinks = self._renderer.thinks(request)
        plan = partial(self._planner.plan, request, thinks=thinks, begun=prompt.thinking)
        if request.tools or output_schema(request):
            return await asyncio.to_thread(plan)
        return plan()

    async def _off_the_loop[T](self, request: PromptParams, work: Callable[[PromptParams], T]) -> T:
        """What takes long is done in a thread."""
        if self._rendering_cost.of(request) <= RENDER_INLINE_CHARS:
            return work(request)
        rendered = await asyncio.to_thread(work, request)
        self._rendering_cost.rendered(request)
        return rendered

    def _prompt(self, request: PromptParams, owner: str) -> tuple[Prompt, AppliedEdits | None]:
        """What the engine continues, and what was cleared in it.

        Raises:
            InvalidRequestError: the template refuses the request, or it does not fit.
        """
        request, edits = edited(
            request, lambda asked: len(self._renderer.render(asked, owner).token_ids)
        )
        prompt = self._renderer.render(request, owner)
        longest = self._engine.info.context_len - 1  # room for one token of the answer
        if isinstance(request, CreateMessage) and len(prompt.token_ids) > longest:
            raise prompt_too_long(len(prompt.token_ids), longest)
        return prompt, edits

    def _sampling(self, request: CreateMessage) -> SamplingParams:
        """What the request says, else the model's own defaults (spec §2.3)."""
        own = self._engine.info.sampling
        return SamplingParams(
            temperature=_given(request.temperature, own.temperature),
            top_k=_given(request.top_k, own.top_k),
            top_p=_given(request.top_p, own.top_p),
            seed=own.seed,
        )


def check_signatures(request: PromptParams, signer: Signer) -> None:
    """
    Raises:
        InvalidRequestError: thinking of ours was altered.
    """
    for number, message in enumerate(request.messages):
        for at, block in enumerate([] if isinstance(message.content, str) else message.content):
            if isinstance(block, ThinkingBlock):
                try:
                    signer.read(block)
                except InvalidSignature:
                    raise invalid_signature(f"messages.{number}.content.{at}") from None
                except ChangedThinking:
                    raise changed_thinking(f"messages.{number}.content.{at}") from None


def _given[T](value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
