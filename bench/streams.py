"""Many streams at once: is every one whole and its own, and what does an idle one cost?

    python -m bench.streams [--streams 1000] [--peer-python PATH]

First on the stub engine: every stream is followed through the order of events, and its text must be
what the same prompt is answered with alone. Then streams of which nothing comes after the first
delta, to look at the memory of the server. Last the same streams on the built-in model, one thread
and 8 slots, beside llama.cpp's own server.
"""

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.cli.serve import raise_file_limit
from antiphon.wire.events import Event, StreamState, accumulate
from bench.serving import Running, antiphon, llama_server, percentile, table

SLOTS = 64
MAX_TOKENS = 16  # of an answer on the built-in model


def body(number: int, *, stream: bool, max_tokens: int = 200) -> bytes:
    prompt = f"question {number} of many"
    messages = [{"role": "user", "content": prompt}]
    request = {"model": "m", "max_tokens": max_tokens, "messages": messages, "stream": stream}
    return json.dumps(request).encode()


async def post(
    server: Running, content: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)
    )
    await writer.drain()
    return reader, writer


async def whole(server: Running, content: bytes) -> tuple[bytes, bytes]:
    reader, writer = await post(server, content)
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, answer


def unchunked(answer: bytes) -> bytes:
    """The body of a chunked response."""
    content = b""
    while answer:
        size, _, rest = answer.partition(b"\r\n")
        length = int(size, 16)
        content, answer = content + rest[:length], rest[length + 2 :]
        if not length:
            break
    return content


def text_of(events: bytes) -> str:
    """The text of a stream; raises if the order of its events is not legal."""
    state, decoded = StreamState(), []
    for chunk in unchunked(events).decode().split("\n\n")[:-1]:
        event = msgspec.json.decode(chunk.partition("data: ")[2], type=Event)
        state.apply(event)
        decoded.append(event)
    state.finish()
    return accumulate(decoded).content[0].text  # type: ignore[union-attr]


async def correct_streams(server: Running, count: int) -> tuple[int, int, float]:
    """How many of `count` at the same time are right, their events, how long all of them took."""
    started = time.perf_counter()
    streams = await asyncio.gather(
        *(whole(server, body(number, stream=True)) for number in range(count))
    )
    took_s = time.perf_counter() - started
    right = 0
    for number, (_, streamed) in enumerate(streams):
        _, alone = await whole(server, body(number, stream=False))
        right += text_of(streamed) == json.loads(alone)["content"][0]["text"]
    return right, sum(answer.count(b"event: ") for _, answer in streams), took_s


@dataclass(frozen=True)
class Crowd:
    """What became of streams that were all opened at once on a real model."""

    complete: int
    seconds: float
    waits_s: list[float]  # of each, for its first event

    @classmethod
    async def on(cls, server: Running, count: int) -> "Crowd":
        begun = time.perf_counter()

        async def follow(number: int) -> tuple[bool, float]:
            try:
                reader, writer = await post(
                    server, body(number, stream=True, max_tokens=MAX_TOKENS)
                )
                await reader.readuntil(b"event: message_start")
                waited_s = time.perf_counter() - begun
                answer = await reader.read()
            except (ConnectionError, asyncio.IncompleteReadError):
                return False, time.perf_counter() - begun
            writer.close()
            return b"event: message_stop" in answer, waited_s

        followed = await asyncio.gather(*map(follow, range(count)))
        waits_s = [waited_s for _, waited_s in followed]
        return cls(sum(ok for ok, _ in followed), time.perf_counter() - begun, waits_s)

    def figures(self) -> list[tuple[str, float, str]]:
        waits = [
            (f"first event, {label}", percentile(self.waits_s, share), "{:.1f} s")
            for label, share in (("p50", 0.5), ("last", 1.0))
        ]
        return [
            ("complete", self.complete, "{:,}"),
            ("all of them", self.seconds, "{:.1f} s"),
            *waits,
        ]


async def bytes_of_an_idle_stream(server: Running, count: int) -> float:
    await whole(server, body(0, stream=False))  # what is loaded once, is loaded
    before = server.rss_bytes
    opened = await asyncio.gather(
        *(post(server, body(number, stream=True)) for number in range(count))
    )
    await asyncio.gather(*(reader.readuntil(b"text_delta") for reader, _ in opened))
    after = server.rss_bytes
    for _, writer in opened:
        writer.close()
    return (after - before) / count


def crowd_rows(ours: Crowd, theirs: Crowd) -> list[tuple[str, str, str, str]]:
    pairs = zip(ours.figures(), theirs.figures(), strict=True)
    return [
        (label, shown.format(x), shown.format(y), f"{x / y:.2f}")
        for (label, x, shown), (_, y, _) in pairs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--peer-python", help="an environment with xllamacpp")
    arguments = parser.parse_args()
    count = arguments.streams
    raise_file_limit()
    with antiphon("--engine", "stub", "--slots", str(SLOTS)) as server:
        right, events, took_s = asyncio.run(correct_streams(server, count))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "idle.json"
        replies = [
            {"match": {"text": "question 0 of many"}, "times": 1, "reply": "ready"},
            {"reply": "a text of several deltas", "pace_s": 600, "chunk_chars": 5},
        ]
        script.write_text(json.dumps({"replies": replies}), encoding="utf-8")
        with antiphon("--backend", "scripted", "--script", str(script)) as server:
            idle_bytes = asyncio.run(bytes_of_an_idle_stream(server, count))
    rows = [
        ("streams at the same time", count),
        ("whole, legal, and the text that belongs to them", right),
        ("seconds for all of them", f"{took_s:.1f}"),
        ("events a second", f"{events / took_s:,.0f}"),
        ("memory of an idle stream", f"{idle_bytes / 1024:.0f} KiB"),
    ]
    print(table(["", f"stub engine, {SLOTS} slots"], rows))
    if arguments.peer_python:
        with antiphon("--slots", "8", "--threads", "1") as server:
            ours = asyncio.run(Crowd.on(server, count))
        with llama_server(arguments.peer_python, "--slots", "8", "--threads", "1") as server:
            theirs = asyncio.run(Crowd.on(server, count))
        head = [f"{count} streams of {MAX_TOKENS} tokens", "antiphon", "llama-server", "ratio"]
        print("\n" + table(head, crowd_rows(ours, theirs)))
    if right != count:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
