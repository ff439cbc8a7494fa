"""`antiphon`: the commands and their arguments."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from antiphon import __version__
from antiphon.errors import StartupError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A StartupError is one sentence on stderr and 1."""
    arguments = vars(_parser().parse_args(argv))
    run = arguments.pop("run")
    try:
        return int(run(arguments))
    except StartupError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="antiphon", description="A self-hosted Messages API: one command, a real model."
    )
    parser.add_argument("--version", action="version", version=f"antiphon {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)
    _add_settings(serve)
    serve.add_argument("--verbose", action="store_true", help="log a line for every request")
    doctor = commands.add_parser("doctor", help="say what would be served, and why")
    doctor.set_defaults(run=_doctor)
    _add_settings(doctor)
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One option for each setting that has one; absent options stay absent."""

    def add(flag: str, help: str, **kwargs: Any) -> None:
        command.add_argument(flag, help=help, default=argparse.SUPPRESS, **kwargs)

    add("--model", "a model's name or the path of a GGUF file (antiphon-demo)", metavar="NAME|PATH")
    add("--engine", "what computes tokens (llamacpp)", choices=["llamacpp", "stub"])
    add("--host", "address to listen on (127.0.0.1)")
    add("--port", "port to listen on, 0 for a free one (8642)", type=int)
    add("--slots", "answers generated at the same time (8)", type=int, metavar="N")
    add("--context", "tokens of context (as many as fit)", type=int, metavar="N")
    add("--threads", "threads that compute (one a core)", type=int, metavar="N")
    add("--gpu-layers", "layers on the GPU (all, where there is one)", type=int, metavar="N")
    add("--strict-models", "answer 404 to unknown model names", action="store_true")
    add("--no-auth", "serve other machines without keys", action="store_true")


def _serve(arguments: dict[str, Any]) -> int:
    from antiphon import config
    from antiphon.cli.serve import serve

    verbose = arguments.pop("verbose")
    return serve(config.load(arguments), verbose=verbose)


def _doctor(arguments: dict[str, Any]) -> int:
    from antiphon import config
    from antiphon.cli.doctor import report

    for line in report(config.load(arguments)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
