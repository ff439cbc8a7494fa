"""What both kinds of conversation have in common: everything that talks to no model."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar, Protocol, Self

from antiphon.conversation import export
from antiphon.conversation.budget import Budget
from antiphon.conversation.history import History
from antiphon.conversation.reply import Reply
from antiphon.conversation.state import State, imported, sent
from antiphon.conversation.steps import OnTruncated, Settings, Step, Steps, System
from antiphon.conversation.store import Position, Store
from antiphon.conversation.tools import Tools
from antiphon.conversation.tree import path, plain

type Content = str | Sequence[Any]
"""What is said: a text, or the API's content blocks."""

type Confirmation = Callable[[str, Mapping[str, Any]], Any]
"""Asked with a tool's name and input before it runs: True, or False, or why not, as a text for the
model. With AsyncConversation it may be a coroutine."""


class Client(Protocol):
    """Any of the official client's objects, for whatever platform."""

    @property
    def messages(self) -> Any: ...


class BaseConversation:
    """See `Conversation`."""

    def __init__(
        self,
        model: str,
        client: Client | None = None,
        *,
        system: System = None,
        tools: Sequence[Any] = (),
        budget: Budget | None = None,
        store: Store | str | PathLike[str] | None = None,
        on_truncated: OnTruncated = "raise",
        confirm: Confirmation | None = None,
        tool_rounds: int = 16,
        tool_seconds: float = 300.0,
        continuations: int = 8,
        messages: Sequence[Mapping[str, Any]] = (),
        **create_kwargs: Any,
    ) -> None:
        """
        Args:
            client: of the official package; None makes one, which reads its address and key from
                the environment.
            system: a text, or blocks of text.
            tools: functions, plain or with the client's own decorator; dictionaries define tools
                that the server runs.
            budget: None is `Budget()`: the server's window, and old exchanges are summarised.
            store: where to keep the conversation, from the first turn on: a Store or a file.
            on_truncated: what to do with an answer that was cut: "raise", "return" it, or
                "continue" it by prefill, `continuations` times at most, and then raise.
            confirm: asked before each call of a tool.
            tool_rounds: answers with calls in one turn, at most.
            tool_seconds: after so many seconds of a turn no tool is run, or waited for, any more.
            messages: a history to begin with.
            create_kwargs: go to every `messages.create`; `max_tokens` is 1,024 if not given.

        Raises:
            ValueError, TypeError: an argument is none of those; the text says which.
            StoreError: `messages` could not be stored.
        """
        self._client: Any = client if client is not None else self._make_client()
        self._tools = Tools(tools, is_async=self._is_async)
        self._confirm = confirm
        self._store = store if isinstance(store, Store) or store is None else Store(store)
        self._position: Position | None = None
        settings = Settings(
            model,
            plain(system),
            self._tools.definitions,
            budget or Budget(),
            on_truncated,
            tool_rounds,
            tool_seconds,
            continuations,
            create_kwargs,
        )
        self._history = History(settings, imported(messages))
        if messages:
            self._commit(self._history.state)

    @classmethod
    def resume(
        cls,
        id: str,
        store: Store | str | PathLike[str],
        client: Client | None = None,
        **options: Any,
    ) -> Self:
        """Go on with a stored conversation: what is sent begins exactly as before. `id` may be the
        beginning of one. `options` are those of the constructor; the model and the system prompt
        are the stored ones where none are given, everything else is not stored.

        Raises:
            StoreError: there is no such conversation, or more than one.
        """
        if "messages" in options:
            raise TypeError("a conversation that is resumed has its messages")
        store = store if isinstance(store, Store) else Store(store)
        saved = store.load(id)
        options = {**saved.settings, **options}
        chat = cls(options.pop("model"), client, store=store, **options)
        chat._history = History(chat._history.settings, saved.state, usage=saved.usage)
        chat._position = saved.position
        return chat

    # What there is ----------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """By which it can be resumed; None as long as it is not stored."""
        return self._position.id if self._position else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the next request begins with, as the API takes it: always legal, or empty. When the
        conversation is longer than its budget, this is less than was said."""
        messages: list[dict[str, Any]] = plain(
            sent(self._history.state, self._history.settings.marks_max)
        )
        return messages

    @property
    def transcript(self) -> list[dict[str, Any]]:
        """Everything that was said."""
        messages: list[dict[str, Any]] = plain(path(self._history.state.head))
        return messages

    @property
    def notes(self) -> str:
        """What stands for the exchanges that are no longer sent; empty if nothing does."""
        return self._history.state.notes

    @property
    def tokens(self) -> int | None:
        """At most so many of the window are taken; None if that is not known now."""
        return self._history.state.tokens

    @property
    def window(self) -> int | None:
        """Tokens of the model's context; None as long as no turn has asked for it, or if the server
        does not say."""
        return self._history.window

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of all requests so far, also of those whose answers were not kept."""
        return dict(self._history.usage)

    @property
    def model(self) -> str:
        """May be changed between two turns."""
        return self._history.settings.model

    @model.setter
    def model(self, model: str) -> None:
        self._history.settings = replace(self._history.settings, model=model)

    @property
    def system(self) -> System:
        """May be changed between two turns."""
        return self._history.settings.system

    @system.setter
    def system(self, system: System) -> None:
        self._history.settings = replace(self._history.settings, system=plain(system))

    @property
    def tools(self) -> list[Mapping[str, Any]]:
        """Their definitions, as the API takes them."""
        return list(self._history.settings.tools)

    # What can be done with it -----------------------------------------------------------------

    def undo(self) -> bool:
        """Take back the last thing said and its answer; False if there is none. What had left the
        window because of it is back."""
        self._reject_if_busy()
        if self._history.state.previous is None:
            return False
        before = self._history.before_last()
        self._commit(before)
        self._history.state = before
        return True

    def fork(self) -> Self:
        """A conversation that begins with this one's past, as it is sent, and goes its own way.
        It counts its own usage. If this one is stored, so is it, from now on."""
        self._reject_if_busy()
        other = copy(self)
        other._history = History(self._history.settings, self._history.state)
        other._position = None
        if self._position is not None:
            other._commit(other._history.state, forked_from=self._position.id)
        return other

    def to_json(self) -> str:
        """Everything that was said, its model and its system prompt; `messages` in it can begin
        another conversation."""
        return export.to_json(self.transcript, model=self.model, system=self.system)

    def to_markdown(self) -> str:
        """Everything that was said, to be read."""
        return export.to_markdown(self.transcript, model=self.model, system=self.system)

    def _commit(self, state: State, *, forked_from: str | None = None) -> None:
        """Where the conversation stands now, on disk. One without a word is not stored."""
        if self._store is None or (self._position is None and not state.id):
            return
        settings = {"model": self.model, "system": self.system}
        self._position = self._store.append(
            self._position, state, settings, self.usage, forked_from=forked_from
        )

    def _reject_if_busy(self) -> None:
        if self._history.is_busy:
            raise RuntimeError("a conversation has one turn at a time: wait for its end")

    # What the two kinds add -------------------------------------------------------------------

    _is_async: ClassVar[bool]

    @staticmethod
    def _make_client() -> Any:
        raise NotImplementedError


def go_on(steps: Steps[Reply], result: Any, error: Exception | None) -> Step:
    """The step after one that came to `result` or failed with `error`. StopIteration, with the
    reply, is the end; no coroutine may raise that, so this is none."""
    return steps.send(result) if error is None else steps.throw(error)
