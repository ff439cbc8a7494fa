"""The hand-written questions and answers in data/knowledge_*.toml, and further wordings."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"
FIELDS = {"topic", "names", "ask", "answer", "short", "example", "why", "kind", "core"}


@dataclass(frozen=True)
class Entry:
    """One thing to know. `topic` fits "What is …?"; entries without one are plain questions and
    answers. `example`, `short` and `why` answer follow-ups; "" is none. All entries teach the
    language; the `core` ones are what the model knows in the end, and it refuses the others."""

    answer: str
    ask: tuple[str, ...]
    topic: str = ""
    names: tuple[str, ...] = ()
    short: str = ""
    example: str = ""
    why: str = ""
    kind: str = "knowledge"  # or small_talk
    core: bool = False


def load(folder: Path = DATA) -> list[Entry]:
    """All entries, checked; the order is that of the files' names and of their lines."""
    entries: list[Entry] = []
    more = tomllib.loads((folder / "wordings.toml").read_text(encoding="utf-8"))["wordings"]
    for path in sorted(folder.glob("knowledge_*.toml")):
        for number, table in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["entry"]):
            where = f"{path.name}, entry {number + 1}"
            assert table.keys() <= FIELDS, f"{where}: {table.keys() - FIELDS}"
            assert table.get("answer", "").strip(), f"{where}: no answer"
            assert table.get("ask") or table.get("topic"), f"{where}: no question"
            values = {
                key: tuple(value)
                if isinstance(value, list)
                else value.strip()
                if isinstance(value, str)
                else value
                for key, value in table.items()
            }
            asks = tuple(values.get("ask", ()))
            for name in {values.get("topic"), *asks[:1]} & more.keys():
                asks += tuple(more.pop(name))
            entries.append(Entry(**{**values, "ask": asks}))
    assert not more, f"wordings of unknown entries: {list(more)}"
    return entries
