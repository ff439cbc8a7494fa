"""API keys in a SQLite file: only their hashes are kept (spec §7.2).

A key has 256 random bits, so one round of SHA-256 hides it: there is nothing to guess. The file is
shared: `antiphon keys` writes it while a server reads it, which sees a change at its next request.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from antiphon.config import Limits
from antiphon.errors import StartupError

PREFIX = "sk-antiphon-"
SECRET_CHARS = 43  # base62: 256 bits
SHOWN_CHARS = len(PREFIX) + 4  # of a key in lists: enough to recognise it
BUSY_S = 5.0  # wait for another process that writes
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    start TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
)
"""
ALPHABET = string.digits + string.ascii_letters


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `start` is how the key begins; the rest of it is not known here."""

    id: int
    name: str
    digest: bytes
    start: str
    limits: Limits
    created_at: datetime
    revoked_at: datetime | None = None


def digest_of(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


class KeyFile:
    """The keys in one file. Methods that write create the file, mode 0600, when there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, limits: Limits) -> tuple[Key, str]:
        """A new key and its secret, which is returned here and never again.

        Raises:
            StartupError: a key of that name is in use, or the file cannot be written.
        """
        secret = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARS))
        row = (
            name,
            digest_of(secret.encode()),
            secret[:SHOWN_CHARS],
            msgspec.json.encode(limits).decode(),
            _now(),
        )
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if any(key.name == name and key.revoked_at is None for key in _rows(connection)):
                raise StartupError(
                    f"There is a key '{name}' already: revoke it first, or choose another name."
                )
            cursor = connection.execute(
                "INSERT INTO keys (name, digest, start, limits, created_at) VALUES (?,?,?,?,?)", row
            )
            key = next(key for key in _rows(connection) if key.id == cursor.lastrowid)
        return key, secret

    def revoke(self, name: str) -> Key:
        """Make the key of that name useless from the next request on.

        Raises:
            StartupError: no such key, or the file cannot be written.
        """
        if not self.path.exists():
            raise StartupError(f"There is no key '{name}'.")
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            valid = [key for key in _rows(connection) if key.revoked_at is None]
            found = next((key for key in valid if name in (key.name, key.start)), None)
            if found is None:
                raise StartupError(f"There is no key '{name}' in use.")
            connection.execute("UPDATE keys SET revoked_at = ? WHERE id = ?", (_now(), found.id))
        return found

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first; none where there is no file.

        Raises:
            StartupError: the file cannot be read.
        """
        if not self.path.exists():
            return []
        with self._connection() as connection:
            return list(_rows(connection))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(_open(self.path)) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"The key file {self.path} cannot be used: {error}.") from error


class KeyRing:
    """The keys of a running server: looks at the file again when it has changed."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._valid: dict[bytes, Key] = {}
        self._is_empty = True
        self._refresh()

    def is_empty(self) -> bool:
        """Whether there has never been a key: revoking the last one does not open the door."""
        self._refresh()
        return self._is_empty

    def find(self, secret: bytes) -> Key | None:
        """The valid key with this secret. What is compared is hashes, and in constant time."""
        self._refresh()
        digest = digest_of(secret)
        key = self._valid.get(digest)
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def _refresh(self) -> None:
        try:
            state = os.stat(self._file.path)
        except (FileNotFoundError, NotADirectoryError):
            return  # keys that were there stay valid: a lost file must not let everybody in
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        if stamp != self._stamp:
            keys = self._file.all()
            self._stamp = stamp
            self._valid = {key.digest: key for key in keys if key.revoked_at is None}
            self._is_empty = not keys


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute(SCHEMA)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        connection.close()
        raise sqlite3.DatabaseError(f"it was written by another version of Antiphon ({version})")
    return connection


def _rows(connection: sqlite3.Connection) -> Iterator[Key]:
    query = "SELECT id, name, digest, start, limits, created_at, revoked_at FROM keys ORDER BY id"
    for number, name, digest, start, limits, created_at, revoked_at in connection.execute(query):
        yield Key(
            number,
            name,
            digest,
            start,
            msgspec.json.decode(limits, type=Limits),
            datetime.fromisoformat(created_at),
            datetime.fromisoformat(revoked_at) if revoked_at else None,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
