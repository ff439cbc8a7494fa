"""The log: a line a request, for people or as JSON; never a prompt, an answer or a key."""

import json
import logging
from collections.abc import Iterator

import httpx2
import pytest

from antiphon.engines.stub import StubEngine
from antiphon.observability import logs
from tests.serving import answering, serving, stub_app

BODY = {"model": "m", "max_tokens": 30, "messages": [{"role": "user", "content": "my secret"}]}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    logger = logging.getLogger("antiphon")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


async def ask() -> httpx2.Response:
    app = stub_app(StubEngine(reply=answering("the answer")), api_keys=("sk-1",))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        headers = {"authorization": "Bearer sk-1"}
        await http.post("/v1/messages", json=BODY, headers=headers)
        return await http.post("/v1/messages", json=BODY, headers=headers)


async def test_json_lines_say_what_was_computed_and_what_reused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(verbose=True, format="json")
    answer = await ask()

    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    usage = answer.json()["usage"]
    assert line["request_id"] == answer.headers["request-id"]
    assert (line["path"], line["status"], line["key"]) == ("/v1/messages", 200, "key 1")
    assert line["input_tokens"] == usage["input_tokens"]
    assert line["output_tokens"] == usage["output_tokens"]
    assert line["prompt_tokens_reused"] > 0  # the same prompt a second time
    assert line["prompt_tokens_computed"] + line["prompt_tokens_reused"] == usage["input_tokens"]


async def test_human_lines_have_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(verbose=True)
    answer = await ask()

    line = capsys.readouterr().err.splitlines()[-1]
    assert "POST /v1/messages 200" in line
    assert answer.headers["request-id"] in line
    assert f"output_tokens={answer.json()['usage']['output_tokens']}" in line


@pytest.mark.parametrize("format", ["json", "human"])
async def test_no_prompt_no_answer_and_no_key_is_logged(
    capsys: pytest.CaptureFixture[str], format: str
) -> None:
    logs.configure(verbose=True, format=format)
    await ask()

    written = capsys.readouterr().err
    assert written
    for secret in ("secret", "the answer", "sk-1"):
        assert secret not in written


async def test_without_verbose_a_request_is_no_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(verbose=False)
    await ask()

    assert capsys.readouterr().err == ""


def test_an_exception_is_one_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(verbose=False, format="json")
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("antiphon.http").exception("it failed")

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "it failed"
    assert "ValueError: bad" in json.loads(line)["exception"]
