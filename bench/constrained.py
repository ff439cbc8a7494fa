"""What a grammar costs: tokens a second within a schema, against free text, in the same run.

    python -m bench.constrained

On the built-in model, and on a random model with a vocabulary of 152,000: the worst case, since
almost nothing that it draws fits and the mask of the whole vocabulary is needed nearly every time.
"""

import asyncio
import json
import random
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from unittest import mock

from antiphon.catalog.models import model_path
from antiphon.engines.base import Constraint, Generation, SamplingParams
from antiphon.engines.llamacpp.engine import LlamaEngine
from antiphon.grammar.answers import json_only
from antiphon.grammar.json_schema import enforceable, rule
from antiphon.grammar.matcher import Vocabulary
from bench.serving import table
from tests.engines import tiny_model

WIDE = 152_000
TOKENS = 400
ROUNDS = 3
SCHEMA = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "kind": {"enum": ["river", "mountain", "city"]},
            "height": {"type": "integer"},
        },
        "required": ["name", "kind", "height"],
    },
}


def write_wide_model(path: Path) -> None:
    tokens, types, merges = tiny_model.byte_level_vocabulary()
    draw, letters = random.Random(1), "abcdefghijklmnopqrstuvwxyz"
    words = set(tokens)
    while len(tokens) < WIDE:
        word = "".join(draw.choices(letters, k=draw.randint(3, 9)))
        if word not in words:
            words.add(word)
            tokens.append(word)
            types.append(1)
    vocabulary = (tokens, types, merges)
    with mock.patch.object(tiny_model, "byte_level_vocabulary", return_value=vocabulary):
        tiny_model.write_model(path, endless=True)


class Counting:
    """A constraint, and how often its mask was needed."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self.masks = 0
        self.allows, self.forced = constraint.allows, constraint.forced
        self.advance = constraint.advance

    def allowed(self) -> object:
        self.masks += 1
        return self._constraint.allowed()


async def tokens_a_second(engine: LlamaEngine, constraint: Counting | None) -> tuple[int, float]:
    prompt = engine.tokenizer.encode(
        "A transformer is a neural network that works on all tokens of "
    )
    sampling = SamplingParams(seed=1)
    job = Generation(prompt, sampling, TOKENS, constraint)  # type: ignore[arg-type]
    count, begun = 0, time.perf_counter()  # with the prompt: it is short
    async with aclosing(engine.generate(job)) as chunks:
        async for chunk in chunks:
            count += len(chunk.token_ids)
    return count, count / (time.perf_counter() - begun)


async def measure(path: Path) -> tuple[object, ...]:
    engine = LlamaEngine.load(path, slots=1, threads=1)
    vocabulary = Vocabulary(engine.tokenizer, engine.info.vocab_size, engine.info.end_of_generation)
    begun = time.perf_counter()
    grammar = vocabulary.compile(json_only(json.dumps(rule(enforceable(SCHEMA, "s", closed=True)))))
    compile_ms = (time.perf_counter() - begun) * 1000
    free, held = [], []
    for _ in range(ROUNDS):
        free.append(await tokens_a_second(engine, None))
        constraint = Counting(grammar.fresh())
        held.append(await tokens_a_second(engine, constraint))
    forced = engine.metrics()["forced_tokens"] / ROUNDS
    await engine.close()
    count, within = sorted(held, key=lambda pair: pair[1])[ROUNDS // 2]
    _, freely = sorted(free, key=lambda pair: pair[1])[ROUNDS // 2]
    return (
        f"{engine.info.vocab_size:,}",
        f"{freely:.0f}",
        f"{within:.0f}",
        f"{within / freely:.2f}",
        f"{forced / count:.0%}",
        f"{constraint.masks / count:.0%}",
        f"{compile_ms:.0f} ms",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide.gguf"
        write_wide_model(wide)
        rows = []
        for name, path in (("built-in", model_path("antiphon-demo")), ("random, wide", wide)):
            rows.append((name, *asyncio.run(measure(path))))
    head = ("model", "vocabulary", "free tok/s", "within tok/s", "ratio", "forced", "masks",
            "first grammar")  # fmt: skip
    print(table(head, rows))


if __name__ == "__main__":
    main()
