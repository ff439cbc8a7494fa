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
KINDS = ("seed", "reworded", "fresh", "recall", "unknown", "long")
REFUSAL = "i do not know that"  # right for what is unknown only, whatever facts it names
LONG_TOKENS = 1700  # of a `long` case's conversation before its last question


class Conversation:
    """Questions and answers, one after the other."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._messages: list[dict[str, str]] = []
        self.tokens = 0  # of the last prompt and its answer

    async def ask(self, question: str) -> str:
        self._messages.append({"role": "user", "content": question})
        body = {"model": "m", "max_tokens": 400, "messages": self._messages}
        request = decode(json.dumps(body).encode(), CreateMessage)
        context = RequestContext(request_id="r")
        message = await accumulate_async(self._router.stream(request, context))
        text = str(message.content[0].text)  # type: ignore[union-attr]
        self._messages.append({"role": "assistant", "content": text})
        self.tokens = message.usage.input_tokens + message.usage.output_tokens
        return text


async def last_answer(router: Router, kind: str, asked: list[str], fillers: list[str]) -> str:
    """Ask everything; a `long` case has other questions before its last, to fill the context."""
    conversation = Conversation(router)
    for question in asked[:-1]:
        await conversation.ask(question)
    if kind == "long":
        for filler in fillers * 3:
            if conversation.tokens > LONG_TOKENS:
                break
            await conversation.ask(filler)
        assert conversation.tokens > LONG_TOKENS, "there are too few questions to fill it"
    return await conversation.ask(asked[-1])


def is_right(kind: str, text: str, facts: list[list[str]]) -> bool:
    """Every group of facts is met by one of its alternatives."""
    lower = text.lower()
    if kind != "unknown" and REFUSAL in lower:
        return False
    return all(any(fact.lower() in lower for fact in group) for group in facts)


async def run(engine: Engine, config: Config) -> tuple[dict[tuple[str, int], int], list[str]]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(EVALUATION.read_text(encoding="utf-8"))
    right: dict[tuple[str, int], int] = defaultdict(int)
    misses: list[str] = []
    fillers = [case["ask"] for case in table["reworded"]]
    for seed in SEEDS:
        engine.info = replace(engine.info, sampling=replace(engine.info.sampling, seed=seed))
        router = assemble(config, engine, generator(random.Random(seed)))
        for kind in KINDS:
            for case in table[kind]:
                asked = case["ask"] if isinstance(case["ask"], list) else [case["ask"]]
                text = await last_answer(router, kind, asked, fillers)
                if is_right(kind, text, case["facts"]):
                    right[kind, seed] += 1
                else:
                    misses.append(f"[{kind}, seed {seed}] {asked[-1]}\n    -> {text!r}")
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
