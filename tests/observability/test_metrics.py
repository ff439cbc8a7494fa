"""`GET /metrics`: what Prometheus reads, after requests whose cost is known."""

import re

import httpx2

from antiphon.engines.stub import StubEngine
from antiphon.observability.metrics import Metrics
from tests.serving import answering, serving, stub_app

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def samples(page: str) -> dict[str, float]:
    """Name with labels → value."""
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_requests_tokens_and_the_engine_are_counted() -> None:
    engine = StubEngine(reply=answering("Hello."))
    app = stub_app(engine, metrics=Metrics(engine.metrics))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        usage = (await http.post("/v1/messages", json=BODY)).json()["usage"]
        await http.post("/v1/messages", json={**BODY, "stream": True})
        await http.post("/v1/messages", json={})
        await http.get("/v1/models/anything")
        await http.get("/never/heard/of/it")
        page = await http.get("/metrics")

    found = samples(page.text)
    assert page.headers["content-type"].startswith("text/plain; version=")
    for endpoint, status, count in [
        ("/v1/messages", 200, 2),
        ("/v1/messages", 400, 1),
        ("/v1/models/{id}", 200, 1),
        ("other", 404, 1),
    ]:
        name = f'antiphon_requests_total{{endpoint="{endpoint}",status="{status}"}}'
        assert found[name] == count
    assert found['antiphon_tokens_total{kind="input"}'] == 2 * usage["input_tokens"]
    assert found['antiphon_tokens_total{kind="output"}'] == 2 * usage["output_tokens"]
    computed = engine.metrics()["prompt_tokens_computed"]
    assert found["antiphon_prompt_tokens_computed_total"] == computed
    assert found['antiphon_tokens_total{kind="reused"}'] == 2 * usage["input_tokens"] - computed
    assert found["antiphon_running"] == 0
    assert found["antiphon_time_to_first_token_seconds_count"] == 2


async def test_the_page_names_no_key_and_no_content() -> None:
    app = stub_app(StubEngine(reply=answering("Hello.")), api_keys=("sk-secret",))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        await http.post("/v1/messages", json=BODY, headers={"x-api-key": "sk-secret"})
        await http.post("/v1/messages", json=BODY, headers={"x-api-key": "sk-wrong"})
        page = (await http.get("/metrics")).text

    assert not re.search("sk-|Hello|hi", page.replace("histogram", ""))
