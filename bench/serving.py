"""What the benches share: a server as a process, the figures of a process, a table."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
ROOT = Path(__file__).parents[1]
MODEL = ROOT / "src/antiphon/catalog/builtin/antiphon-demo.gguf"
CELLS = 16_384  # of the cache: what Antiphon gives this model with 8 slots

COMPUTED = "prompt_tokens_computed_total"  # of Antiphon's counts


@dataclass(frozen=True)
class Running:
    port: int
    pid: int

    @property
    def rss_bytes(self) -> int:
        """Memory that the process has in RAM."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            kib = re.search(r"VmRSS:\s+(\d+) kB", status.read())
        assert kib is not None
        return int(kib[1]) * 1024

    @property
    def cpu_s(self) -> float:
        """Seconds that its threads have computed so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figures(server: Running) -> dict[str, int]:
    """The page of metrics, what has labels left out. What ends in `_total` is there without it
    too: counters get the suffix, some figures have it in their name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as response:
        page = response.read().decode()
    found = re.findall(r"^antiphon_(\w+) (\S+)$", page, re.MULTILINE)
    named = {name: int(float(value)) for name, value in found}
    return {name.removesuffix("_total"): count for name, count in named.items()} | named


@contextlib.contextmanager
def antiphon(*arguments: str, module: str = "antiphon") -> Iterator[Running]:
    """`antiphon serve` on a free port, ended with the block. `module` runs it."""
    command = [PYTHON, "-m", module, "serve", "--port", "0", *arguments]
    environment = {**os.environ, "ANTIPHON_CONFIG": os.devnull, "ANTIPHON_DATA_DIR": "/dev/null/x"}
    with started(command, r"ready: http://[\d.]+:(\d+)", environment) as running:
        yield running


@contextlib.contextmanager
def llama_server(
    python: str, *arguments: str, model: Path = MODEL, cells: int = CELLS
) -> Iterator[Running]:
    """The peer on the built-in model, or another, and a free port, run by `python`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("llama_server.py")
    command = [python, str(script), str(model), "--port", str(port), "--cells", str(cells)]
    with started([*command, *arguments], r"listening on .*?:(\d+)", dict(os.environ)) as running:
        yield running


@contextlib.contextmanager
def started(command: Sequence[str], ready: str, environment: dict[str, str]) -> Iterator[Running]:
    """A server that prints a line with its port when it can answer."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(ready, line):
                yield Running(int(found[1]), process.pid)
                return
        raise SystemExit(f"{command[0]} ended before it was ready")
    finally:
        process.terminate()
        process.wait(20)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
