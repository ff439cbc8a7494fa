"""The backend seam: a request becomes stream events. A backend knows no socket.

Closing the iterator that `stream` returns is the abort. The answer that is not streamed is
`accumulate(events)`: there is one path.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.wire.events import Event
from antiphon.wire.messages import CountTokens, CreateMessage, TokenCount
from antiphon.wire.resources import ModelInfo
from antiphon.wire.versions import LENIENT, Contract


@dataclass(slots=True)
class Account:
    """What a request has cost so far, in tokens: for limits, metrics and the log.

    Written while the request is answered, true at any moment, so that a client that leaves is
    charged for what it got.
    """

    input_tokens: int = 0
    reused_tokens: int = 0  # of the input: what the engine had computed before
    cache_read_tokens: int = 0  # of these: what the client is told of, and not charged for
    output_tokens: int = 0
    first_token_s: float | None = None  # from the start of the request


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What is known of a request beside its body."""

    request_id: str
    principal: str = "anonymous"  # the name of the key
    owner: str = ""  # who alone may use again what is computed: a name may be given twice
    contract: Contract = LENIENT
    account: Account = field(default_factory=Account)


class Backend(Protocol):
    """Answers requests for its models."""

    def stream(self, request: CreateMessage, context: RequestContext) -> AsyncGenerator[Event]:
        """Yield a legal event stream, `message_start` before the prompt is computed.

        Raises `errors.APIError`; before the first event it becomes an HTTP error, later an
        `event: error`. The message's model is the requested name.
        """

    async def count_tokens(self, request: CountTokens, context: RequestContext) -> TokenCount:
        """All input tokens that `stream` would report for the same request."""

    async def models(self) -> list[ModelInfo]:
        """The models this backend has, newest first."""
