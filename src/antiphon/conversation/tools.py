"""Python functions as tools: defined by the official client's own decorators, run side by side."""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Any

from antiphon.conversation.history import failure

PARALLEL_MAX = 16  # calls of one answer that run at the same time


class Tools:
    """What a model may call. `tools`: functions, with the client's decorator or without, and
    definitions (dictionaries) of tools that the server itself runs."""

    def __init__(self, tools: Sequence[Any], *, is_async: bool) -> None:
        self._runnable: dict[str, Any] = {}
        self.definitions: list[Mapping[str, Any]] = []
        for tool in tools:
            if isinstance(tool, Mapping):
                self.definitions.append(tool)
            else:
                decorated = _decorated(tool, is_async=is_async)
                self._runnable[decorated.name] = decorated
                self.definitions.append(decorated.to_dict())

    def call_all(
        self, calls: Sequence[Mapping[str, Any]], timeout_s: float
    ) -> list[dict[str, Any]]:
        """Each in a thread of its own.

        Raises:
            TimeoutError: after `timeout_s`. What still runs then is left alone: Python cannot end
                a thread. It does not keep the program from ending.
        """
        slots = threading.Semaphore(PARALLEL_MAX)
        running = [_started(self._call, call, slots) for call in calls]
        _, late = wait(running, timeout_s)
        for future in late:
            future.cancel()  # those that have not begun never will
        if late:
            raise TimeoutError
        return [future.result() for future in running]

    async def call_all_async(
        self, calls: Sequence[Mapping[str, Any]], timeout_s: float
    ) -> list[dict[str, Any]]:
        """Coroutines are awaited and, when the time is over, cancelled; see `call_all`."""
        slots = asyncio.Semaphore(PARALLEL_MAX)

        async def one(call: Mapping[str, Any]) -> dict[str, Any]:
            async with slots:
                return await self._call_async(call)

        async with asyncio.timeout(timeout_s):
            return list(await asyncio.gather(*map(one, calls)))

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """An exception is what the model is told: it may try otherwise."""
        tool = self._runnable.get(call["name"])
        if tool is None:
            return failure(call, f"There is no tool {call['name']!r}.")
        try:
            return _result(call, tool.call(call["input"]))
        except Exception as error:
            return _failed(call, error)

    async def _call_async(self, call: Mapping[str, Any]) -> dict[str, Any]:
        tool = self._runnable.get(call["name"])
        if tool is None or not _is_coroutine(tool):
            return await asyncio.wrap_future(_started(self._call, call, threading.Semaphore()))
        try:
            return _result(call, await tool.call(call["input"]))
        except Exception as error:
            return _failed(call, error)


def _decorated(tool: Any, *, is_async: bool) -> Any:
    """
    Raises:
        TypeError: a coroutine among the tools of a synchronous conversation.
    """
    import anthropic

    if not hasattr(tool, "to_dict"):
        is_coroutine = inspect.iscoroutinefunction(tool)
        tool = (anthropic.beta_async_tool if is_coroutine else anthropic.beta_tool)(tool)
    if _is_coroutine(tool) and not is_async:
        raise TypeError(f"the tool {tool.name!r} is a coroutine: use AsyncConversation")
    return tool


def _is_coroutine(tool: Any) -> bool:
    return inspect.iscoroutinefunction(tool.call)


def _started(
    function: Callable[[Mapping[str, Any]], dict[str, Any]],
    call: Mapping[str, Any],
    slots: threading.Semaphore,
) -> Future[dict[str, Any]]:
    """Begun in a thread that does not keep the program from ending; a pool's threads would."""
    future: Future[dict[str, Any]] = Future()
    context = copy_context()

    def run() -> None:
        with slots:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(context.run(function, call))
            except BaseException as error:  # such as SystemExit: the caller's affair
                future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=f"tool {call['name']}").start()
    return future


def _result(call: Mapping[str, Any], value: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": _content(value)}


def _failed(call: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    """The client's own ToolError may carry blocks."""
    content = getattr(error, "content", None)
    if type(error).__name__ != "ToolError" or content is None:
        return failure(call, f"{type(error).__name__}: {error}")
    return {**_result(call, content), "is_error": True}


def _content(value: Any) -> Any:
    """Text and blocks as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value and all(map(_is_block, value)):
        return list(value)
    return json.dumps(value, default=str, ensure_ascii=False)


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping) and "type" in value
