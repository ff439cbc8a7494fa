"""The examples are short, and they run: on the built-in model, and without one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_serve import server, url_of

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
LINES_MAX = 40


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server("--engine", "llamacpp", "--threads", "1") as (_, lines):
        yield url_of(lines)


def run(url: str, *command: str, said: str = "") -> str:
    environment = {
        **os.environ,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "x",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_an_example_fits_a_screen_and_says_what_it_shows(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= LINES_MAX
    assert lines[0].startswith('"""')


def test_the_first_program(url: str) -> None:
    assert "monad" in run(url, str(EXAMPLES / "first_program.py")).lower()


def test_the_budgeted_chat_is_kept_and_gone_on_with(url: str, tmp_path: Path) -> None:
    program, file = str(EXAMPLES / "budgeted_chat.py"), str(tmp_path / "chats.sqlite3")
    first = run(url, program, file, said="What is a token?\nThanks!\n")
    assert first.count("messages condensed]") == 2
    *_, id = first.split()
    second = run(url, program, file, id, said="What is a monad?\n")

    assert second.split()[-1] == id


def test_the_agent(url: str) -> None:
    assert run(url, str(EXAMPLES / "tool_agent.py")).strip()


def test_the_answer_that_fits_a_schema(url: str) -> None:
    assert "letters" in run(url, str(EXAMPLES / "structured_output.py"))


def test_the_batch_of_questions(url: str) -> None:
    output = run(url, str(EXAMPLES / "batch_of_questions.py"))

    assert output.count("?") >= 4
    assert "Error" not in output


def test_the_test_of_an_agent(url: str) -> None:
    file = str(EXAMPLES / "test_agent.py")

    assert "1 passed" in run(url, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", file)
