"""Bytes that are no request, requests that never end, and connections that are used again."""

import asyncio
import http.client
import json
import random

import pytest

from antiphon.engines.stub import StubEngine
from antiphon.http import connection
from tests.serving import Served, answering, serving, stub_app

BODY = json.dumps(
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
).encode()
POST = (
    b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\nconnection: close\r\n"
)
WHOLE = POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


async def exchange(url: str, *pieces: bytes, leave: bool = False) -> bytes:
    """Send the pieces one after the other; everything that comes back. Who leaves is gone: half
    a connection is no connection, or departures would go unnoticed."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if leave:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def envelope_of(answer: bytes) -> tuple[int, dict[str, object]]:
    """Status and error of an answer, which must be whole and name its request twice."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    document = json.loads(body)
    assert document["type"] == "error"
    assert document["request_id"].lower() == headers["request-id"]
    assert int(headers["content-length"]) == len(body)
    return int(lines[0].split()[1]), document["error"]


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
)
async def test_what_is_no_http_gets_an_envelope(garbage: bytes) -> None:
    async with serving(stub_app(StubEngine())) as url:
        status, error = envelope_of(await exchange(url, garbage))

    assert (status, error["type"]) == (400, "invalid_request_error")


async def test_headers_have_a_size() -> None:
    line = b"x-filler: " + b"x" * 8000 + b"\r\n"
    async with serving(stub_app(StubEngine())) as url:
        status, error = envelope_of(await exchange(url, POST, *[line] * 60))

    assert status == 431
    assert error["message"] == "The headers are larger than 65,536 bytes."


async def test_headers_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    async with serving(stub_app(StubEngine())) as url:
        status, error = envelope_of(await exchange(url, POST))
        silence = await exchange(url)

    assert (status, error["type"]) == (408, "timeout_error")
    assert silence == b""  # who says nothing is told nothing


async def test_there_is_a_bound_on_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 0)
    async with serving(stub_app(StubEngine())) as url:
        status, error = envelope_of(await exchange(url))

    assert (status, error["type"]) == (529, "overloaded_error")


async def test_garbage_behind_a_request_does_not_get_into_its_answer() -> None:
    body = BODY.replace(b'"max_tokens": 9', b'"max_tokens": 900, "stream": true')
    request = POST + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    engine = StubEngine(reply=answering("word " * 100))
    async with serving(stub_app(engine)) as url:
        answer = await exchange(url, request + b"\x00\x01garbage\r\n\r\n")

    assert answer.count(b"HTTP/1.1") <= 1
    assert b"not valid HTTP" not in answer


@pytest.mark.parametrize("seed", range(40))
async def test_slow_cut_and_oversized_requests(seed: int) -> None:
    """Whatever of a request arrives, and however: a whole answer, or none; and the server lives."""
    rng = random.Random(seed)
    body = BODY.replace(b"hi", b"x" * rng.choice([1, 1000, 100_000]))
    announced = len(body) + rng.choice([0, 0, 0, -3, 10, 10**9])
    request = POST + b"content-length: %d\r\n\r\n%b" % (announced, body)
    request = request[: rng.choice([len(request), rng.randint(0, len(request))])]
    cuts = sorted(rng.randint(0, len(request)) for _ in range(rng.randint(0, 12)))
    pieces = [request[a:b] for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True)]
    is_whole = request.endswith(body) and announced <= len(body)
    async with serving(stub_app(StubEngine(reply=answering("Hello.")))) as url:
        answer = await exchange(url, *pieces, leave=not is_whole)
        after = await exchange(url, WHOLE)

    assert after.startswith(b"HTTP/1.1 200")
    if is_whole:
        assert answer
    if answer:
        status = int(answer.split(maxsplit=2)[1])
        document = json.loads(answer.partition(b"\r\n\r\n")[2].split(b"HTTP/1.1")[0])
        assert document["type"] == ("message" if status == 200 else "error")


def test_one_connection_survives_every_kind_of_answer(stub_server: Served) -> None:
    """A peer drops it after every stream, and pooled clients pay with a retry."""
    host, _, port = stub_server.url.removeprefix("http://").partition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=20)
    client.connect()
    socket = client.sock
    stream = BODY.replace(b'"m"', b'"m", "stream": true')
    json_type = {"content-type": "application/json"}
    for method, path, body, headers, status in [
        ("POST", "/v1/messages", BODY, json_type, 200),
        ("POST", "/v1/messages", stream, json_type, 200),
        ("POST", "/v1/messages", b"{", json_type, 400),
        ("POST", "/v1/messages", b"x" * 33 * 1024 * 1024, json_type, 413),
        ("POST", "/v1/messages", BODY, {"content-type": "text/plain"}, 415),
        ("GET", "/v1/messages", None, {}, 405),
        ("GET", "/v1/nothing", None, {}, 404),
        ("HEAD", "/", None, {}, 200),
        ("GET", "/v1/models?limit=0", None, {}, 400),
        ("POST", "/v1/messages", stream, json_type, 200),
        ("GET", "/health", None, {}, 200),
    ]:
        client.request(method, path, body, headers)
        response = client.getresponse()
        assert response.status == status
        assert response.headers["request-id"].startswith("req_")
        response.read()
        assert client.sock is socket, f"{method} {path} closed the connection"
    client.close()
