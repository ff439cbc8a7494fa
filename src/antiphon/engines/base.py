"""The engine seam: tokens become tokens. An engine knows no message, no HTTP, no text format.

Closing the iterator that `generate` returns is the abort: there is no other way to stop a job.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class FinishReason(StrEnum):
    """Why a generation ended, when it ended by itself."""

    STOP = "stop"  # the model produced an end-of-generation token (it is in token_ids)
    LENGTH = "length"  # max_tokens reached
    CONTEXT = "context"  # the context window is full


class TokenKind(StrEnum):
    """What a token that is not ordinary text is for (GGUF token types)."""

    CONTROL = "control"
    USER_DEFINED = "user_defined"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token with a meaning of its own, such as `<|im_end|>` or `<tool_call>`."""

    id: int
    text: str
    kind: TokenKind


class Tokenizer(Protocol):
    """Text to token ids and back. Safe to call from any thread, beside a running decode."""

    @property
    def special_tokens(self) -> Sequence[SpecialToken]:
        """Every control, unknown and user-defined token of the vocabulary."""

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Tokenise plain text; no text, whatever it spells, becomes a control token.

        `continues` says that `text` goes on after other plain text, so that vocabularies that
        mark the start of a text with a space (SentencePiece) add none here. Adds no BOS or EOS.
        """

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; special tokens give their text."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off."""

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine has loaded. Lengths and counts are in tokens."""

    engine: str  # "llamacpp", "stub"
    model_name: str  # from the model's metadata, never a path
    context_len: int  # longest prompt plus answer of one sequence
    slots: int  # sequences generated at the same time
    vocab_size: int
    end_of_generation: frozenset[int]
    begin_id: int | None = None  # token that every prompt begins with, where the vocabulary says so
    bos_token: str | None = None  # text, for chat templates that spell it
    eos_token: str | None = None
    chat_template: str | None = None  # Jinja source from the model's metadata
    sampling: SamplingParams = field(default_factory=SamplingParams)  # the model's own defaults
    details: Mapping[str, str] = field(default_factory=dict)  # for people: `antiphon doctor`
    problems: Sequence[str] = ()  # what the operator should know before users do; a sentence each


class Constraint(Protocol):
    """What the next token may be: a grammar, at the place that its answer has reached.

    An engine asks and advances it, token by token, in the order of the answer; nobody else does.
    Once the grammar is complete, the end-of-generation tokens are among what is allowed.
    """

    def allows(self, token_id: int) -> bool:
        """Whether the token may come next. Cheap: microseconds."""

    def allowed(self) -> Sequence[int]:
        """Every token that may come next. Up to milliseconds."""

    def forced(self) -> Sequence[int]:
        """Tokens that must come next, because nothing else can; often none."""

    def advance(self, token_ids: Sequence[int]) -> None:
        """These tokens came next.

        Raises:
            ConstraintError: they were not allowed, or the grammar ran into a limit of its own.
        """


@dataclass(frozen=True, slots=True)
class Pin:
    """The first `length` tokens of a prompt are wanted again within `seconds`."""

    length: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Generation:
    """One job: continue `prompt` by at most `max_tokens` tokens, within `constraint`. `pins` say
    what to keep afterwards before other things; an engine does what it can. What was computed for
    one owner is not used for another. A job that is not over `deadline_s` seconds from now fails
    then, waiting or running; None lets it take its time."""

    prompt: Sequence[int]
    sampling: SamplingParams
    max_tokens: int
    constraint: Constraint | None = None
    pins: Sequence[Pin] = ()
    owner: str = ""
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        assert self.prompt, "an engine cannot continue an empty prompt"
        assert self.max_tokens >= 0


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """A piece of a running generation.

    The first chunk is empty and carries `cached`: how many prompt tokens were already computed.
    It leaves before the prefill, so that an answer can begin with true numbers. Another empty one
    corrects it, should something have been lost since. The last chunk carries `finish_reason`.
    """

    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    cached: int | None = None


class Engine(Protocol):
    """Runs generations. Owns its threads, its memory and its model."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        """Yield chunks; the first is empty (see `TokenChunk`).

        Raises `errors.OverloadedError` when the queue is full, `errors.GatewayTimeoutError` when
        the job's time is over and `errors.InternalError` when a step failed. Closing the generator
        frees the sequence by the engine's next step.
        """

    def metrics(self) -> Mapping[str, int]:
        """Counters and gauges by name, such as `running`, `waiting`, `prompt_tokens_computed`."""

    def problem(self) -> str | None:
        """Why nothing can be generated any more, as one sentence; None while all is well."""

    async def close(self) -> None:
        """Fail what is running with `OverloadedError`, then free the model. Idempotent."""
