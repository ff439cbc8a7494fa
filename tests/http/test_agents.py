"""Requests in the shapes that coding agents send (spec §9.2): answered, whatever answers."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from antiphon.backends.router import Router
from antiphon.backends.script import load
from antiphon.backends.scripted import MODEL, ScriptedBackend
from antiphon.engines.stub import StubEngine
from antiphon.http.app import create_app
from antiphon.ids import generator
from tests.serving import answering, serving, stub_app

REQUESTS = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "agent_requests.json").read_text(encoding="utf-8")
)
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
    "context-management-2025-06-27,effort-2025-11-24,a-beta-of-tomorrow-2027-01-01",
    "x-api-key": "any",
    "x-app": "cli",
    "anthropic-dangerous-direct-browser-access": "true",
}


@pytest.mark.parametrize("request_body", REQUESTS, ids=["first", "with a result"])
@pytest.mark.parametrize("kind", ["native", "scripted"])
async def test_an_agents_request_is_answered(request_body: dict[str, Any], kind: str) -> None:
    app = stub_app(StubEngine(reply=answering("README.md")))
    if kind == "scripted":
        backend = ScriptedBackend(load({"replies": [{"reply": "README.md"}]}), generator())
        app = create_app(Router({MODEL: backend}, default=MODEL, strict=False), new_id=generator())
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        knock = await http.head("/api/hello")
        answer = await http.post("/v1/messages?beta=true", json=request_body, headers=HEADERS)
        counted = await http.post(
            "/v1/messages/count_tokens?beta=true", json=request_body, headers=HEADERS
        )

    assert knock.status_code == 200
    assert answer.status_code == 200, answer.text
    assert "".join(re.findall(r'"text_delta","text":"(.*?)"', answer.text)) == "README.md"
    assert answer.text.rstrip().endswith('data: {"type":"message_stop"}')
    assert counted.status_code == 200
