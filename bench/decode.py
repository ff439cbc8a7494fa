"""How fast answers are written: tokens a second of 1, 8 and 16 streams over HTTP, beside
llama.cpp's own server.

    python -m bench.decode --peer-python PATH [--runs 5] [--streams 1,8,16] [--threads 2]

On a random model in the shape of Qwen3 0.6B (`bench.models`), 64 tokens an answer, drawn greedily
or from the likeliest 40. Both servers are loaded and take turns run by run; the one whose turn it
is not must stand still, and how much it computed nevertheless is written below the table. Before
each run a second is quiet, in which what the last one left can be put away; without any quiet
moment Antiphon does that beside the answers, llama-server before them. All streams of a run begin
together, each with a short prompt of its own. What counts is the time in which all of them are
written, from the moment when the last of them has its first token until the first of them has its
last, and the tokens that arrive in it: prompts are not in it. The client only stores what it reads
and looks at it afterwards, since it shares the processors.

A ratio is Antiphon's tokens a second over the peer's in one pair of runs; the median stands beside
the lowest and the highest. It is to be 0.97 at least.
"""

import argparse
import json
import re
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import models
from bench.serving import Running, antiphon, llama_server, table

BAR = 0.97
CELLS = 8192  # of both caches
SILENCE_S = 120.0
QUIET_S = 1.0  # before each run
SAMPLINGS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0},
    "top_k 40": {"temperature": 0.8, "top_k": 40, "top_p": 1},
}
EVENT = re.compile(rb'data: (.*"text_delta".*)')
SUBJECTS = ("rivers", "bridges", "letters", "clocks", "gardens", "maps", "songs", "stars")


def request(run: str, stream: int, tokens: int, sampling: dict[str, float]) -> bytes:
    """Different from its first words on: nothing is shared."""
    subject = SUBJECTS[stream % len(SUBJECTS)]
    prompt = f"{run}, {stream}: tell me something about {subject} of the north."
    document = {
        "model": "m",
        "max_tokens": tokens,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
        **sampling,
    }
    body = json.dumps(document).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass
class Stream:
    """What was read, and when."""

    content: bytes = b""
    ends: list[int] = field(default_factory=list)  # of pieces
    times: list[float] = field(default_factory=list)

    def add(self, piece: bytes) -> None:
        self.times.append(time.perf_counter())
        self.content += piece
        self.ends.append(len(self.content))

    def tokens(self) -> list[float]:
        """When each token arrived. Those of these models are a word each; an event may have
        several."""
        times = []
        for found in EVENT.finditer(self.content):
            delta = json.loads(found[1])["delta"]
            moment = self.times[bisect_left(self.ends, found.end())]
            times += [moment] * len(delta["text"].split())
        return times


def read_all(port: int, requests: Sequence[bytes]) -> list[Stream]:
    """Send all of them at once; read until every answer has ended."""
    streams = []
    with selectors.DefaultSelector() as selector:
        for content in requests:
            connection = socket.create_connection(("127.0.0.1", port))
            stream = Stream()
            streams.append(stream)
            selector.register(connection, selectors.EVENT_READ, (stream, content))
        for key in selector.get_map().values():
            key.fileobj.sendall(key.data[1])  # type: ignore[union-attr]
        while selector.get_map():
            ready = selector.select(SILENCE_S)
            if not ready:
                raise SystemExit("no server is that slow")
            for key, _ in ready:
                if piece := key.fileobj.recv(65_536):  # type: ignore[union-attr]
                    key.data[0].add(piece)
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    return streams


def tokens_a_second(server: Running, requests: Sequence[bytes], tokens: int) -> float:
    arrivals = [stream.tokens() for stream in read_all(server.port, requests)]
    if any(len(times) != tokens for times in arrivals):
        raise SystemExit(f"answers of {[len(times) for times in arrivals]} tokens, not of {tokens}")
    begun = max(times[0] for times in arrivals)
    ended = min(times[-1] for times in arrivals)
    within = sum(begun < moment <= ended for times in arrivals for moment in times)
    return within / (ended - begun)


@dataclass
class Duel:
    """Two servers that take turns."""

    ours: Running
    theirs: Running
    busy_s: float = 0.0  # of all runs, by the clock
    idle_s: float = 0.0  # what the other one computed in them

    def rates(
        self, runs: Sequence[Sequence[bytes]], tokens: int
    ) -> tuple[list[float], list[float]]:
        """Tokens a second of both in every run but the first, which warms up."""
        rates: dict[Running, list[float]] = {self.ours: [], self.theirs: []}
        for number, requests in enumerate(runs):
            pair = [(self.ours, self.theirs), (self.theirs, self.ours)]
            for server, other in pair if number % 2 else reversed(pair):
                time.sleep(QUIET_S)
                begun, before_s = time.perf_counter(), other.cpu_s
                rates[server].append(tokens_a_second(server, requests, tokens))
                self.busy_s += time.perf_counter() - begun
                self.idle_s += other.cpu_s - before_s
        return rates[self.ours][1:], rates[self.theirs][1:]


def row(
    streams: int, sampling: str, ours: Sequence[float], theirs: Sequence[float]
) -> tuple[object, ...]:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return (
        streams,
        sampling,
        *(f"{median(rates):.1f}" for rates in (ours, theirs)),
        f"{median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        BAR,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peer-python", required=True, help="an environment with xllamacpp")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--streams", default="1,8,16")
    parser.add_argument("--threads", default="2", help="of both")
    parser.add_argument("--model", choices=models.BY_NAME, default="small")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.streams.split(",")]
    path = models.BY_NAME[arguments.model]()
    common = ("--threads", arguments.threads, "--slots", str(max(counts)))
    own = ("--model", str(path), "--context", str(CELLS))
    tokens, rows = arguments.tokens, []
    with (
        antiphon(*common, *own) as ours,
        llama_server(arguments.peer_python, *common, model=path, cells=CELLS) as theirs,
    ):
        duel = Duel(ours, theirs)
        for name, sampling in SAMPLINGS.items():
            for count in counts:
                runs = [
                    [request(f"{name}, {run}", one, tokens, sampling) for one in range(count)]
                    for run in range(1 + arguments.runs)
                ]
                rows.append(row(count, name, *duel.rates(runs, tokens)))
    head = (
        "streams",
        "sampling",
        "Antiphon tok/s",
        "llama-server tok/s",
        "ratio",
        "in runs",
        "bar",
    )
    print(table(head, rows))
    share = duel.idle_s / duel.busy_s
    print(f"\nThe server that waited for its turn computed {share:.1%} of the time.")


if __name__ == "__main__":
    main()
