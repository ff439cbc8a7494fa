"""What a server costs beside its model: one small request, and one whose prompt is all cached.

    python -m bench.overhead --peer-python PATH [--rounds 5]

Antiphon and llama.cpp's own server on the built-in model, one thread each, taking turns, so that
noise of the machine hits both. Ratios are Antiphon's over the peer's: below 1 is less.
"""

import argparse
import http.client
import json
import os
import socket
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.serving import antiphon, percentile, started, table

MODEL = Path(__file__).parents[1] / "src/antiphon/catalog/builtin/antiphon-demo.gguf"
LONG = "Explain a monad, please, and then a functor. " * 100  # about 1,300 tokens of this model


class Client:
    """One connection, opened again when the server has dropped it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = self._new()
        self.dropped = 0

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def post(self, body: bytes) -> float:
        """Seconds until the answer was whole."""
        begun = time.perf_counter()
        for _ in range(2):
            try:
                self._connection.request(
                    "POST", "/v1/messages", body, {"content-type": "application/json"}
                )
                response = self._connection.getresponse()
                content = response.read()
                break
            except (http.client.HTTPException, ConnectionError):
                self.dropped += 1
                self._connection.close()
                self._connection = self._new()
        assert response.status == 200, content[:300]
        return time.perf_counter() - begun


def body(prompt: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    request = {"model": "m", "max_tokens": 1, "messages": messages, "stream": stream}
    return json.dumps({**request, "temperature": 0}).encode()


def requests_a_second(port: int, workers: int, count: int) -> float:
    clients = [Client(port) for _ in range(workers)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for client in clients:
            pool.submit(lambda c=client: [c.post(body("hi", stream=False)) for _ in range(count)])
    return workers * count / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True, help="an environment with xllamacpp")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peer = [arguments.peer_python, "bench/llama_server.py", str(MODEL), str(port)]
    kinds = {
        "one token": body("hi", stream=False),
        "one token, streamed": body("hi", stream=True),
        "one token, 1,300 of the prompt cached": body(LONG, stream=False),
    }
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    with (
        antiphon("--threads", "1", "--slots", "4") as ours,
        started(peer, r"listening on .*?:(\d+)", dict(os.environ)) as theirs,
    ):
        servers = {"antiphon": Client(ours.port), "llama-server": Client(theirs.port)}
        for client in servers.values():
            for content in kinds.values():
                client.post(content)
        for _ in range(arguments.rounds):
            for name, client in servers.items():
                for kind, content in kinds.items():
                    times[name, kind] += [client.post(content) for _ in range(60)]
            rates["antiphon"].append(requests_a_second(ours.port, 4, 40))
            rates["llama-server"].append(requests_a_second(theirs.port, 4, 40))
    rows = []
    for kind in kinds:
        a, b = times["antiphon", kind], times["llama-server", kind]
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            x, y = percentile(a, share) * 1000, percentile(b, share) * 1000
            rows.append((f"{kind}, {label}", f"{x:.1f} ms", f"{y:.1f} ms", f"{x / y:.2f}"))
    x, y = percentile(rates["antiphon"], 0.5), percentile(rates["llama-server"], 0.5)
    rows.append(("requests a second, 4 at a time", f"{x:.0f}", f"{y:.0f}", f"{x / y:.2f}"))
    print(table(["", "antiphon", "llama-server", "ratio"], rows))
    for name, client in servers.items():
        print(f"{name} dropped the connection {client.dropped} times")


if __name__ == "__main__":
    main()
