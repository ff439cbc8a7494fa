"""Conversations in a file: what is kept, found, resumed, and by how many at a time."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from antiphon.conversation import Conversation, Store, StoreError, search
from antiphon.conversation.state import finished, imported
from antiphon.conversation.store import new_name
from antiphon.testing import ScriptedServer
from antiphon.testing.plugin import StartServer

SETTINGS = {"model": "m", "system": None}
SCRIPT = {
    "replies": [
        {"match": {"text": "break"}, "error": {"message": "It broke."}},
        {"match": {"text": "name"}, "reply": "You are Ann Größe."},
        {"reply": "Yes, I see."},
    ]
}


@pytest.fixture
def server(antiphon_server: StartServer) -> ScriptedServer:
    return antiphon_server(SCRIPT)


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "chats.sqlite3")


def talk(client: anthropic.Anthropic, store: Store, *said: str, **options: Any) -> Conversation:
    chat = Conversation("m", client, store=store, **options)
    for text in said:
        chat.say(text)
    return chat


def test_a_conversation_is_stored_from_its_first_turn_on(
    client: anthropic.Anthropic, store: Store
) -> None:
    chat = talk(client, store)
    assert (chat.id, store.all(), store.path.exists()) == (None, [], False)

    chat.say("What is a monad?\nPlease.")
    (entry,) = store.all()
    assert (entry.id, entry.title, entry.model) == (chat.id, "What is a monad? Please.", "m")
    assert (entry.length, entry.forked_from) == (2, None)
    assert entry.created_at <= entry.updated_at
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_what_is_resumed_sends_exactly_what_would_have_been_sent(
    client: anthropic.Anthropic, store: Store, server: ScriptedServer
) -> None:
    chat = talk(client, store, "My name?", "Hello", system="Be kind.")
    assert chat.id is not None
    other = Conversation.resume(chat.id[:6], store, client)
    other.say("Again")
    resumed = server.requests[-1]
    other.undo()
    chat = Conversation.resume(chat.id, store, client)
    chat.say("Again")

    assert resumed == server.requests[-1]
    assert resumed["system"] == "Be kind."
    assert [message["role"] for message in resumed["messages"]] == ["user", "assistant"] * 2 + [
        "user"
    ]
    assert chat.usage["output_tokens"] == 4 + 3 * 3


def test_a_turn_that_fails_is_not_stored(client: anthropic.Anthropic, store: Store) -> None:
    chat = talk(client, store, "Hello")
    with pytest.raises(anthropic.InternalServerError):
        chat.say("break")

    assert chat.id is not None
    assert store.load(chat.id).messages == chat.transcript


def test_an_answer_that_cannot_be_stored_is_not_lost(
    client: anthropic.Anthropic, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    chat = Conversation("m", client, store=tmp_path / "file" / "chats.sqlite3")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        chat.say("Hello")

    assert caught.value.reply is not None
    assert caught.value.reply.text == "Yes, I see."
    assert chat.messages == []


def test_undo_holds_after_the_program_has_ended(client: anthropic.Anthropic, store: Store) -> None:
    chat = talk(client, store, "one", "two", "three")
    assert chat.id is not None
    assert chat.undo()

    again = Conversation.resume(chat.id, store, client)
    assert len(again.messages) == 4
    assert again.undo()
    assert again.undo()
    assert not again.undo()
    assert Conversation.resume(chat.id, store, client).messages == []
    assert store.find(chat.id).length == 0


def test_a_fork_shares_its_past_and_is_listed(client: anthropic.Anthropic, store: Store) -> None:
    chat = talk(client, store, "one", "two")
    fork = chat.fork()
    fork.say("three")
    chat.say("four")

    assert fork.id != chat.id
    assert [(entry.id, entry.forked_from) for entry in store.all()] == [
        (chat.id, None),
        (fork.id, chat.id),
    ]
    assert fork.transcript[:4] == chat.transcript[:4]
    with sqlite3.connect(store.path) as file:
        (stored,) = file.execute("SELECT count(*) FROM messages").fetchone()
    file.close()
    assert stored == 4 + 2 + 2


def test_two_that_go_on_with_one_conversation_part_ways(
    client: anthropic.Anthropic, store: Store
) -> None:
    one = talk(client, store, "one")
    assert one.id is not None
    other = Conversation.resume(one.id, store, client)
    one.say("two")
    other.say("three")

    assert other.id != one.id
    assert store.find(str(other.id)).forked_from == one.id
    assert [m["content"] for m in store.load(str(other.id)).messages if m["role"] == "user"] == [
        "one",
        "three",
    ]
    assert [m["content"] for m in store.load(one.id).messages if m["role"] == "user"] == [
        "one",
        "two",
    ]


def test_an_id_may_be_shortened_as_long_as_it_is_one(store: Store) -> None:
    assert len(new_name()) == len("tavo-kibe")
    with pytest.raises(StoreError, match=r"There is no conversation 'x'\."):
        store.find("x")
    for number in range(40):
        store.append(None, imported([{"role": "user", "content": str(number)}]), SETTINGS, {})
    names = sorted(entry.id for entry in store.all())
    first = names[0]
    assert store.find(first).id == first
    assert store.find(first.upper() + " ").id == first
    with pytest.raises(StoreError, match="give more of its id"):
        store.find("")


@pytest.mark.parametrize("has_index", [True, False])
def test_messages_are_found_by_their_words(
    client: anthropic.Anthropic, store: Store, monkeypatch: pytest.MonkeyPatch, has_index: bool
) -> None:
    if not has_index:
        monkeypatch.setattr(search, "has_full_text", lambda connection: False)
    assert store.search("anything") == []
    first = talk(client, store, "What is a Monad, in 100% of C_?", "My name?")
    second = talk(client, store, 'A monad is "a monoid" of endofunctors')

    assert [(hit.entry.id, hit.role) for hit in store.search("MONAD")] == [
        (second.id, "user"),
        (first.id, "user"),
    ]
    assert [hit.entry.id for hit in store.search("what monad")] == [first.id]
    assert [hit.entry.id for hit in store.search('"a monoid" endo')] == [second.id]
    assert [hit.text for hit in store.search("größe")] == ["You are Ann Größe."]
    assert [hit.entry.id for hit in store.search("0%")] == [first.id]
    assert [hit.entry.id for hit in store.search("c_")] == [first.id]
    assert store.search("monads") == []
    assert len(store.search("a", limit=2)) == 2


def test_what_was_taken_back_is_not_found(client: anthropic.Anthropic, store: Store) -> None:
    chat = talk(client, store, "Hello", "the secret")
    fork = chat.fork()
    chat.undo()

    assert [hit.entry.id for hit in store.search("secret")] == [fork.id]


def test_an_extract_is_short(store: Store) -> None:
    text = "word " * 50 + "needle\nin hay " + "straw " * 50
    store.append(None, imported([{"role": "user", "content": text}]), SETTINGS, {})
    (hit,) = store.search("needle")

    assert "needle in hay" in hit.text
    assert hit.text.startswith("…")
    assert hit.text.endswith("…")
    assert len(hit.text) < 90


def test_a_long_title_is_cut_and_one_without_words_says_what_there_is(store: Store) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    store.append(None, imported([{"role": "user", "content": "long " * 50}]), SETTINGS, {})
    store.append(None, imported([{"role": "user", "content": [image]}]), SETTINGS, {})

    newest, oldest = store.all()
    assert newest.title == "[image]"
    assert len(oldest.title) == 60
    assert [entry.id for entry in store.all(limit=1)] == [newest.id]


def test_a_file_of_a_newer_version_is_refused(store: Store) -> None:
    store.append(None, imported([{"role": "user", "content": "x"}]), SETTINGS, {})
    file = sqlite3.connect(store.path)
    file.execute("PRAGMA user_version = 7")
    file.close()

    with pytest.raises(StoreError, match=r"a newer version of Antiphon wrote this file"):
        store.all()


def test_a_file_that_is_something_else_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("This is no database, but somebody's notes, and long enough. " * 10)

    with pytest.raises(StoreError, match="file is not a database"):
        Store(path).all()
    assert path.read_text().startswith("This is no database")


def test_a_history_from_elsewhere_is_stored_and_can_be_undone(
    client: anthropic.Anthropic, store: Store
) -> None:
    chat = talk(client, store, "one", "two")
    copy = Conversation("m", client, store=store, messages=chat.transcript)
    assert copy.id is not None
    assert Conversation.resume(copy.id, store, client).messages == chat.messages
    assert copy.undo()
    assert Conversation.resume(copy.id, store, client).messages == chat.messages[:2]


def test_the_users_own_file_is_in_the_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    assert Store().path == Path("/data/antiphon/conversations.sqlite3")


WRITER = """
import sys
from antiphon.conversation.state import imported
from antiphon.conversation.store import Store
store = Store(sys.argv[1])
for turn in range(10):
    state = imported([{"role": "user", "content": f"{sys.argv[2]} said {turn}"}])
    store.append(None, state, {"model": "m", "system": None}, {})
"""


def test_several_processes_may_write_one_file(store: Store) -> None:
    """Also when each of them is the one that creates it."""
    command = [sys.executable, "-c", WRITER, str(store.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([*command, f"process {n}"], env=environment, stderr=subprocess.PIPE)
        for n in range(4)
    ]
    errors = [writer.communicate()[1].decode() for writer in writers]

    assert errors == [""] * 4
    titles = {entry.title for entry in store.all()}
    assert titles == {f"process {n} said {turn}" for n in range(4) for turn in range(10)}


def test_states_of_the_same_words_and_another_view_are_told_apart() -> None:
    one = imported([{"role": "user", "content": "x"}])
    previous = one.previous
    assert previous is not None

    assert finished(one, previous).id == one.id
    assert imported([{"role": "user", "content": "y"}]).id != one.id
