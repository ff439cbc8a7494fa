"""An engine without a model: byte tokens, seeded text, no clock. For tests, demos and CI.

`antiphon serve --engine stub` runs everything of the server except a model: the same prompts
give the same answers on every machine, in any order and beside any other requests. Time is
virtual: one step computes a chunk of a prompt or one token and gives way to the event loop once,
so nothing here waits for a wall clock. Only a job's deadline is real time.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b
from math import inf

from antiphon.engines.base import (
    Constraint,
    EngineInfo,
    FinishReason,
    Generation,
    SamplingParams,
    SpecialToken,
    TokenChunk,
    TokenKind,
)
from antiphon.errors import overloaded, prompt_too_long, shutting_down, timed_out

PREFILL_TOKENS_MAX = 512  # prompt tokens that one step computes
RECORDS_MAX = 64  # sequences remembered for `cached`, running ones included

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

SPECIAL_TOKENS = tuple(
    SpecialToken(256 + index, text, kind)
    for index, (text, kind) in enumerate(
        [
            ("<|endoftext|>", TokenKind.CONTROL),
            ("<|im_start|>", TokenKind.CONTROL),
            ("<|im_end|>", TokenKind.CONTROL),
            ("<tool_call>", TokenKind.USER_DEFINED),
            ("</tool_call>", TokenKind.USER_DEFINED),
            ("<tool_response>", TokenKind.USER_DEFINED),
            ("</tool_response>", TokenKind.USER_DEFINED),
            ("<think>", TokenKind.USER_DEFINED),
            ("</think>", TokenKind.USER_DEFINED),
        ]
    )
)
END_OF_TEXT, IM_START, IM_END = 256, 257, 258

CLOSERS = (IM_END, *b'"}],:0{[a')  # what a constrained answer is continued with, first of all

WORDS = (
    "a the this every one answer question voice stream token prompt window cache choir echo "
    "river stone garden letter number machine song returns follows keeps finds opens turns reads "
    "writes waits sings and or then because while where quickly slowly again together alone"
)


class ByteTokenizer:
    """Ids 0 to 255 are bytes; the special tokens of ChatML, tools and thinking follow."""

    special_tokens: Sequence[SpecialToken] = SPECIAL_TOKENS

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """See `base.Tokenizer.encode`. Every byte is a token wherever it stands."""
        return list(text.encode("utf-8", errors="replace"))

    def token_bytes(self, token_id: int) -> bytes:
        if 0 <= token_id < 256:
            return bytes([token_id])
        if token_id - 256 in range(len(SPECIAL_TOKENS)):
            return SPECIAL_TOKENS[token_id - 256].text.encode()
        raise IndexError(f"token {token_id} is not in the vocabulary")


class StubEngine:
    """Implements `base.Engine`. Lives on one event loop and owns no thread.

    `reply` decides what a prompt is answered with; special tokens that its bytes spell become
    those tokens, as a model would produce them. Without it, the text is drawn from the prompt and
    the sampling seed. Either way the answer ends with `<|im_end|>`.
    """

    def __init__(
        self,
        *,
        slots: int = 8,
        context_len: int = 32_768,
        waiting_max: int = 1024,
        reply: Callable[[Sequence[int]], bytes] | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        assert slots > 0
        assert context_len > 1
        self.tokenizer = ByteTokenizer()
        self.info = EngineInfo(
            engine="stub",
            model_name="stub",
            context_len=context_len,
            slots=slots,
            vocab_size=256 + len(SPECIAL_TOKENS),
            end_of_generation=frozenset({END_OF_TEXT, IM_END}),
            eos_token="<|im_end|>",
            chat_template=CHAT_TEMPLATE,
            sampling=sampling or SamplingParams(),
            details={"model": "none: seeded byte tokens", "clock": "virtual"},
        )
        self._reply = reply
        self._waiting_max = waiting_max
        self._slots = asyncio.Semaphore(slots)
        self._records: deque[tuple[str, list[int]]] = deque(maxlen=RECORDS_MAX)  # and their owner
        self._closed = False
        self._metrics = dict.fromkeys(
            (
                "running",
                "waiting",
                "steps",
                "prompt_tokens_computed",
                "prompt_tokens_cached",
                "generated_tokens",
                "cancellations",
            ),
            0,
        )

    def metrics(self) -> Mapping[str, int]:
        return dict(self._metrics)

    def problem(self) -> str | None:
        return None

    async def close(self) -> None:
        """See `base.Engine.close`. Running jobs fail at their next step, waiting ones now."""
        self._closed = True
        self._slots.release()  # wakes the first that waits, which fails and wakes the next

    async def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        """See `base.Engine.generate`."""
        if len(job.prompt) >= self.info.context_len:
            raise prompt_too_long(len(job.prompt), self.info.context_len - 1)
        time_s = inf if job.deadline_s is None else job.deadline_s
        now = asyncio.get_running_loop().time
        until = now() + time_s
        await self._take_slot(until, time_s)
        self._metrics["running"] += 1
        finished = False
        try:
            async with aclosing(self._run(job)) as chunks:
                async for chunk in chunks:
                    if chunk.cached is None and now() >= until:
                        raise timed_out(time_s)
                    finished = chunk.finish_reason is not None
                    yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            self._metrics["cancellations"] += not finished
            raise
        finally:
            self._metrics["running"] -= 1
            self._slots.release()

    async def _take_slot(self, until: float, time_s: float) -> None:
        if self._slots.locked() and self._metrics["waiting"] >= self._waiting_max:
            raise overloaded("too many requests are waiting.")
        self._metrics["waiting"] += 1
        try:
            async with asyncio.timeout_at(until):
                await self._slots.acquire()
        except TimeoutError:
            raise timed_out(time_s) from None
        finally:
            self._metrics["waiting"] -= 1
        if self._closed:
            self._slots.release()
            raise shutting_down()

    async def _run(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        prompt = list(job.prompt)
        cached = self._longest_common_prefix(prompt, job.owner)
        self._metrics["prompt_tokens_cached"] += cached
        record = prompt[:cached]
        self._records.append((job.owner, record))
        yield TokenChunk(cached=cached)

        while len(record) < len(prompt):
            chunk = prompt[len(record) : len(record) + PREFILL_TOKENS_MAX]
            record += chunk
            self._metrics["prompt_tokens_computed"] += len(chunk)
            await self._step()
        if job.max_tokens == 0:
            yield TokenChunk(finish_reason=FinishReason.LENGTH)
            return

        answer = self._answer(prompt, job.sampling)
        if job.constraint is not None:
            answer = _within(job.constraint, answer, self.info)
        for count, token in enumerate(answer, start=1):
            await self._step()
            record.append(token)
            self._metrics["generated_tokens"] += 1
            reason = self._finish_reason(token, count, len(record), job.max_tokens)
            yield TokenChunk((token,), finish_reason=reason)
            if reason is not None:
                return
        raise AssertionError("an answer ends with an end-of-generation token")

    async def _step(self) -> None:
        self._metrics["steps"] += 1
        await asyncio.sleep(0)
        if self._closed:
            raise shutting_down()

    def _finish_reason(
        self, token: int, count: int, length: int, max_tokens: int
    ) -> FinishReason | None:
        if token in self.info.end_of_generation:
            return FinishReason.STOP
        if count == max_tokens:
            return FinishReason.LENGTH
        return FinishReason.CONTEXT if length == self.info.context_len else None

    def _longest_common_prefix(self, prompt: list[int], owner: str) -> int:
        """Prompt tokens that some remembered sequence has computed; the last one never counts."""
        longest = 0
        for record in (record for whose, record in self._records if whose == owner):
            limit = min(len(record), len(prompt) - 1)
            if limit > longest and record[:longest] == prompt[:longest]:
                while longest < limit and record[longest] == prompt[longest]:
                    longest += 1
        return longest

    def _answer(self, prompt: list[int], sampling: SamplingParams) -> Iterable[int]:
        if self._reply is not None:
            yield from _with_special_tokens(self._reply(prompt))
        else:
            yield from _babble(prompt, sampling.seed)
        yield IM_END


def _within(constraint: Constraint, wanted: Iterable[int], info: EngineInfo) -> Iterator[int]:
    """The wanted tokens as far as they are allowed; otherwise what ends things soonest."""
    tokens = deque(wanted)
    while True:
        token = tokens.popleft() if tokens else IM_END
        if not constraint.allows(token):
            allowed = set(constraint.allowed())
            token = next((t for t in CLOSERS if t in allowed), None) or min(allowed)
        constraint.advance([token])
        yield token
        if token in info.end_of_generation:
            return
        for forced in constraint.forced():
            if tokens and tokens[0] == forced:  # wanted as well
                tokens.popleft()
            constraint.advance([forced])
            yield forced


def _with_special_tokens(text: bytes) -> Iterable[int]:
    """Bytes as tokens, each special token that they spell as one."""
    position = 0
    while position < len(text):
        for token in SPECIAL_TOKENS:
            if text.startswith(token.text.encode(), position):
                yield token.id
                position += len(token.text)
                break
        else:
            yield text[position]
            position += 1


def _babble(prompt: list[int], seed: int | None) -> Iterable[int]:
    """Sentences that depend on the prompt and the seed only."""
    key = repr((prompt, seed)).encode()
    draw = random.Random(blake2b(key, digest_size=8).digest())
    sentences = []
    for _ in range(draw.randint(1, 4)):
        words = draw.choices(WORDS.split(), k=draw.randint(4, 12))
        sentences.append(" ".join(words).capitalize() + ".")
    return list(" ".join(sentences).encode())
