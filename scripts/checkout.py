"""What the commands here share: this checkout's server, and environments under `.cache`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"  # ignored by git; `make clean` removes it


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command that must succeed; its complaints go to the terminal."""
    subprocess.run(command, cwd=cwd, env=clean_environment(), check=True)


def clean_environment(**variables: str) -> dict[str, str]:
    """This environment without what would change an answer: our settings and the clients'."""
    ours = ("ANTIPHON_", "ANTHROPIC_", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | variables


def environment(name: str, requirements: Sequence[str], constraints: Path | None = None) -> Path:
    """The interpreter of a virtual environment with `requirements`, made when it is missing."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    if is_missing(folder, requirements):
        run(sys.executable, "-m", "venv", "--clear", folder)
        limits = ["--constraint", str(constraints)] if constraints else []
        options = ["--quiet", "--disable-pip-version-check", *limits]
        run(python, "-m", "pip", "install", *options, *requirements)
        mark_installed(folder, requirements)
    return python


def is_missing(folder: Path, packages: Sequence[str]) -> bool:
    """Whether `packages` are yet to be installed in `folder`; says so."""
    mark = folder / "installed.txt"
    if mark.exists() and mark.read_text(encoding="utf-8") == "\n".join(packages):
        return False
    print(f"{folder.name}: installing {' '.join(packages)}", file=sys.stderr)
    return True


def mark_installed(folder: Path, packages: Sequence[str]) -> None:
    """Comes last, so that an installation that was interrupted is made again."""
    (folder / "installed.txt").write_text("\n".join(packages), encoding="utf-8")


@contextmanager
def serving(flags: Sequence[str]) -> Iterator[str]:
    """Serve this checkout on a free port; yield the base URL."""
    command = [sys.executable, "-m", "antiphon", "serve", "--port", "0", *flags]
    variables = clean_environment(PYTHONPATH=str(ROOT / "src"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables, text=True) as server:
        assert server.stdout is not None
        try:
            first, _, url = server.stdout.readline().strip().rpartition(" ")
            if first != "Antiphon is ready:":
                raise SystemExit("the server did not start")
            yield url
        finally:
            server.send_signal(signal.SIGINT)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are also aligned in a terminal; the first row is its head."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
