"""What the benches of the cache share: texts of a given length, answers with their times, the
server's own figures, and bars."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import anthropic

from bench.serving import Running, figures

WORDS = ["river", "stone", "garden", "letter", "number", "machine", "choir", "window", "lantern",
         "harbour", "winter", "engine", "paper", "mountain", "silver", "forest", "market", "bridge",
         "shadow", "orange", "captain", "village", "morning", "planet"]  # fmt: skip
SAMPLE_WORDS = 200  # from which the tokens of a word are learned
QUIET_S = 1.0  # without a change of any figure, nothing is being saved any more
QUIET_WAIT_S = 120.0


@dataclass
class Answer:
    """A streamed answer as its client saw it; times are seconds of one clock."""

    begun: float
    times: list[float] = field(default_factory=list)  # of each piece of text
    text: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    ended: float = 0.0

    @property
    def first_s(self) -> float:
        """Until the first text, or the end of an answer without any."""
        return (self.times[0] if self.times else self.ended) - self.begun

    @property
    def gaps_s(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.times)]


def never() -> bool:
    return False


class Asking:
    """The official client, with texts of a known number of tokens."""

    def __init__(self, server: Running, seed: int = 1) -> None:
        url = f"http://127.0.0.1:{server.port}"
        self._client = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=1200)
        self._draw = random.Random(seed)
        one, many = (self._count(self._words(count)) for count in (1, 1 + SAMPLE_WORDS))
        self._tokens_a_word = (many - one) / SAMPLE_WORDS

    def text(self, tokens: int) -> str:
        """New text of about so many tokens."""
        return self._words(max(1, round(tokens / self._tokens_a_word)))

    def ask(
        self, messages: Sequence[Any], *, max_tokens: int, leave: Callable[[], bool] = never
    ) -> Answer:
        """`leave`: asked after each piece; the client closes the connection when it is true."""
        answer = Answer(time.perf_counter())
        with self._client.messages.create(
            model="m", max_tokens=max_tokens, messages=list(messages), stream=True,
            extra_body={"temperature": 0},
        ) as events:  # fmt: skip
            for event in events:
                match event:
                    case anthropic.types.RawMessageStartEvent(message=message):
                        usage = message.usage
                        read = usage.cache_read_input_tokens or 0
                        created = usage.cache_creation_input_tokens or 0
                        answer.prompt_tokens = usage.input_tokens + read + created
                    case anthropic.types.RawContentBlockDeltaEvent(
                        delta=anthropic.types.TextDelta(text=text)
                    ):
                        answer.times.append(time.perf_counter())
                        answer.text += text
                    case anthropic.types.RawMessageDeltaEvent(usage=total):
                        answer.tokens = total.output_tokens
                if leave():
                    break
        answer.ended = time.perf_counter()
        return answer

    def close(self) -> None:
        self._client.close()

    def _words(self, count: int) -> str:
        return " ".join(self._draw.choices(WORDS, k=count))

    def _count(self, text: str) -> int:
        return self._client.messages.count_tokens(model="m", messages=[user(text)]).input_tokens


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def assistant(answer: Answer) -> Any:
    """An answer that is sent back. One of a random model may have no text, which is no message."""
    return {"role": "assistant", "content": answer.text.strip() or "Yes."}


def wait_until_quiet(server: Running, most_s: float = QUIET_WAIT_S) -> dict[str, int]:
    """Until nothing is computed or saved any more; the figures as they are then."""
    given_up = time.perf_counter() + most_s
    last, since = figures(server), time.perf_counter()
    while time.perf_counter() - since < QUIET_S:
        time.sleep(0.1)
        now = figures(server)
        if now != last:
            last, since = now, time.perf_counter()
        if time.perf_counter() > given_up:
            print(f"(the server was still busy after {most_s:.0f} s)")
            break
    return last


def at_most(value: float, limit: float) -> tuple[str, str]:
    """Two cells of a table: the bar, and whether it is reached."""
    return f"≤ {limit:g}", "reached" if value <= limit else "missed"


def at_least(value: float, limit: float) -> tuple[str, str]:
    return f"≥ {limit:g}", "reached" if value >= limit else "missed"
