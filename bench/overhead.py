"""What a server costs beside its model: one token, asked for again and again.

    python -m bench.overhead --peer-python PATH [--rounds 10] [--threads 1]

Antiphon and llama.cpp's own server on the built-in model, taking turns in every row, so that noise
of the machine hits both; and Antiphon on its stub engine, which is what is left without a model.
The rows of 3,000 words are on a tiny random model with a long context, since the built-in one's is
too short. "cached" is a prompt that both have computed before: what is left is HTTP, rendering and
tokenising it, finding it, and one token.
Ratios are Antiphon's over the peer's: below 1 is less. A ratio is the median of those of the
rounds, whose lowest and highest stand beside it; the bars are for it.
"""

import argparse
import contextlib
import json
import re
import select
import socket
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.models import tiny_model
from bench.serving import CELLS, MODEL, Running, antiphon, llama_server, percentile, table
from bench.watching import at_most

SLOTS = 8
CELLS_LONG = 32_768  # for the rows of 3,000 words
SMALL_MAX, CACHED_MAX = 1.0, 0.2  # ratios of p50 that must be reached
HEAD = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    name: str
    request: bytes
    clients: int = 1
    count: int = 100  # requests of each client in one round
    ratio_max: float | None = None  # of p50


@dataclass(frozen=True)
class Round:
    """One turn of one server: seconds of every answer, and of all of them."""

    times: list[float]
    wall_s: float

    def figures(self) -> tuple[float, float, float]:
        """p50 and p99 in milliseconds, answers a second."""
        p50, p99 = (percentile(self.times, share) * 1000 for share in (0.5, 0.99))
        return p50, p99, len(self.times) / self.wall_s


class Client:
    """One connection, opened again when the server has dropped it. Bare, because an HTTP library
    takes as long for a request as the servers do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.dropped = 0
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def timed(self, request: bytes) -> float:
        """Seconds until the answer was whole, those for a new connection included."""
        begun = time.perf_counter()
        answer = self.post(request)
        took_s = time.perf_counter() - begun
        if b" 200 " not in answer[:16] or b'"max_tokens"' not in answer:
            raise SystemExit(f"not the answer that was asked for: {answer[:1000]!r}")
        return took_s

    def post(self, request: bytes) -> bytes:
        is_readable, _, _ = select.select([self._socket], [], [], 0)
        if not is_readable:  # before there is a request, only an end can be read
            with contextlib.suppress(ConnectionError):
                return self._exchange(request)
        self.dropped += 1
        self._socket.close()
        self._connect()
        return self._exchange(request)

    def _exchange(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        answer = b""
        while not is_whole(answer):
            if not (piece := self._socket.recv(65_536)):
                raise ConnectionError("the server closed the connection")
            answer += piece
        return answer


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    if length := LENGTH.search(head):
        return len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")


def request(messages: Sequence[tuple[str, str]], *, stream: bool = False) -> bytes:
    document = {
        "model": "m",
        "max_tokens": 1,
        "temperature": 0,
        "stream": stream,
        "messages": [{"role": role, "content": text} for role, text in messages],
    }
    body = json.dumps(document).encode()
    return f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body


def conversation(turns: int) -> list[tuple[str, str]]:
    """About 46 tokens a turn; a question comes last."""
    said = []
    for number in range(turns):
        said.append(("user", f"Explain step {number} of the plan, please, and then what follows."))
        said.append(
            ("assistant", f"Step {number} finds the song, and the river returns it slowly.")
        )
    return [*said, ("user", "And now?")]


def cases() -> list[Case]:
    small, streamed = request([("user", "hi")]), request([("user", "hi")], stream=True)
    long = conversation(33)
    return [
        Case("small", small, ratio_max=SMALL_MAX),
        Case("small, streamed", streamed, ratio_max=SMALL_MAX),
        Case("small, 8 clients", small, clients=8, count=25, ratio_max=SMALL_MAX),
        Case("small, streamed, 8 clients", streamed, clients=8, count=25, ratio_max=SMALL_MAX),
        Case("long, cached", request(long)),
        Case("long, cached, streamed", request(long, stream=True)),
    ]


def cases_of_3000_words() -> list[Case]:
    turns = conversation(136)  # 22 words each
    at_once = " ".join(text for _, text in turns)
    many = request(turns)
    return [
        Case("3,000 words in one message, cached", request([("user", at_once)]), count=25,
             ratio_max=CACHED_MAX),
        Case("3,000 words in 273 messages, cached", many, count=25, ratio_max=CACHED_MAX),
    ]  # fmt: skip


class Measured:
    """A server with its clients."""

    def __init__(self, server: Running) -> None:
        self._clients = [Client(server.port) for _ in range(SLOTS)]

    @property
    def dropped(self) -> int:
        return sum(client.dropped for client in self._clients)

    def prompt_tokens(self, request: bytes) -> int:
        """As the server counts them, cached ones included."""
        answer, _, _ = self._clients[0].post(request).partition(b"message_delta")
        return sum(int(count) for count in re.findall(rb'input_tokens":\s*(\d+)', answer))

    def turn(self, case: Case) -> Round:
        clients = self._clients[: case.clients]
        begun = time.perf_counter()
        with ThreadPoolExecutor(len(clients)) as pool:
            times = pool.map(lambda c: [c.timed(case.request) for _ in range(case.count)], clients)
            flat = [seconds for own in times for seconds in own]
        return Round(flat, time.perf_counter() - begun)


def rows(case: Case, rounds: dict[str, list[Round]]) -> list[Sequence[object]]:
    """p50, p99 and rate of one case, a column for each server."""
    lines: list[Sequence[object]] = []
    of_rounds = {name: [one.figures() for one in own] for name, own in rounds.items()}
    for index, label in enumerate(("p50", "p99", "answers/s")):
        pairs = zip(of_rounds["antiphon"], of_rounds["llama-server"], strict=True)
        ratios = [ours[index] / theirs[index] for ours, theirs in pairs]
        middle = [median(one[index] for one in of_rounds[name]) for name in rounds]
        shown = [f"{value:,.0f}" if index == 2 else f"{value:.2f} ms" for value in middle]
        ratio, spread = f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        has_bar = label == "p50" and case.ratio_max is not None
        bar = at_most(median(ratios), case.ratio_max or 0) if has_bar else ("", "")
        lines.append((case.name, label, *shown[:2], ratio, spread, *bar, shown[2]))
    return lines


def measure(
    cases: Sequence[Case], model: Path, cells: int, arguments: argparse.Namespace
) -> list[Sequence[object]]:
    """The rows of cases on one model, with servers of their own."""
    common = ["--slots", str(SLOTS)]
    if arguments.threads:
        common += ["--threads", str(arguments.threads)]
    context = [] if model == MODEL else ["--context", str(cells)]
    rounds: dict[Case, dict[str, list[Round]]] = defaultdict(lambda: defaultdict(list))
    with (
        antiphon(*common, "--model", str(model), *context) as ours,
        llama_server(arguments.peer_python, *common, model=model, cells=cells) as theirs,
        antiphon("--engine", "stub", "--slots", str(SLOTS), *context) as stub,
    ):
        running = {"antiphon": ours, "llama-server": theirs, "no model": stub}
        servers = {name: Measured(server) for name, server in running.items()}
        for case in cases:
            counts = {name: server.prompt_tokens(case.request) for name, server in servers.items()}
            if counts["antiphon"] != counts["llama-server"]:
                raise SystemExit(f"{case.name}: not the same prompt, {counts}")
            print(f"{case.name}: {counts['antiphon']:,} tokens")
            for _ in range(arguments.rounds):
                for name, server in servers.items():
                    rounds[case][name].append(server.turn(case))
    dropped = ", ".join(f"{name} {server.dropped}" for name, server in servers.items())
    print(f"Dropped connections: {dropped}\n")
    return [line for case in cases for line in rows(case, rounds[case])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True, help="an environment with xllamacpp")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of both; 0: each one's own choice")
    arguments = parser.parse_args()
    lines = measure(cases(), MODEL, CELLS, arguments)
    lines += measure(cases_of_3000_words(), tiny_model(), CELLS_LONG, arguments)
    head = ["one token", "", "antiphon", "llama-server", "ratio", "in rounds", "bar", "",
            "stub engine"]  # fmt: skip
    print(table(head, lines))


if __name__ == "__main__":
    main()
