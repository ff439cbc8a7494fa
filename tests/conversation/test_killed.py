"""A process that is killed loses nothing that `say` had returned, wherever it was."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from antiphon.conversation import Store
from antiphon.testing.plugin import StartServer

PROGRAM = Path(__file__).with_name("killed.py")
MOMENTS = 12


def run(server_url: str, folder: Path, *arguments: str) -> list[Path]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(PROGRAM), server_url, str(folder), *arguments]
    subprocess.run(command, env=environment, check=True, timeout=300)
    return sorted(folder.iterdir())


def check(folder: Path) -> int:
    """The turns that had been returned are there, each with its answer; how many they are."""
    written = folder / "returned"
    returned = (
        [line.split() for line in written.read_text().splitlines()] if written.exists() else []
    )
    file = folder / "chats.sqlite3"
    if file.exists():
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    entries = Store(file).all()
    assert len(entries) <= 1
    if returned:
        saved = Store(file).load(returned[0][0])
        said = [m["content"] for m in saved.messages if m["role"] == "user"]
        assert said[: len(returned)] == [f"turn {turn}" for _, turn in returned]
        assert len(saved.messages) == 2 * len(said)
        assert len(said) <= len(returned) + 1  # the one whose reply did not arrive any more
    return len(returned)


def test_at_every_statement_of_the_database(antiphon_server: StartServer, tmp_path: Path) -> None:
    server = antiphon_server({"replies": [{"reply": "Yes."}]})
    turns = [check(folder) for folder in run(server.url, tmp_path, "statements")]

    assert len(turns) > 40
    assert set(turns) == {0, 1, 2, 3}


def test_at_any_moment(antiphon_server: StartServer, tmp_path: Path) -> None:
    server = antiphon_server({"replies": [{"reply": "Yes, I see. " * 5, "pace_s": 0.002}]})
    folders = run(server.url, tmp_path, "moments", str(MOMENTS))
    for folder in folders:
        check(folder)

    assert len(folders) == MOMENTS + 1
