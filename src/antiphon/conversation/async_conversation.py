"""`AsyncConversation`: the steps of `history.py`, done with an asynchronous client."""

import inspect
from collections.abc import AsyncGenerator
from typing import Any

from antiphon.conversation.base import BaseConversation, Content, go_on
from antiphon.conversation.reply import Reply
from antiphon.conversation.shown import Shown
from antiphon.conversation.steps import (
    Calls,
    Commit,
    Confirm,
    Count,
    Create,
    Step,
    Steps,
    Window,
)


class AsyncConversation(BaseConversation):
    """A conversation with an asynchronous client; tools and `confirm` may be coroutines. What is
    cancelled has not been said. Storing a turn takes some milliseconds of the event loop, so that
    it cannot be cancelled half-way."""

    _is_async = True

    @staticmethod
    def _make_client() -> Any:
        import anthropic

        return anthropic.AsyncAnthropic()

    async def say(self, content: Content, *, pin: bool = False) -> Reply:
        """See `Conversation.say`."""
        return await self._drive(self._history.say(content, pin=pin))

    async def retry(self) -> Reply:
        """See `Conversation.retry`."""
        return await self._drive(self._history.retry())

    def stream(self, content: Content, *, pin: bool = False) -> AsyncGenerator[str | Reply]:
        """See `Conversation.stream`. Close it if you leave early: `contextlib.aclosing`."""
        return self._stream(self._history.say(content, pin=pin))

    def stream_retry(self) -> AsyncGenerator[str | Reply]:
        """See `retry` and `stream`."""
        return self._stream(self._history.retry())

    async def _drive(self, steps: Steps[Reply]) -> Reply:
        try:
            step = next(steps)
            while True:
                step = go_on(steps, *await self._outcome(step))
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        finally:
            steps.close()

    async def _stream(self, steps: Steps[Reply]) -> AsyncGenerator[str | Reply]:
        shown = Shown()
        try:
            step = next(steps)
            while True:
                if not (isinstance(step, Create) and step.shown):
                    step = go_on(steps, *await self._outcome(step))
                    continue
                shown.begin(step.follows)
                message, failed = None, None
                try:
                    async with self._client.messages.stream(**step.fields) as stream:
                        async for piece in stream.text_stream:
                            if text := shown.feed(piece):
                                yield text
                        message = await stream.get_final_message()
                except Exception as error:
                    failed = error
                step = go_on(steps, message, failed)
        except StopIteration as end:
            if rest := shown.finish():
                yield rest
            yield end.value
        finally:
            steps.close()

    async def _outcome(self, step: Step) -> tuple[Any, Exception | None]:
        try:
            return await self._do(step), None
        except Exception as error:
            return None, error

    async def _do(self, step: Step) -> Any:
        match step:
            case Create(fields):
                return await self._client.messages.create(**fields)
            case Count(fields):
                return (await self._client.messages.count_tokens(**fields)).input_tokens
            case Window(model):
                info = await self._client.models.retrieve(model)
                return getattr(info, "max_input_tokens", None)
            case Confirm(call):
                if self._confirm is None:
                    return True
                verdict = self._confirm(call["name"], call["input"])
                return await verdict if inspect.isawaitable(verdict) else verdict
            case Calls(calls, timeout_s):
                return await self._tools.call_all_async(calls, timeout_s)
            case Commit(state):
                return self._commit(state)
