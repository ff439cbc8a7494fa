"""`Conversation`: the steps of `history.py`, done with a synchronous client."""

from collections.abc import Iterator
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


class Conversation(BaseConversation):
    """A conversation with a synchronous client. One turn at a time; use `fork` for several."""

    _is_async = False

    @staticmethod
    def _make_client() -> Any:
        import anthropic

        return anthropic.Anthropic()

    def say(self, content: Content, *, pin: bool = False) -> Reply:
        """Say something and return the answer. If anything fails, or the user interrupts it,
        nothing has been said. If there is a store, the turn is on disk when this returns. What is
        pinned never leaves the conversation to make room.

        Raises:
            TruncatedError: the answer was cut, and `on_truncated` is not "return".
            OverBudgetError: the conversation does not fit into the window.
            ToolLimitError: the model called tools for too long.
            StoreError: the turn could not be stored.
            ValueError: there is nothing to say.
            Exception: whatever the client raises.
        """
        return self._drive(self._history.say(content, pin=pin))

    def retry(self) -> Reply:
        """Say the last thing again. The first answer is forgotten once there is another one; see
        `say` for what is raised."""
        return self._drive(self._history.retry())

    def stream(self, content: Content, *, pin: bool = False) -> Iterator[str | Reply]:
        """Pieces of the answer's text as they come, and then the reply: nothing has been said until
        it has come. To cancel, close the iterator. The texts before and after calls of tools are a
        paragraph apart. See `say`."""
        return self._stream(self._history.say(content, pin=pin))

    def stream_retry(self) -> Iterator[str | Reply]:
        """See `retry` and `stream`."""
        return self._stream(self._history.retry())

    def _drive(self, steps: Steps[Reply]) -> Reply:
        try:
            step = next(steps)
            while True:
                step = go_on(steps, *self._outcome(step))
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        finally:
            steps.close()

    def _stream(self, steps: Steps[Reply]) -> Iterator[str | Reply]:
        shown = Shown()
        try:
            step = next(steps)
            while True:
                if not (isinstance(step, Create) and step.shown):
                    step = go_on(steps, *self._outcome(step))
                    continue
                shown.begin(step.follows)
                message, failed = None, None
                try:
                    with self._client.messages.stream(**step.fields) as stream:
                        for piece in stream.text_stream:
                            if text := shown.feed(piece):
                                yield text
                        message = stream.get_final_message()
                except Exception as error:
                    failed = error
                step = go_on(steps, message, failed)
        except StopIteration as end:
            if rest := shown.finish():
                yield rest
            yield end.value
        finally:
            steps.close()

    def _outcome(self, step: Step) -> tuple[Any, Exception | None]:
        try:
            return self._do(step), None
        except Exception as error:
            return None, error

    def _do(self, step: Step) -> Any:
        match step:
            case Create(fields):
                return self._client.messages.create(**fields)
            case Count(fields):
                return self._client.messages.count_tokens(**fields).input_tokens
            case Window(model):
                return getattr(self._client.models.retrieve(model), "max_input_tokens", None)
            case Confirm(call):
                confirm = self._confirm
                return True if confirm is None else confirm(call["name"], call["input"])
            case Calls(calls, timeout_s):
                return self._tools.call_all(calls, timeout_s)
            case Commit(state):
                return self._commit(state)
