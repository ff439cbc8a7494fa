"""What a conversation needs from outside: it is a procedure without I/O that yields these steps and
is sent their results. Whoever drives it does them with a client of either kind (`conversation.py`),
so there is one implementation for both. A step that fails is thrown into the procedure."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.conversation.budget import Budget
from antiphon.conversation.state import MARKS_MAX, State
from antiphon.conversation.tree import Message

MAX_TOKENS = 1024
# Arguments of `create` that `count_tokens` takes too: what a prompt is made of, and how to ask.
COUNTED = frozenset(
    (
        "cache_control",
        "output_config",
        "thinking",
        "tool_choice",
        "extra_headers",
        "extra_query",
        "timeout",
    )
)
ASKED = ("extra_headers", "extra_query", "timeout")  # how to ask, whatever is asked
OWN = frozenset(("messages", "model", "system", "tools", "stream"))  # no arguments to pass through

OnTruncated = Literal["raise", "return", "continue"]
System = str | Sequence[Mapping[str, Any]] | None
Follows = Literal["nothing", "prefill", "pause"]


@dataclass(frozen=True, slots=True)
class Create:
    """The answer to `fields`: the client's message object. `shown`: the user may read it while it
    is written. `follows`: it goes on with an answer that was cut and has lost the white space at
    its end ("prefill"), or with one that paused."""

    fields: Mapping[str, Any]
    shown: bool = True
    follows: Follows = "nothing"


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that the model's context has; None if the server does not say."""

    model: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Whether this call may run: True, or else why not (False, or a text for the model)."""

    call: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Calls:
    """Run these calls side by side; the answer is a list of their results, as blocks.

    Raises, into the procedure:
        TimeoutError: after `timeout_s` some were still running. They are abandoned.
    """

    calls: Sequence[Mapping[str, Any]]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Commit:
    """The turn is over: store the state, if there is a store."""

    state: State


type Step = Create | Count | Window | Confirm | Calls | Commit
type Steps[T] = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a conversation is held. `tools` are definitions as the API takes them, `fields` the other
    arguments of `create`."""

    model: str
    system: System = None
    tools: Sequence[Mapping[str, Any]] = ()
    budget: Budget = field(default_factory=Budget)
    on_truncated: OnTruncated = "raise"
    tool_rounds: int = 16
    tool_seconds: float = 300.0
    continuations: int = 8
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_truncated not in ("raise", "return", "continue"):
            raise ValueError("on_truncated is one of raise, return and continue")
        if own := OWN & set(self.fields):
            raise TypeError(f"the conversation itself decides about {', '.join(sorted(own))}")

    @property
    def max_tokens(self) -> int:
        return int(self.fields.get("max_tokens", MAX_TOKENS))

    @property
    def marks_max(self) -> int:
        """Cache breakpoints that are left for the messages."""
        system = self.system if not isinstance(self.system, str) and self.system else ()
        used = sum(bool(part.get("cache_control")) for part in (*self.tools, *system))
        return max(0, MARKS_MAX - used - bool(self.fields.get("cache_control")))

    def request(self, messages: Sequence[Message]) -> dict[str, Any]:
        return {"max_tokens": MAX_TOKENS, **self._prompt(messages), **self.fields}

    def counted(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What `count_tokens` takes of the request."""
        fields = {key: value for key, value in self.fields.items() if key in COUNTED}
        return {**self._prompt(messages), **fields}

    def apart(self, messages: Sequence[Message], max_tokens: int) -> dict[str, Any]:
        """A request to the same model that is not part of the conversation."""
        asked = {key: self.fields[key] for key in ASKED if key in self.fields}
        return {
            "model": self.model,
            "max_tokens": max_tokens,
            "messages": list(messages),
            **asked,
        }

    def _prompt(self, messages: Sequence[Message]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.model, "messages": list(messages)}
        if self.system is not None:
            fields["system"] = self.system
        if self.tools:
            fields["tools"] = list(self.tools)
        return fields
