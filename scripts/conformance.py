"""The official SDK's own generated tests against this server: `make conformance`.

Needs the network on the first run: the source distribution of the SDK, which has its tests in it,
and what they need go to `.cache`. Nothing of it is part of this project.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.checkout import CACHE, ROOT, clean_environment, environment, run, serving, table

SDK = "2.12.0"
PAGE = ROOT / "docs" / "conformance.md"
FOLDER = "tests/api_resources/"
RUNS = ("", "--unsupported ignore")  # the server's flags in each run of the page

# The files that decide, and how many tests each has: a suite that shrank has not passed.
REQUIRED = {
    "test_messages.py": 65,
    "test_models.py": 45,
    "beta/test_messages.py": 60,
    "beta/test_models.py": 45,
}
# Shown, so that nothing is hidden, and not required: these endpoints do not exist yet.
LATER = (
    "messages/test_batches.py",
    "beta/messages/test_batches.py",
    "test_files.py",
    "beta/test_files.py",
)
# The expectation: what may fail in a required file. These cases send every parameter there is,
# and a parameter that is not there yet is answered with 400.
MAY_FAIL = re.compile(r"_with_all_params")
MAY_FAIL_BECAUSE = re.compile(r"^400 .* not supported (yet )?by this server\.")


@dataclass(frozen=True)
class Outcome:
    """One test of the suite: `status` is passed, failed or skipped."""

    file: str
    test: str
    status: str
    reason: str = ""

    @property
    def is_expected(self) -> bool:
        return self.status != "failed" or bool(
            self.file not in REQUIRED
            or (MAY_FAIL.search(self.test) and MAY_FAIL_BECAUSE.match(self.reason))
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--serve-args",
        action="append",
        metavar="FLAGS",
        help='run with these flags of the server instead: --serve-args="--threads 2"',
    )
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    arguments = parser.parse_args()

    source = fetch_source()
    python = make_environment(source)
    runs: dict[str, list[Outcome]] = {}
    for flags in arguments.serve_args or RUNS:
        with serving(shlex.split(flags)) as url:
            runs[flags or "default"] = run_suite(python, source, url)

    text = report(runs)
    print(text)
    if arguments.write:
        PAGE.write_text(page(text, arguments.serve_args or []), encoding="utf-8")
    found = [problem for outcomes in runs.values() for problem in problems(outcomes)]
    print("\n" + "\n".join(found or ["All as expected."]), file=sys.stderr)
    return 1 if found else 0


def fetch_source() -> Path:
    """The unpacked source distribution."""
    folder = CACHE / f"anthropic-{SDK}"
    if not folder.exists():
        print(f"downloading the source of anthropic {SDK}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--no-deps", "--no-binary", ":all:", "--dest", CACHE, f"anthropic=={SDK}")
        shutil.unpack_archive(CACHE / f"anthropic-{SDK}.tar.gz", CACHE, filter="data")
    return folder


def make_environment(source: Path) -> Path:
    """The SDK and what its tests import, in the versions that its authors test with."""
    lock = (source / "requirements-dev.lock").read_text(encoding="utf-8")
    constraints = CACHE / "conformance-constraints.txt"
    pins = [line for line in lock.splitlines() if re.match(r"[\w.-]+==", line)]
    constraints.write_text("\n".join(pins), encoding="utf-8")
    tools = ("pytest", "pytest-asyncio", "respx", "inline-snapshot", "http-snapshot[httpx]")
    return environment("conformance", [f"anthropic[aiohttp]=={SDK}", *tools], constraints)


def run_suite(python: Path, source: Path, url: str) -> list[Outcome]:
    """Run the files in one process: with the SDK's own `-n auto` clients would share the cores."""
    results = CACHE / "conformance.xml"
    results.unlink(missing_ok=True)
    files = [FOLDER + file for file in (*REQUIRED, *LATER)]
    options = ["-o", "addopts=", "-p", "tests._alias_httpx", "-p", "no:cacheprovider", "-q"]
    options += ["--tb=no", "--no-summary", f"--junitxml={results}"]
    subprocess.run(
        [str(python), "-m", "pytest", *options, *files],
        cwd=source,
        env=clean_environment(TEST_API_BASE_URL=url),
        stdout=sys.stderr,
        check=False,  # it has failures; the results say which
    )
    return read_results(results.read_text(encoding="utf-8"))


def read_results(xml: str) -> list[Outcome]:
    """The outcomes in a JUnit file."""
    outcomes = []
    for case in ElementTree.fromstring(xml).iter("testcase"):
        module, _, test_class = case.get("classname", "").rpartition(".")
        file = module.replace(".", "/").removeprefix(FOLDER) + ".py"
        test = f"{test_class}::{case.get('name')}"
        status, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                status, reason = "failed", reason_of(child.get("message", ""))
            elif child.tag == "skipped":
                status, reason = "skipped", child.get("message", "")
        outcomes.append(Outcome(file, test, status, reason))
    return outcomes


def reason_of(message: str) -> str:
    """Status and text of an API error; the first line of anything else."""
    error = re.search(r"Error code: (\d+) - .*?'message': (['\"])(.*?)\2[,}]", message, re.DOTALL)
    return f"{error[1]} {error[3]}" if error else message.strip().split("\n")[0]


def problems(outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as expected in the files that decide."""
    found = [f"FAILED {o.file} {o.test}: {o.reason}" for o in outcomes if not o.is_expected]
    counts = Counter(outcome.file for outcome in outcomes)
    for file, expected in REQUIRED.items():
        if counts[file] != expected:
            found.append(f"{file} has {counts[file]} tests instead of {expected}")
    return found


def report(runs: dict[str, list[Outcome]]) -> str:
    """The table, then what failed, by reason."""
    rows = [["served with", "file", "passed", "failed", "skipped", "of"]]
    for name, outcomes in runs.items():
        for file in (*REQUIRED, *LATER):
            counts = Counter(outcome.status for outcome in outcomes if outcome.file == file)
            columns = [counts[status] for status in ("passed", "failed", "skipped")]
            rows.append([name, file, *map(str, [*columns, counts.total()])])
    parts = [table(rows)]
    for name, outcomes in runs.items():
        parts.append(f"## What failed: {name}")
        parts += failures_by_reason(outcomes) or ["Nothing."]
    return "\n\n".join(parts)


def failures_by_reason(outcomes: Sequence[Outcome]) -> list[str]:
    """A paragraph a reason, a line a file. A test stands once for all clients it is run with."""
    files: defaultdict[str, defaultdict[str, dict[str, None]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for outcome in outcomes:
        if outcome.status == "failed":
            function = outcome.test.split("::")[-1].split("[")[0]
            files[outcome.reason][outcome.file][function] = None
    counts = Counter(outcome.reason for outcome in outcomes if outcome.status == "failed")
    return [
        f"`{reason}` ({counts[reason]} tests)\n\n"
        + "\n".join(f"- `{file}`: {', '.join(tests)}" for file, tests in of_reason.items())
        for reason, of_reason in files.items()
    ]


def page(text: str, serve_args: Sequence[str]) -> str:
    """docs/conformance.md."""
    flags = "".join(f" --serve-args={shlex.quote(each)}" for each in serve_args)
    return f"""\
# The official SDK's own tests

Written by `make conformance ARGS="--write{flags}"` on {datetime.now(UTC):%Y-%m-%d}.

The generated tests in the source distribution of the Python SDK `anthropic` {SDK}, against
`antiphon serve` on the built-in model. They check types, not sense: every answer must decode into
the SDK's own types, strictly.

The message and model files decide. In them, only the `_with_all_params` cases may fail, and only
because a parameter is answered with `… not supported … by this server.` The batches and files
below them belong to endpoints that do not exist yet; what passes there does not ask the server
anything (empty ids, mocked downloads).

{text}
"""


if __name__ == "__main__":
    sys.exit(main())
