"""`Conversation` and `AsyncConversation`: the same steps, done with either kind of client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from antiphon.conversation.budget import Budget
from antiphon.conversation.reply import Reply
from antiphon.conversation.steps import (
    Calls,
    Count,
    Create,
    History,
    OnTruncated,
    Step,
    Steps,
    Window,
)

COUNTED = ("model", "messages", "system", "tools")


type Outcome = tuple[Any, Exception | None]
"""What came of a step: a result, or what went wrong."""


def _go_on(steps: Steps, result: Any, error: Exception | None) -> Step:
    """The next step; StopIteration with the reply is the end. No coroutine may raise that, so this
    is none."""
    return steps.send(result) if error is None else steps.throw(error)


class _Base:
    """What does not talk to anybody."""

    def __init__(
        self,
        model: str,
        client: Any = None,
        *,
        system: str | None = None,
        tools: Sequence[Callable[..., Any]] = (),
        budget: Budget | None = None,
        on_truncated: OnTruncated = "raise",
        **create_kwargs: Any,
    ) -> None:
        """`client`: any official client object of this kind; None makes one, which reads its
        address and key from the environment. `tools`: functions, plain or with the client's own
        decorator. Other arguments go to every `messages.create`, `max_tokens` (1,024) included.
        `on_truncated`: what to do when an answer was cut: "raise" (the history stays as it was),
        "return" it, or "continue" until it is whole.
        """
        self._client = client if client is not None else self._make_client()
        self._functions = {tool.name: tool for tool in map(self._as_tool, tools)}
        self._history = History(
            model,
            system=system,
            tools=[tool.to_dict() for tool in self._functions.values()],
            budget=budget or Budget(),
            on_truncated=on_truncated,
            fields=create_kwargs,
        )

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history as the API takes it: always a legal request, or empty."""
        return list(self._history.messages)

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of all requests so far."""
        history = self._history
        return {"input_tokens": history.input_tokens, "output_tokens": history.output_tokens}

    def undo(self) -> bool:
        """Take back the last thing said and its answer; False if there is none."""
        return self._history.undo() is not None

    def fork(self) -> Self:
        """A conversation that begins with this one's past and goes its own way."""
        other = object.__new__(type(self))
        other._client, other._functions = self._client, self._functions
        other._history = self._history.fork()
        return other

    def _retried(self) -> Steps:
        said = self._history.undo()
        if said is None:
            raise ValueError("nothing has been said yet")
        return self._history.say(said["content"])

    @staticmethod
    def _make_client() -> Any:
        raise NotImplementedError

    @staticmethod
    def _as_tool(function: Any) -> Any:
        raise NotImplementedError


def _result(block: Mapping[str, Any], text: str, *, is_error: bool) -> dict[str, Any]:
    content = {"type": "tool_result", "tool_use_id": block["id"], "content": text}
    return {**content, "is_error": True} if is_error else content


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


class Conversation(_Base):
    """A conversation with a synchronous client."""

    @staticmethod
    def _make_client() -> Any:
        import anthropic

        return anthropic.Anthropic()

    @staticmethod
    def _as_tool(function: Any) -> Any:
        import anthropic

        return function if hasattr(function, "to_dict") else anthropic.beta_tool(function)

    def say(self, content: str | Sequence[Any], *, pin: bool = False) -> Reply:
        """Say something and return the answer. If anything fails, nothing has been said. What is
        pinned never leaves the conversation to make room.

        Raises:
            TruncatedError: the answer was cut (`on_truncated="raise"`).
            OverBudgetError: the conversation does not fit into the window.
        """
        return self._drive(self._history.say(content, pin=pin))

    def retry(self) -> Reply:
        """Say the last thing again."""
        return self._drive(self._retried())

    def stream(self, content: str | Sequence[Any]) -> Iterator[str | Reply]:
        """Pieces of the answer's text as they come, and then the whole reply."""
        steps = self._history.say(content)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Create) and step.shown:
                    try:
                        with self._client.messages.stream(**step.fields) as stream:
                            yield from stream.text_stream
                            result = stream.get_final_message()
                    except Exception as error:
                        step = steps.throw(error)
                        continue
                    step = steps.send(result)
                else:
                    step = _go_on(steps, *self._outcome(step))
        except StopIteration as end:
            yield end.value
        finally:
            steps.close()

    def _drive(self, steps: Steps) -> Reply:
        try:
            step = next(steps)
            while True:
                step = _go_on(steps, *self._outcome(step))
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        finally:
            steps.close()  # interrupted: the history is as it was

    def _outcome(self, step: Step) -> Outcome:
        try:
            return self._do(step), None
        except Exception as error:
            return None, error

    def _do(self, step: Step) -> Any:
        match step:
            case Create(fields):
                return self._client.messages.create(**fields)
            case Count(fields):
                counted = {key: fields[key] for key in COUNTED if key in fields}
                return self._client.messages.count_tokens(**counted).input_tokens
            case Window(model):
                return getattr(self._client.models.retrieve(model), "max_input_tokens", None)
            case Calls(blocks):
                with ThreadPoolExecutor(len(blocks)) as pool:
                    return list(pool.map(self._call, blocks))

    def _call(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """An exception is what the model is told: it may try otherwise."""
        tool = self._functions.get(block["name"])
        if tool is None:
            return _result(block, f"There is no tool {block['name']!r}.", is_error=True)
        try:
            return _result(block, _as_text(tool.call(block["input"])), is_error=False)
        except Exception as error:
            return _result(block, f"{type(error).__name__}: {error}", is_error=True)


class AsyncConversation(_Base):
    """A conversation with an asynchronous client; tools may be coroutines."""

    @staticmethod
    def _make_client() -> Any:
        import anthropic

        return anthropic.AsyncAnthropic()

    @staticmethod
    def _as_tool(function: Any) -> Any:
        import anthropic

        if hasattr(function, "to_dict"):
            return function
        is_async = asyncio.iscoroutinefunction(function)
        return (anthropic.beta_async_tool if is_async else anthropic.beta_tool)(function)

    async def say(self, content: str | Sequence[Any], *, pin: bool = False) -> Reply:
        """See `Conversation.say`."""
        return await self._drive(self._history.say(content, pin=pin))

    async def retry(self) -> Reply:
        return await self._drive(self._retried())

    async def stream(self, content: str | Sequence[Any]) -> AsyncIterator[str | Reply]:
        """See `Conversation.stream`."""
        steps = self._history.say(content)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Create) and step.shown:
                    try:
                        async with self._client.messages.stream(**step.fields) as stream:
                            async for piece in stream.text_stream:
                                yield piece
                            result = await stream.get_final_message()
                    except Exception as error:
                        step = steps.throw(error)
                        continue
                    step = steps.send(result)
                else:
                    step = _go_on(steps, *await self._outcome(step))
        except StopIteration as end:
            yield end.value
        finally:
            steps.close()

    async def _drive(self, steps: Steps) -> Reply:
        try:
            step = next(steps)
            while True:
                step = _go_on(steps, *await self._outcome(step))
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        finally:
            steps.close()  # cancelled: the history is as it was

    async def _outcome(self, step: Step) -> Outcome:
        try:
            return await self._do(step), None
        except Exception as error:
            return None, error

    async def _do(self, step: Step) -> Any:
        match step:
            case Create(fields):
                return await self._client.messages.create(**fields)
            case Count(fields):
                counted = {key: fields[key] for key in COUNTED if key in fields}
                return (await self._client.messages.count_tokens(**counted)).input_tokens
            case Window(model):
                info = await self._client.models.retrieve(model)
                return getattr(info, "max_input_tokens", None)
            case Calls(blocks):
                return list(await asyncio.gather(*map(self._call, blocks)))

    async def _call(self, block: Mapping[str, Any]) -> dict[str, Any]:
        tool = self._functions.get(block["name"])
        if tool is None:
            return _result(block, f"There is no tool {block['name']!r}.", is_error=True)
        try:
            value = tool.call(block["input"])
            if asyncio.iscoroutine(value):
                value = await value
            return _result(block, _as_text(value), is_error=False)
        except Exception as error:
            return _result(block, f"{type(error).__name__}: {error}", is_error=True)
