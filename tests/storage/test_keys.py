"""API keys on disk: hashed, private, seen by a running server."""

import sqlite3
import stat
from pathlib import Path

import pytest

from antiphon.config import UNLIMITED, Limits
from antiphon.errors import StartupError
from antiphon.storage.keys import KeyFile, KeyRing


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "data" / "keys.sqlite3")


def test_the_secret_is_nowhere_in_the_file(file: KeyFile) -> None:
    key, secret = file.create("ann", UNLIMITED)

    assert secret.startswith("sk-antiphon-")
    assert secret.startswith(key.start)
    content = b"".join(path.read_bytes() for path in file.path.parent.iterdir())
    assert secret.encode() not in content


def test_the_file_and_its_directory_are_the_owners_alone(file: KeyFile) -> None:
    file.create("ann", UNLIMITED)

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_key_is_found_by_its_secret_and_by_nothing_else(file: KeyFile) -> None:
    key, secret = file.create("ann", Limits(requests_per_minute=5))
    file.create("bob", UNLIMITED)
    ring = KeyRing(file)

    assert ring.find(secret.encode()) == key
    assert key.limits == Limits(requests_per_minute=5)
    for wrong in (b"", b"ann", key.start.encode(), secret.encode() + b"x", key.digest):
        assert ring.find(wrong) is None


def test_a_running_server_sees_what_is_made_and_revoked(file: KeyFile) -> None:
    ring = KeyRing(file)
    assert ring.is_empty()

    _, secret = file.create("ann", UNLIMITED)
    assert not ring.is_empty()
    assert ring.find(secret.encode()) is not None

    file.revoke("ann")
    assert ring.find(secret.encode()) is None


def test_revoking_the_last_key_does_not_open_the_door(file: KeyFile) -> None:
    file.create("ann", UNLIMITED)
    file.revoke("ann")

    assert not KeyRing(file).is_empty()


def test_a_file_that_vanishes_lets_nobody_in_who_was_not(file: KeyFile) -> None:
    _, secret = file.create("ann", UNLIMITED)
    ring = KeyRing(file)
    assert not ring.is_empty()
    file.path.unlink()

    assert not ring.is_empty()
    assert ring.find(secret.encode()) is not None


def test_a_name_is_one_key_at_a_time(file: KeyFile) -> None:
    file.create("ann", UNLIMITED)
    with pytest.raises(StartupError, match="There is a key 'ann' already"):
        file.create("ann", UNLIMITED)
    file.revoke("ann")
    file.create("ann", UNLIMITED)

    assert [key.revoked_at is None for key in file.all()] == [False, True]


def test_a_key_can_be_revoked_by_how_it_begins(file: KeyFile) -> None:
    key, _ = file.create("ann", UNLIMITED)

    assert file.revoke(key.start).name == "ann"


def test_what_is_not_there_cannot_be_revoked(file: KeyFile) -> None:
    with pytest.raises(StartupError, match="no key 'ann'"):
        file.revoke("ann")
    assert not file.path.exists()  # asking creates nothing
    assert file.all() == []


def test_a_damaged_file_is_one_sentence(file: KeyFile) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(b"no database" * 100)

    with pytest.raises(StartupError, match="cannot be used: file is not a database"):
        file.all()


def test_a_file_of_the_future_is_left_alone(file: KeyFile) -> None:
    file.create("ann", UNLIMITED)
    with sqlite3.connect(file.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StartupError, match="another version of Antiphon"):
        file.all()


def test_limits_of_a_key_stand_over_those_of_the_server() -> None:
    server = Limits(requests_per_minute=10, output_tokens_per_minute=500)

    assert Limits(requests_per_minute=99).over(server) == Limits(
        requests_per_minute=99, output_tokens_per_minute=500
    )
