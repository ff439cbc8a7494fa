"""The evaluation's questions do not occur in what the model is trained on."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import templates
from knowledge import load

EVALUATION = Path(__file__).parent / "evaluation.toml"
GRAM = 8  # words


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def grams(text: str) -> set[tuple[str, ...]]:
    """Every run of eight words; of a shorter text, the whole of it."""
    found = words(text)
    return {tuple(found[i : i + GRAM]) for i in range(max(1, len(found) - GRAM + 1))}


def training_questions() -> list[str]:
    """Every hand-written question, and every template with every topic and name."""
    forms = [
        *templates.CONCEPT, *templates.PLURAL, *templates.SHORT, *templates.EXAMPLE, *templates.WHY,
        *templates.SITUATIONS,
    ]  # fmt: skip
    texts = []
    for entry in load():
        names = [name for name in (entry.topic, *entry.names) if name]
        texts += [*entry.ask, *(form.format(x=name) for form in forms for name in names)]
    return texts


def overlaps() -> list[str]:
    """Evaluation questions of which an eight-gram occurs in a training question."""
    seen = set(chain.from_iterable(map(grams, training_questions())))
    table = tomllib.loads(EVALUATION.read_text(encoding="utf-8"))
    cases = [*table["reworded"], *table["fresh"]]
    return [case["ask"] for case in cases if grams(case["ask"]) & seen]


def assert_evaluation_is_unseen() -> None:
    found = overlaps()
    assert not found, f"these evaluation questions are in the training data: {found}"


if __name__ == "__main__":
    assert_evaluation_is_unseen()
    print("no evaluation question occurs in the training data")
