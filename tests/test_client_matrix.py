"""`make clients`: what it reads out of probes and of what clients sent."""

from scripts import client_matrix, recorder
from scripts.client_matrix import Check


def test_a_probe_may_print_lines_of_its_own() -> None:
    output = 'a warning\n{"check": "text", "ok": true, "detail": "hi"}\n'

    assert client_matrix.read_checks(output) == {"text": Check("text", ok=True, detail="hi")}


def test_cells_say_ok_or_why_not_or_that_there_is_no_such_thing() -> None:
    assert client_matrix.cell(None) == "-"
    assert client_matrix.cell(Check("text", ok=True, detail="hi")) == "ok"
    assert client_matrix.cell(Check("text", ok=False, detail="E: x")) == "failed: E: x"


def test_requests_are_found_among_their_bodies() -> None:
    received = (
        b"POST /v1/messages?beta=true HTTP/1.1\r\nX-Api-Key: k\r\nAnthropic-Version: 2023-06-01"
        b"\r\nContent-Length: 2\r\n\r\n{}GET /v1/models HTTP/1.1\r\nAuthorization: Bearer k\r\n\r\n"
    )

    requests = recorder.requests_in(received)

    assert requests == [
        ("/v1/messages?beta=true", {"anthropic-version": "2023-06-01", "x-api-key": "k"}),
        ("/v1/models", {"authorization": "Bearer k"}),
    ]
    assert client_matrix.what_was_sent(requests) == [
        "`2023-06-01`, `none`",
        "`authorization`, `x-api-key`",
        "-",
        "`/v1/messages?beta=true`, `/v1/models`",
    ]
