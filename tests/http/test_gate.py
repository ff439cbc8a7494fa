"""Who comes in: hosts, keys, limits, pages of other origins. Over a real socket."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.datastructures import Headers

from antiphon.config import UNLIMITED, Limits
from antiphon.engines.stub import StubEngine
from antiphon.http.auth import KeyCheck
from antiphon.http.policy import Policy, allowed_hosts
from antiphon.storage.keys import KeyFile, KeyRing
from tests.serving import answering, serving, stub_app

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    app = stub_app(StubEngine(reply=answering("Hello.")), **options)
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        yield http


# Hosts ---------------------------------------------------------------------------------------


def reaches(host: str, allowed: tuple[str, ...] | None) -> bool:
    from starlette.datastructures import Headers

    from antiphon.errors import PermissionDeniedError

    try:
        Policy(allowed_hosts=allowed).check_host(Headers({"host": host}))
    except PermissionDeniedError:
        return False
    return True


LOOPBACK = allowed_hosts("127.0.0.1", (), is_loopback=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8642", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8642", True),
        ("[::1]:8642", True),
        ("antiphon.localhost", True),
        ("evil.example:8642", False),
        ("localhost.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_a_loopback_server_answers_to_its_own_names_only(host: str, expected: bool) -> None:
    assert reaches(host, LOOPBACK) is expected


@pytest.mark.parametrize(
    ("bound", "configured", "host", "expected"),
    [
        ("127.0.0.1", ("my.box",), "my.box:80", True),
        ("127.0.0.2", (), "127.0.0.2:8642", True),
        ("::1", (), "[::1]:8642", True),
        ("127.0.0.1", (".example.org",), "a.example.org", True),
        ("127.0.0.1", (".example.org",), "badexample.org", False),
        ("127.0.0.1", ("*",), "anything", True),
    ],
)
def test_further_names_are_configured(
    bound: str, configured: tuple[str, ...], host: str, expected: bool
) -> None:
    assert reaches(host, allowed_hosts(bound, configured, is_loopback=True)) is expected


def test_elsewhere_every_host_is_allowed_until_some_are_named() -> None:
    assert reaches("any.example", allowed_hosts("0.0.0.0", (), is_loopback=False))
    named = allowed_hosts("0.0.0.0", ("llm.example",), is_loopback=False)
    assert reaches("llm.example", named)
    assert not reaches("localhost", named)


async def test_a_page_that_rebinds_its_name_reads_nothing() -> None:
    async with client(policy=Policy(allowed_hosts=LOOPBACK)) as http:
        for path in ("/health", "/metrics", "/v1/models"):
            answer = await http.get(path, headers={"host": "evil.example"})

            assert answer.status_code == 403
            assert answer.json()["error"]["type"] == "permission_error"


# Pages of other origins ----------------------------------------------------------------------

PREFLIGHT = {
    "origin": "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-api-key,content-type",
}


async def test_no_page_may_call_unless_it_is_configured() -> None:
    async with client() as http:
        preflight = await http.options("/v1/messages", headers=PREFLIGHT)
        answer = await http.post("/v1/messages", json=BODY, headers={"origin": PREFLIGHT["origin"]})

    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_a_configured_page_may_call_and_read_errors_too() -> None:
    policy = Policy(cors_origins=("https://app.example",))
    async with client(policy=policy, api_keys=("sk-1",)) as http:
        preflight = await http.options("/v1/messages", headers=PREFLIGHT)
        refused = await http.post(
            "/v1/messages", json=BODY, headers={"origin": PREFLIGHT["origin"]}
        )
        other = await http.get("/health", headers={"origin": "https://other.example"})

    assert preflight.status_code == 200
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert "request-id" in refused.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers


# Keys and limits -----------------------------------------------------------------------------


async def test_keys_made_and_revoked_count_from_the_next_request_on(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.sqlite3")
    async with client(keys=KeyCheck(ring=KeyRing(file))) as http:
        assert (await http.post("/v1/messages", json=BODY)).status_code == 200

        _, secret = file.create("ann", UNLIMITED)
        assert (await http.post("/v1/messages", json=BODY)).status_code == 401
        for headers in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}):
            answer = await http.post("/v1/messages", json=BODY, headers=headers)
            assert answer.status_code == 200

        file.revoke("ann")
        answer = await http.post("/v1/messages", json=BODY, headers={"x-api-key": secret})
        assert answer.status_code == 401
        assert answer.json()["error"]["message"] == "invalid x-api-key"


async def test_either_of_two_keys_may_fit(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.sqlite3")
    _, secret = file.create("ann", UNLIMITED)
    keys = KeyCheck(("sk-static",), KeyRing(file))
    async with client(keys=keys) as http:
        headers: Mapping[str, str] = {"x-api-key": "wrong", "authorization": f"Bearer {secret}"}
        assert (await http.get("/v1/models", headers=headers)).status_code == 200
        headers = {"x-api-key": "sk-static", "authorization": "Bearer nonsense"}
        assert (await http.get("/v1/models", headers=headers)).status_code == 200


def test_a_name_that_is_given_again_is_another_identity(tmp_path: Path) -> None:
    """What is computed for a key, and kept on disk, is not the next one's of its name or place."""
    file = KeyFile(tmp_path / "keys.sqlite3")
    identities = []
    for _ in range(2):
        _, secret = file.create("ann", UNLIMITED)
        keys = KeyCheck(ring=KeyRing(file))
        identities.append(keys.check(Headers({"x-api-key": secret})).identity)
        file.revoke("ann")
    for configured in (["a", "b"], ["b"]):
        keys = KeyCheck(configured)
        identities.append(keys.check(Headers({"x-api-key": configured[-1]})).identity)
        identities.append(keys.check(Headers({"x-api-key": configured[0]})).identity)

    ann, another, b, a, b_alone, _ = identities
    assert len({ann, another, a, b}) == 4
    assert b == b_alone


async def test_the_headers_of_an_answer_include_its_own_cost() -> None:
    limits = Limits(
        requests_per_minute=100, input_tokens_per_minute=10_000, output_tokens_per_minute=10_000
    )
    async with client(keys=KeyCheck(limits=limits), clock=lambda: 0.0) as http:
        answer = await http.post("/v1/messages", json=BODY)
        streamed = await http.post("/v1/messages", json={**BODY, "stream": True})
        broken = await http.post("/v1/messages", json={**BODY, "max_tokens": -1})
        models = await http.get("/v1/models")

    usage = answer.json()["usage"]
    prefix = "anthropic-ratelimit-"
    assert answer.headers[prefix + "requests-remaining"] == "99"
    assert answer.headers[prefix + "input-tokens-remaining"] == str(10_000 - usage["input_tokens"])
    assert answer.headers[prefix + "output-tokens-remaining"] == str(
        10_000 - usage["output_tokens"]
    )
    assert streamed.headers[prefix + "input-tokens-remaining"] == str(
        10_000 - 2 * usage["input_tokens"]
    )
    assert broken.status_code == 400
    assert broken.headers[prefix + "requests-remaining"] == "97"
    assert broken.headers[prefix + "output-tokens-remaining"] == str(
        10_000 - 2 * usage["output_tokens"]
    )
    assert not any(name.startswith(prefix) for name in models.headers)


async def test_a_limit_that_is_reached_is_429_with_when_to_come_back() -> None:
    keys = KeyCheck(limits=Limits(requests_per_minute=1))
    async with client(keys=keys, clock=lambda: 0.0) as http:
        await http.post("/v1/messages/count_tokens", json={"model": "m", **_prompt()})
        answer = await http.post("/v1/messages", json=BODY)

    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"


def _prompt() -> dict[str, Any]:
    return {"messages": BODY["messages"]}


async def test_a_request_that_fails_gives_its_place_back() -> None:
    keys = KeyCheck(limits=Limits(concurrent_requests=1))
    async with client(keys=keys) as http:
        for _ in range(3):
            assert (await http.post("/v1/messages", json={})).status_code == 400
        assert (await http.post("/v1/messages", json=BODY)).status_code == 200
