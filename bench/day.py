"""A day of traffic: does the server's memory grow?

    python -m bench.day [--hours 24] [--requests 24] [--cache-ram 1024] [--context 4096] [--seed 1]

Clients ask a random model with 32 KiB of keys and values a token: conversations begin, come back
and fork, clients leave in the middle, some requests are wrong; with tools or without, streamed or
not. An "hour" is a number of requests that are drawn, like everything else, from a seed. The first
one goes on until the memory for conversations that have left the cells is full, so that all others
only replace what is there. "resident" is the server's memory at the end of an hour, when nothing
is computed or saved any more; "anonymous" is that of it which is no file. The bar: after the first
hour it grows by 2 % at most, whichever hour is the highest.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import anthropic

from bench.models import wide_model
from bench.serving import Running, antiphon, figures, table
from bench.watching import Asking, at_most, user, wait_until_quiet

CLIENTS = 4  # at the same time, each with conversations of its own
KINDS = {"new": 35, "returning": 30, "fork": 12, "leaving": 13, "error": 10}  # weights
CONVERSATIONS_KEPT = 100  # of each client; the latest
MESSAGES_MAX = 9  # a longer conversation is not continued
GROWTH_MAX = 0.02
BLOCK_BYTES = 64 * (33 << 10)  # of conversations, a little more than there are
FIRST_HOUR_MAX = 50  # times the requests of any other
TOOLS: list[Any] = [
    {
        "name": name,
        "description": f"Looks for the {name} of a place.",
        "input_schema": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "day": {"type": "integer"}},
            "required": ["place"],
        },
    }
    for name in ("weather", "harbour", "market")
]
WRONG: list[dict[str, Any]] = [
    {"messages": [{"role": "pilot", "content": "Hello."}]},
    {"max_tokens": -1},
    {"messages": []},
    {"tools": [{"name": "no schema"}]},
]


@dataclass(frozen=True)
class Visit:
    """One request, but for what was said before."""

    kind: str
    tokens: int  # of new text
    max_tokens: int
    streamed: bool
    tools: bool
    forced: bool  # to call one of them
    draw: float  # for what else has to be chosen


def visits(draw: random.Random) -> Iterator[Visit]:
    while True:
        (kind,) = draw.choices(list(KINDS), list(KINDS.values()))
        is_new = kind in ("new", "leaving")
        tools = draw.random() < 0.25
        yield Visit(
            kind,
            tokens=draw.randint(100, 500) if is_new else draw.randint(10, 80),
            max_tokens=draw.choice((1, 8, 16, 40)),
            streamed=kind == "leaving" or draw.random() < 0.5,
            tools=tools,
            forced=tools and draw.random() < 0.3,
            draw=draw.random(),
        )


@dataclass
class Client:
    """One of several that ask at the same time; no two share anything."""

    server: Running
    asking: Asking  # for texts
    visits: Iterator[Visit]
    done: Counter[str] = field(default_factory=Counter)
    _kept: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        url = f"http://127.0.0.1:{self.server.port}"
        self._sdk = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=600)

    def visit(self) -> None:
        visit = next(self.visits)
        try:
            self._ask(visit)
        except anthropic.APIStatusError as error:
            expected = visit.kind == "error" and 400 <= error.status_code < 500
            self.done[visit.kind if expected else f"failed with {error.status_code}"] += 1
        else:
            self.done["not refused" if visit.kind == "error" else visit.kind] += 1

    def _ask(self, visit: Visit) -> None:
        fields: dict[str, Any] = {"model": "m", "max_tokens": visit.max_tokens}
        fields["messages"] = said = [*self._before(visit), user(self.asking.text(visit.tokens))]
        if visit.tools:
            fields["tools"] = TOOLS
        if visit.forced:
            fields["tool_choice"] = {"type": "any"}
        if visit.kind == "error":
            fields |= WRONG[int(visit.draw * len(WRONG))]
        if not visit.streamed:
            self._keep(said, self._sdk.messages.create(**fields).content)
            return
        leaves_after = 1 + int(visit.draw * 6) if visit.kind == "leaving" else None
        with self._sdk.messages.stream(**fields) as events:
            for number, _ in enumerate(events, start=1):
                if number == leaves_after:
                    return
            self._keep(said, events.get_final_message().content)

    def _before(self, visit: Visit) -> list[Any]:
        """What the visit goes on from."""
        short = [one for one in self._kept if len(one) < MESSAGES_MAX]
        if visit.kind not in ("returning", "fork") or not short:
            return []
        said = short[int(visit.draw * len(short))]
        if visit.kind == "returning":
            self._kept.remove(said)
            return said
        turns = len(said) // 2
        return said[: 2 * (1 + int(visit.draw * 7919) % turns)]

    def _keep(self, said: list[Any], content: Sequence[Any]) -> None:
        """Calls are left out: they would need a result."""
        text = "".join(block.text for block in content if block.type == "text").strip()
        self._kept.append([*said, {"role": "assistant", "content": text or "Yes."}])
        del self._kept[:-CONVERSATIONS_KEPT]

    def close(self) -> None:
        self._sdk.close()
        self.asking.close()


@dataclass(frozen=True)
class Hour:
    requests: int
    rss_bytes: int
    anonymous_bytes: int
    figures: dict[str, int]


def anonymous_bytes(server: Running) -> int:
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        kib = re.search(r"RssAnon:\s+(\d+) kB", status.read())
    assert kib is not None
    return int(kib[1]) * 1024


def live(server: Running, clients: Sequence[Client], requests: int, *, until_full: bool) -> Hour:
    """So many requests, or until the memory is full."""
    asked = 0

    def is_full() -> bool:
        now = figures(server)
        return now["ram_bytes_used"] + BLOCK_BYTES > now["ram_bytes_total"]  # for another

    def visit(client: Client, count: int) -> None:
        for _ in range(count):
            client.visit()

    with ThreadPoolExecutor(len(clients)) as pool:
        while asked < requests or (until_full and not is_full()):
            if asked >= FIRST_HOUR_MAX * requests:
                raise SystemExit("the memory for conversations does not become full")
            each = -(-min(requests, 20) // len(clients))
            list(pool.map(visit, clients, [each] * len(clients)))
            asked += each * len(clients)
    last = wait_until_quiet(server)
    return Hour(asked, server.rss_bytes, anonymous_bytes(server), last)


def row(hours: Sequence[Hour]) -> list[object]:
    """Of the last of them."""
    hour, number = hours[-1], len(hours)
    earlier = hours[-2].figures if number > 1 else {}
    counted = ("prompt_tokens_computed", "restored_tokens")
    counts = [f"{hour.figures[name] - earlier.get(name, 0):,}" for name in counted]
    shown = [hour.rss_bytes, hour.anonymous_bytes, hour.figures["ram_bytes_used"]]
    sizes = [f"{size / (1 << 20):,.1f} MiB" for size in shown]
    growth = f"{hour.rss_bytes / hours[0].rss_bytes - 1:+.2%}" if number > 1 else ""
    return [number, hour.requests, *counts, *sizes, growth]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--requests", type=int, default=24, help="an hour, in the middle")
    parser.add_argument("--cache-ram", type=int, default=1024, help="MiB")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    own = ("--model", str(wide_model()), "--context", str(arguments.context))
    hours: list[Hour] = []
    head = ("hour", "requests", "computed", "restored", "resident", "anonymous",
            "of it conversations", "since hour 1")  # fmt: skip
    print(table(head, []), flush=True)
    with antiphon(*own, "--cache-ram", str(arguments.cache_ram)) as server:
        seeds = [draw.randrange(1 << 30) for _ in range(CLIENTS)]
        clients = [Client(server, Asking(server, s), visits(random.Random(s))) for s in seeds]
        for number in range(arguments.hours):
            requests = round(arguments.requests * draw.uniform(0.5, 1.5))
            hours.append(live(server, clients, requests, until_full=number == 0))
            print(table([*map(str, row(hours))], []).splitlines()[0], flush=True)
        for client in clients:
            client.close()
    done = sum((client.done for client in clients), Counter[str]())
    highest = max(hour.rss_bytes for hour in hours[1:]) if hours[1:] else 0
    growth = highest / hours[0].rss_bytes - 1
    bar, verdict = at_most(growth * 100, GROWTH_MAX * 100)
    print(f"\nMost since hour 1: {growth:+.2%}, bar {bar} %: {verdict}.")
    print(", ".join(f"{name}: {count}" for name, count in sorted(done.items())))
    if any(name.startswith(("failed", "not refused")) for name in done):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
