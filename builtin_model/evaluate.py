"""Judge the shipped file through the server's own path: renderer, engine, sampling defaults.

    python evaluate.py [MODEL.gguf]      # needs the antiphon package; about two minutes

Prints a table of right answers by kind and seed, and everything that was answered wrongly.
"""

import asyncio
import json
import random
import sys
import tomllib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.backends.base import RequestContext
from antiphon.backends.router import Router
from antiphon.cli.serve import assemble, load_engine
from antiphon.config import Config
from antiphon.engines.base import Engine
from antiphon.ids import generator
from antiphon.wire.events import accumulate_async
from antiphon.wire.messages import CreateMessage
from antiphon.wire.validation import decode

EVALUATION = Path(__file__).parent / "evaluation.toml"
SEEDS = (1, 2, 3)
KINDS = ("seed", "reworded", "recall", "unknown")


async def answer(router: Router, messages: list[dict[str, str]]) -> str:
    body = {"model": "m", "max_tokens": 400, "messages": messages}
    request = decode(json.dumps(body).encode(), CreateMessage)
    message = await accumulate_async(router.stream(request, RequestContext(request_id="r")))
    return str(message.content[0].text)  # type: ignore[union-attr]


async def converse(router: Router, questions: list[str]) -> list[str]:
    """Ask one after the other in one conversation; return the answers."""
    messages: list[dict[str, str]] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": await answer(router, messages)})
    return [message["content"] for message in messages[1::2]]


def is_right(text: str, facts: list[list[str]]) -> bool:
    """Every group of facts is met by one of its alternatives."""
    lower = text.lower()
    return all(any(fact.lower() in lower for fact in group) for group in facts)


async def run(engine: Engine, config: Config) -> tuple[dict[tuple[str, int], int], list[str]]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(EVALUATION.read_text(encoding="utf-8"))
    right: dict[tuple[str, int], int] = defaultdict(int)
    misses: list[str] = []
    for seed in SEEDS:
        engine.info = replace(engine.info, sampling=replace(engine.info.sampling, seed=seed))
        router = assemble(config, engine, generator(random.Random(seed)))
        for kind in KINDS:
            for case in table[kind]:
                asked = case["ask"] if isinstance(case["ask"], list) else [case["ask"]]
                answers = await converse(router, asked)
                if is_right(answers[-1], case["facts"]):
                    right[kind, seed] += 1
                else:
                    misses.append(f"[{kind}, seed {seed}] {asked[-1]}\n    -> {answers[-1]!r}")
    return right, misses


def main() -> None:
    config = Config(slots=1, **({"model": sys.argv[1]} if len(sys.argv) > 1 else {}))
    engine = load_engine(config)
    table = tomllib.loads(EVALUATION.read_text(encoding="utf-8"))

    async def judge() -> None:
        right, misses = await run(engine, config)
        print(f"{'':10}" + "".join(f"seed {seed:<4}" for seed in SEEDS) + "of")
        for kind in KINDS:
            counts = "".join(f"{right[kind, seed]:<9}" for seed in SEEDS)
            print(f"{kind:10}{counts}{len(table[kind])}")
        print("\n".join(["", *misses]))
        await engine.close()

    asyncio.run(judge())


if __name__ == "__main__":
    main()
