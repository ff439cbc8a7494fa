"""`antiphon serve --backend scripted`: the same server as a process, and what keeps it from
starting."""

import json
import urllib.request
from pathlib import Path

import pytest

from tests.cli.test_serve import run, server, url_of

BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_it_serves_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("replies:\n  - reply: Hello from the script!\n", encoding="utf-8")
    with server("--backend", "scripted", "--script", str(script)) as (_, lines):
        request = urllib.request.Request(
            url_of(lines) + "/v1/messages",
            json.dumps(BODY).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            message = json.load(response)
        with urllib.request.urlopen(url_of(lines) + "/health") as response:
            health = json.load(response)

    assert message["content"] == [{"type": "text", "text": "Hello from the script!"}]
    assert health["model"] == "scripted"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "The scripted backend needs a script: --script FILE."),
        ("replies: [{replay: x}]", "unknown field `replay`"),
        ("replies: [", "cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_wrong_script_is_one_sentence(
    tmp_path: Path, command: str, content: str | None, text: str
) -> None:
    arguments = ["--backend", "scripted"]
    if content is not None:
        script = tmp_path / "script.yaml"
        script.write_text(content, encoding="utf-8")
        arguments += ["--script", str(script)]
    result = run(command, *arguments)

    assert text in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    assert result.returncode == (1 if command == "serve" else 0)
