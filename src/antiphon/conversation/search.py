"""Finding words in stored messages: by a trigram index where SQLite has FTS5, by looking at every
message where it has not. The answers are the same, whatever their order of work.

The index is brought up to date when somebody searches, so that a turn is never slower for it.
"""

import sqlite3
from collections.abc import Iterator, Sequence

TRIGRAM = 3  # characters of the shortest word that the index knows
CONTEXT_CHARS = 40  # shown before and behind the first word that was found


def has_full_text(connection: sqlite3.Connection) -> bool:
    options = {name for (name,) in connection.execute("PRAGMA compile_options")}
    return "ENABLE_FTS5" in options


def index_texts(connection: sqlite3.Connection) -> None:
    if not has_full_text(connection):
        return
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(text, tokenize = 'trigram')"
    )
    connection.execute(
        "INSERT INTO texts (rowid, text) SELECT number, text FROM messages "
        "WHERE number > (SELECT coalesce(max(rowid), 0) FROM texts)"
    )


def matching(
    connection: sqlite3.Connection, terms: Sequence[str], limit: int
) -> Iterator[tuple[str, str, str]]:
    """Conversation, role and an extract of the messages with all `terms`, among those that a
    conversation still has; the conversations used last come first, in each its newest messages."""
    conditions, values = _conditions(terms, with_index=has_full_text(connection))
    rows = connection.execute(
        f"""
        WITH RECURSIVE
        found AS (SELECT id FROM messages WHERE {conditions}),
        line(conversation, message, parent, last, step) AS (
            SELECT l.conversation, m.id, m.parent, l.id, 0
            FROM log l JOIN states s ON s.id = l.state JOIN messages m ON m.id = s.head
            WHERE l.id IN (SELECT max(id) FROM log GROUP BY conversation)
            AND EXISTS (SELECT 1 FROM found)
            UNION ALL SELECT conversation, m.id, m.parent, last, step + 1
            FROM line JOIN messages m ON m.id = line.parent
        )
        SELECT line.conversation, m.role, m.text FROM line
        JOIN found ON found.id = line.message JOIN messages m ON m.id = line.message
        ORDER BY line.last DESC, line.step LIMIT ?
        """,
        (*values, limit),
    )
    for conversation, role, text in rows:
        yield conversation, role, extract(text, terms)


def _conditions(terms: Sequence[str], *, with_index: bool) -> tuple[str, list[str]]:
    conditions, values = [], []
    for term in terms:
        if with_index and len(term) >= TRIGRAM:
            conditions.append("number IN (SELECT rowid FROM texts WHERE texts MATCH ?)")
            values.append('"{}"'.format(term.replace('"', '""')))
        else:
            conditions.append(r"text LIKE ? ESCAPE '\'")
            escaped = term.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
            values.append(f"%{escaped}%")
    return " AND ".join(conditions), values


def extract(text: str, terms: Sequence[str]) -> str:
    """The words around the first that was found, on one line."""
    lowered = text.lower()
    places = [place for term in terms if (place := lowered.find(term.lower())) >= 0]
    first = min(places, default=0)
    start, end = max(0, first - CONTEXT_CHARS), first + CONTEXT_CHARS
    shown = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"
