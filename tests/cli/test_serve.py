"""`antiphon serve` and `doctor` as processes: what they print, how they stop, how they fail."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.cli import doctor
from antiphon.cli.serve import summary
from antiphon.config import Config
from antiphon.engines.stub import StubEngine

BASE = [sys.executable, "-m", "antiphon"]
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "ANTIPHON_CONFIG": os.devnull,
    "ANTIPHON_DATA_DIR": os.devnull + "/none",  # no keys of whoever runs the tests
}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BASE, *arguments],
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def server(*arguments: str, files: int = 1024) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A stub server that may open `files` files unless it asks for more; yields the process and
    the lines it printed when it was ready."""
    under_limit = ["sh", "-c", f'ulimit -Sn {files}; exec "$0" "$@"']
    command = [*under_limit, *BASE, "serve", "--engine", "stub", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline().rstrip("\n") for _ in range(3)]
        finally:
            process.kill()


def url_of(lines: list[str]) -> str:
    return lines[0].removeprefix("Antiphon is ready: ")


def test_it_says_when_it_is_ready_and_then_it_is() -> None:
    with server() as (_, lines):
        url = url_of(lines)
        with urllib.request.urlopen(url + "/health") as response:
            health = json.load(response)

    assert lines[1:] == [f"export ANTHROPIC_BASE_URL={url}", "export ANTHROPIC_API_KEY=antiphon"]
    assert health["status"] == "ok"


def test_it_serves_more_clients_than_the_usual_limit_of_open_files() -> None:
    request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with server(files=64) as (_, lines), ExitStack() as connections:
        host, _, port = url_of(lines).removeprefix("http://").partition(":")
        clients = [
            connections.enter_context(socket.create_connection((host, int(port)), timeout=30))
            for _ in range(100)
        ]
        for client in clients:
            client.sendall(request)
        answers = [client.recv(15) for client in clients]

    assert answers == [b"HTTP/1.1 200 OK"] * 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_it_cleanly(number: signal.Signals) -> None:
    with server() as (process, _):
        process.send_signal(number)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err


def open_stream(url: str, max_tokens: int) -> socket.socket:
    """A streamed answer that has begun."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = json.dumps(
        {
            "model": "m",
            "max_tokens": max_tokens,
            "stream": True,
            "messages": [{"role": "user", "content": "x" * 4000}],
        }
    ).encode()
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    return connection


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65_536):
        received += piece
    connection.close()
    return received


def test_a_running_answer_is_finished_before_it_stops() -> None:
    with server() as (process, lines):
        connection = open_stream(url_of(lines), max_tokens=500)
        first = connection.recv(200)
        process.send_signal(signal.SIGINT)
        received = first + read_all(connection)
        process.wait(20)

    assert process.returncode == 0
    assert b"event: message_stop" in received


def open_endless_request(url: str) -> socket.socket:
    """A request whose body never ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    )
    assert b"100 Continue" in connection.recv(100)  # the server waits for the body now
    return connection


def test_the_second_ctrl_c_ends_it_at_once() -> None:
    with server() as (process, lines):
        connection = open_endless_request(url_of(lines))
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        process.wait(2)
        connection.close()

    assert process.returncode == 130


def test_a_client_that_never_finishes_cannot_keep_it_from_stopping() -> None:
    with server() as (process, lines):
        connection = open_endless_request(url_of(lines))
        process.send_signal(signal.SIGINT)
        process.wait(20)
        connection.close()

    assert process.returncode == 0


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", "--engine", "stub", "--port", str(port))

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"antiphon: Cannot listen on 127.0.0.1: port {port} is already in use: "
        "stop what uses it, or choose --port.\n"
    )


def test_other_machines_are_not_served_without_keys() -> None:
    result = run("serve", "--engine", "stub", "--host", "0.0.0.0", "--port", "0")

    assert result.returncode == 1
    assert "antiphon keys create NAME', or add --no-auth" in result.stderr


def test_a_missing_model_is_one_sentence() -> None:
    result = run("serve", "--model", "no/such/model.gguf", "--port", "0")

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "There is no model 'no/such/model.gguf'" in result.stderr


def test_a_damaged_model_is_one_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"this is no model" * 100)
    result = run("serve", "--model", str(damaged), "--port", "0")

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "damaged.gguf" in result.stderr


def test_a_wrong_setting_is_one_sentence() -> None:
    result = run("serve", ANTIPHON_PORT="http")

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_doctor_says_where_every_value_came_from() -> None:
    result = run("doctor", "--engine", "stub", "--context", "5000", ANTIPHON_SLOTS="3")

    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert result.returncode == 0
    assert lines["slots"][1:] == ["3"]  # the engine's own row, below the settings
    assert "ANTIPHON_SLOTS" in result.stdout
    assert "5,000 tokens" in result.stdout


def test_doctor_shows_every_budget_in_tokens_and_bytes() -> None:
    result = run("doctor", "--batch", "1024", "--step-ms", "100", "--cache-ram", "6")

    rows = {line[2:17].strip(): line[18:] for line in result.stdout.splitlines()}
    assert rows["cells"] == "16,384 tokens, 48 MiB, 3,072 bytes each"
    assert rows["pinned"] == "8,192 tokens, 24 MiB of these at most, by cache_control"
    assert rows["in memory"].startswith("2,048 tokens, 6 MiB")
    assert rows["on disk"] == "nothing"
    assert rows["idle cells"].startswith("256 tokens")
    assert rows["batch"] == "1,024 tokens together, 104 MiB to compute them"
    assert rows["slots"].startswith("8 answers at a time, each with room for 256 tokens, 768 KiB")
    assert rows["step"].startswith("100 ms' worth of a prompt, 512 tokens at most beside answers")
    assert rows["step"].endswith("else 128 to 1,024")
    assert rows["waiting"] == "1,024 requests, 2,096,128 tokens, 71 MiB at most"


def test_doctor_reports_a_problem_and_goes_on() -> None:
    result = run("doctor", "--model", "no/such/model.gguf")

    assert "problem: There is no model 'no/such/model.gguf'" in result.stdout
    assert result.stderr == ""


def test_help_names_every_setting() -> None:
    text = run("serve", "--help").stdout

    for flag in ("--model", "--engine", "--host", "--port", "--slots", "--context"):
        assert flag in text


def test_a_model_without_a_template_is_said_at_the_start() -> None:
    engine = StubEngine()
    assert "no chat template" not in summary(engine)

    engine.info = replace(engine.info, chat_template=None)
    assert "no chat template, so ChatML is used" in summary(engine)


def test_what_an_engine_finds_wrong_is_said_by_doctor_and_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = StubEngine()
    engine.info = replace(engine.info, problems=("It is slow.",))
    monkeypatch.setattr(doctor, "load_engine", lambda config: engine)

    assert summary(engine).endswith("\nIt is slow.")
    assert list(doctor.report(Config(engine="stub")))[-1] == "problem: It is slow."


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{shlex.join(BASE)} doctor | head -1"
    done = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True)

    assert done.stdout.startswith("antiphon ")
    assert done.stderr == ""
