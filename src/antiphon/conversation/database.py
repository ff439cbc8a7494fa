"""The tables of a file of conversations, and what one transaction reads and writes in them."""

import json
import sqlite3
from typing import Any

from antiphon.conversation.state import EMPTY, State
from antiphon.conversation.tree import Node, text_of

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    parent TEXT REFERENCES messages (id),
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE TABLE states (
    id TEXT PRIMARY KEY,
    previous TEXT REFERENCES states,
    head TEXT REFERENCES messages (id),
    view TEXT NOT NULL
);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    forked_from TEXT REFERENCES conversations,
    created_at TEXT NOT NULL
);
CREATE TABLE log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL REFERENCES conversations,
    state TEXT REFERENCES states,
    settings TEXT NOT NULL,
    usage TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX log_of_conversation ON log (conversation, id);
"""


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:  # nobody else was faster
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                version = SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"a newer version of Antiphon wrote this file (schema {version}, not {SCHEMA_VERSION})"
        )


def read_state(connection: sqlite3.Connection, name: str | None) -> State:
    """The state, and all those that it can be undone to: they are on one path of messages."""
    states = connection.execute(
        """
        WITH RECURSIVE back(id, previous, head, view, step) AS (
            SELECT id, previous, head, view, 0 FROM states WHERE id = ?
            UNION ALL SELECT s.id, s.previous, s.head, s.view, step + 1
            FROM states s JOIN back ON s.id = back.previous
        ) SELECT id, head, view FROM back ORDER BY step DESC
        """,
        (name,),
    ).fetchall()
    known = _read_nodes(connection, states[-1][1]) if states else {}
    state = EMPTY
    for id, head, view in states:
        fields = json.loads(view)
        state = State(
            known[head] if head else None,
            state,
            fields["left"],
            fields["notes"],
            frozenset(fields["pinned"]),
            {int(index): chars for index, chars in fields["cuts"].items()},
            id=id,
        )
    return state


def _read_nodes(connection: sqlite3.Connection, head: str | None) -> dict[str, Node]:
    rows = connection.execute(
        """
        WITH RECURSIVE back(id, parent, role, content, step) AS (
            SELECT id, parent, role, content, 0 FROM messages WHERE id = ?
            UNION ALL SELECT m.id, m.parent, m.role, m.content, step + 1
            FROM messages m JOIN back ON m.id = back.parent
        ) SELECT id, role, content FROM back ORDER BY step DESC
        """,
        (head,),
    )
    known: dict[str, Node] = {}
    parent: Node | None = None
    for depth, (id, role, content) in enumerate(rows, start=1):
        parent = Node({"role": role, "content": json.loads(content)}, parent, depth, id)
        known[id] = parent
    return known


def write_state(connection: sqlite3.Connection, state: State | None) -> None:
    """This state and those before it, as far as they are not there yet."""
    new: list[State] = []
    while state is not None and state.id and not is_there(connection, "states", state.id):
        new.append(state)
        state = state.previous
    for each in reversed(new):
        _write_messages(connection, each.head)
        view = {
            "length": each.head.depth if each.head else 0,
            "left": each.left,
            "notes": each.notes,
            "pinned": sorted(each.pinned),
            "cuts": each.cuts,
        }
        previous = each.previous.id if each.previous and each.previous.id else None
        head = each.head.id if each.head else None
        connection.execute(
            "INSERT INTO states (id, previous, head, view) VALUES (?,?,?,?)",
            (each.id, previous, head, as_json(view)),
        )


def _write_messages(connection: sqlite3.Connection, head: Node | None) -> None:
    new: list[Node] = []
    while head is not None and not is_there(connection, "messages", head.id):
        new.append(head)
        head = head.parent
    for node in reversed(new):
        message = node.message
        connection.execute(
            "INSERT INTO messages (id, parent, role, content, text) VALUES (?,?,?,?,?)",
            (
                node.id,
                node.parent.id if node.parent else None,
                message["role"],
                as_json(message["content"]),
                text_of(message),
            ),
        )


def is_there(connection: sqlite3.Connection, table: str, name: str) -> bool:
    query = f"SELECT 1 FROM {table} WHERE id = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
