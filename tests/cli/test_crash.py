"""A crash of native code ends the process, with a line for people and the stack in a file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from antiphon.cli import crash
from tests.engines.tiny_model import write_model

PROGRAM = Path(__file__).with_name("crashing.py")
ROOT = PROGRAM.parents[2]
MESSAGE = {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}


def crashed(how: str, folder: Path, data: Path) -> tuple[int, list[str]]:
    """Exit code and lines on stderr, but for the first, of a server that crashes at a request."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), how, str(write_model(folder / "tiny.gguf"))],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "ANTIPHON_CONFIG": os.devnull,
            "ANTIPHON_DATA_DIR": str(data),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            request = urllib.request.Request(url + "/v1/messages", json.dumps(MESSAGE).encode())
            request.add_header("content-type", "application/json")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=30)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, err.splitlines()[1:]


@pytest.mark.parametrize(
    ("how", "number", "name", "own"),
    [
        ("abort", signal.SIGABRT, "Aborted", 0),
        ("segfault", signal.SIGSEGV, "Segmentation fault", 0),
        ("assertion", signal.SIGABRT, "Aborted", 1),  # llama.cpp says itself which one failed
    ],
)
def test_a_crash_is_one_line(
    tmp_path: Path, how: str, number: signal.Signals, name: str, own: int
) -> None:
    file = tmp_path / "data" / crash.FILE
    code, lines = crashed(how, tmp_path, file.parent)

    assert code == -number
    assert lines[own:] == [
        f"antiphon: the engine has crashed: {name}; restart the server; details in {file}"
    ]
    assert all("GGML_ASSERT" in line for line in lines[:own])
    assert "in crash\n" in file.read_text()  # where it happened
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_data_directory_the_stack_goes_to_stderr(tmp_path: Path) -> None:
    code, lines = crashed("abort", tmp_path, Path(os.devnull) / "none")

    assert code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in lines


def test_a_start_keeps_what_was_there_aside_and_an_orderly_end_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / crash.FILE).write_text("Fatal Python error: of another day\n")
    with crash.reported(tmp_path):
        assert (tmp_path / crash.FILE).read_text() == ""
        assert (tmp_path / crash.EARLIER).read_text().endswith("of another day\n")
        (tmp_path / crash.FILE).write_text("Fatal Python error: Aborted\n")  # of another server

    assert capfd.readouterr() == ("", "")
