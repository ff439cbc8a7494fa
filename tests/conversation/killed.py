"""Talks and dies: a program for `test_killed.py`, which forks it once for every way to die.

python killed.py URL FOLDER statements     # at each SQL statement of three turns, one after another
python killed.py URL FOLDER moments N      # N times at a random moment
"""

import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import anthropic

from antiphon.conversation import Conversation, Store

TURNS = 3
connect = sqlite3.connect


def talk(url: str, folder: Path) -> None:
    """Every turn that `say` returned is written down beside the file of conversations."""
    with (folder / "returned").open("a", buffering=1) as returned:
        client = anthropic.Anthropic(base_url=url, api_key="x")
        chat = Conversation("m", client, store=Store(folder / "chats.sqlite3"))
        for turn in range(TURNS):
            chat.say(f"turn {turn}")
            returned.write(f"{chat.id} {turn}\n")


def die_at_statement(number: int) -> None:
    left = [number]

    def count(statement: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect_and_count(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = connect_and_count  # type: ignore[assignment]


def forked(
    url: str, folder: Path, die_at: int | None, moment_s: float | None
) -> tuple[bool, float]:
    """Whether it was killed, and the seconds that it lived."""
    folder.mkdir()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        if die_at is not None:
            die_at_statement(die_at)
        talk(url, folder)
        os._exit(0)
    if moment_s is not None:
        time.sleep(moment_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), time.monotonic() - begun


def main(url: str, folder: str, mode: str, times: str = "0") -> None:
    if mode == "statements":
        number, was_killed = 0, True
        while was_killed:
            number += 1
            was_killed, _ = forked(url, Path(folder) / str(number), number, None)
        return
    _, whole_s = forked(url, Path(folder) / "whole", None, None)
    draw = random.Random(int(times))
    for number in range(int(times)):
        forked(url, Path(folder) / str(number), None, draw.uniform(0, whole_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
