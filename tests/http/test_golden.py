"""Whole answers, byte for byte, over a real socket."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import httpx2
import pytest

from antiphon.engines.base import Generation, SamplingParams, TokenChunk
from antiphon.engines.stub import StubEngine
from antiphon.errors import InternalError
from tests.golden.cases import CASES, Case
from tests.serving import answering, serving, stub_app

GOLDEN = Path(__file__).parent.parent / "golden"
SHOWN_HEADERS = ("allow", "content-type", "request-id", "retry-after", "x-should-retry")


class BreakingEngine(StubEngine):
    """A stub whose step fails after some tokens."""

    def __init__(self, fails_after: int) -> None:
        super().__init__(reply=answering("Hello there."))
        self._fails_after = fails_after

    async def generate(self, job: Generation) -> AsyncGenerator[TokenChunk]:
        produced = 0
        async with aclosing(super().generate(job)) as chunks:
            async for chunk in chunks:
                yield chunk
                produced += len(chunk.token_ids)
                if produced == self._fails_after:
                    raise InternalError("The engine could not compute the next token.")


def engine_of(case: Case) -> StubEngine:
    if case.fails_after is not None:
        return BreakingEngine(case.fails_after)
    slots = 1 if case.is_busy else 8
    return StubEngine(reply=answering(case.reply), context_len=case.context_len, slots=slots)


async def answer_to(case: Case) -> str:
    """Status line, the headers that clients read, and the body as it came."""
    engine = engine_of(case)
    app = stub_app(
        engine,
        strict_models=case.strict_models,
        api_keys=case.api_keys,
        is_closing=lambda: case.is_closing,
        request_timeout=case.request_timeout,
    )
    body = case.body if isinstance(case.body, bytes | None) else json.dumps(case.body).encode()
    headers = {"content-type": "application/json", **case.headers}
    other = Generation(prompt=[65], sampling=SamplingParams(), max_tokens=1)
    async with serving(app) as url, httpx2.AsyncClient() as client, AsyncExitStack() as stack:
        if case.is_busy:
            await anext(await stack.enter_async_context(aclosing(engine.generate(other))))
        response = await client.request(case.method, url + case.path, content=body, headers=headers)
    lines = [f"HTTP {response.status_code}"]
    lines += [
        f"{name}: {response.headers[name]}" for name in SHOWN_HEADERS if name in response.headers
    ]
    return "\n".join(lines) + "\n\n" + response.content.decode()


@pytest.mark.parametrize("name", CASES)
async def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    answer = await answer_to(CASES[name])

    file = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        file.write_bytes(answer.encode())
    assert answer == file.read_bytes().decode()


def test_every_golden_file_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(CASES)
