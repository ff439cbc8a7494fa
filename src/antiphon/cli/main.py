"""`antiphon`: the commands and their arguments."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from antiphon import __version__
from antiphon.config import CHOICES, Limits
from antiphon.config import load as load_config
from antiphon.errors import StartupError

LIMITS = tuple(Limits.__dataclass_fields__)

Arguments = dict[str, Any]
Add = Callable[..., None]


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
    except BrokenPipeError:  # who read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="antiphon", description="A self-hosted Messages API: one command, a real model."
    )
    parser.add_argument("--version", action="version", version=f"antiphon {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)
    _add_settings(serve)
    doctor = commands.add_parser("doctor", help="say what would be served, and why")
    doctor.set_defaults(run=_doctor)
    _add_settings(doctor)
    _add_chat(commands.add_parser("chat", help="talk to a model in the terminal, or in a pipe"))
    _add_keys(commands.add_parser("keys", help="make, list and revoke API keys"))
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One option for each setting that has one; absent options stay absent."""
    _add_model(command)
    _add_cache(command)
    _add_access(command)


def _add_model(command: argparse.ArgumentParser) -> None:
    add = _adder(command, "the model")
    add("--model", "a model's name or the path of a GGUF file (antiphon-demo)", metavar="NAME|PATH")
    add(
        "--alias",
        "a further name of it, listed too",
        dest="aliases",
        action="append",
        metavar="NAME",
    )
    add("--strict-models", "answer 404 to unknown model names", action="store_true")
    add("--engine", "what computes tokens (llamacpp)", choices=CHOICES["engine"])
    add("--backend", "what answers: a model, or a script (native)", choices=CHOICES["backend"])
    add("--script", "replies of the scripted backend, YAML or JSON", metavar="FILE")
    add("--slots", "answers generated at the same time (8)", type=int, metavar="N")
    add("--context", "tokens of context (auto: as many as fit)", metavar="N|auto")
    add("--threads", "threads that compute (auto: one a core)", metavar="N|auto")
    add("--gpu-layers", "layers on the GPU (auto: all, where there is one)", metavar="N|auto")
    add("--batch", "tokens of prompts that are computed together (512)", type=int, metavar="N")
    add(
        "--step-ms",
        "longest that a prompt may hold up running answers at a time (200)",
        type=int,
        metavar="N",
    )
    add(
        "--request-timeout",
        "seconds that a request may wait and be computed for (as long as it takes)",
        type=int,
        metavar="S",
    )


def _add_cache(command: argparse.ArgumentParser) -> None:
    add = _adder(command, "prompts that are kept")
    add(
        "--cache-ram",
        "MiB of memory for what has left the cells (auto: a quarter of what is free)",
        metavar="MIB|auto",
    )
    add("--cache-dir", "folder for the same, which outlives the server (none)", metavar="DIR")
    add(
        "--cache-disk",
        "MiB of that (auto: a tenth of what is free there, 32 GiB at most)",
        metavar="MIB|auto",
    )
    add("--shared-cache", "let keys share cached prompts", action="store_true")
    add(
        "--cache-min-tokens",
        "shortest prefix that cache_control counts as cached (1024)",
        type=int,
        metavar="N",
    )


def _add_access(command: argparse.ArgumentParser) -> None:
    add = _adder(command, "who may ask, from where")
    add("--host", "address to listen on (127.0.0.1)")
    add("--port", "port to listen on, 0 for a free one (8642)", type=int)
    add("--no-auth", "serve other machines without keys", action="store_true")
    add("--allowed-hosts", "names in the Host header, beside localhost", metavar="NAME,…")
    add("--cors-origins", "web pages that may call from a browser", metavar="URL,…")
    _add_data_dir(add)

    add = _adder(command, "limits of a key that has none of its own (none)")
    _add_limits(add)

    add = _adder(command, "what is answered, what is logged")
    add("--strict", "answer 400 wherever the hosted API does", action="store_true")
    add(
        "--unsupported",
        "fields that cannot be honoured: reject the request, or ignore and name them (reject)",
        choices=CHOICES["unsupported"],
    )
    add("--log-format", "how the log is written (human)", choices=CHOICES["log_format"])
    add("--verbose", "log a line for every request", action="store_true")


def _add_chat(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_chat)
    command.add_argument("prompt", nargs="?", help="ask this, print the answer, and end")
    add = _adder(command, "which model")
    add("--base-url", "a server ($ANTHROPIC_BASE_URL; without, one of its own)", metavar="URL")
    add("--model", "the model's name, or a GGUF file to serve (the server's)", metavar="NAME|PATH")
    add = _adder(command, "the conversation")
    add("--system", "the system prompt", metavar="TEXT")
    add("--max-tokens", "of an answer (1024)", type=int, metavar="N")
    add("--file", "send a text file along", dest="files", action="append", metavar="PATH")
    add("--tools", "let the model call the functions of a Python file", metavar="FILE.py")
    add("--yes", "run tools without asking", action="store_true")
    add("--resume", "go on with a conversation", metavar="ID")
    add("--list", "the conversations that are kept", action="store_true")
    _add_data_dir(add)


def _add_keys(command: argparse.ArgumentParser) -> None:
    commands = command.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key; it is shown once")
    create.set_defaults(run=_create_key)
    create.add_argument("name", help="whose key it is")
    _add_limits(_adder(create, "limits of this key (those of the server)"))
    listing = commands.add_parser("list", help="every key: name, beginning, state, limits")
    listing.set_defaults(run=_list_keys)
    revoke = commands.add_parser("revoke", help="end a key, in running servers too")
    revoke.set_defaults(run=_revoke_key)
    revoke.add_argument("name", help="the key's name, or how it begins")
    for one in (create, listing, revoke):
        _add_data_dir(_adder(one, "settings"))


def _adder(command: argparse.ArgumentParser, title: str) -> Add:
    group = command.add_argument_group(title)

    def add(flag: str, help: str, **kwargs: Any) -> None:
        group.add_argument(flag, help=help, default=argparse.SUPPRESS, **kwargs)

    return add


def _add_data_dir(add: Add) -> None:
    add("--data-dir", "where keys and chats are kept (~/.local/share/antiphon)", metavar="PATH")


def _add_limits(add: Add) -> None:
    for name in LIMITS:
        words = name.replace("_", " ")
        add(f"--{name.replace('_', '-')}", words, type=int, metavar="N")


def _serve(arguments: Arguments) -> int:
    from antiphon.cli.serve import serve

    return serve(load_config(arguments))


def _chat(arguments: Arguments) -> int:
    from antiphon.cli.chat import Options, chat

    return chat(Options(**{key: value for key, value in arguments.items() if value is not None}))


def _doctor(arguments: Arguments) -> int:
    from antiphon.cli.doctor import report

    return _print(report(load_config(arguments)))


def _create_key(arguments: Arguments) -> int:
    from antiphon.cli import keys

    name = arguments.pop("name")
    own = {key: value for key, value in arguments.items() if key in LIMITS}
    config = load_config(arguments)  # checks the numbers, finds the data directory
    return _print(keys.create(config, name, Limits(**own)))


def _list_keys(arguments: Arguments) -> int:
    from antiphon.cli import keys

    return _print(keys.listing(load_config(arguments)))


def _revoke_key(arguments: Arguments) -> int:
    from antiphon.cli import keys

    name = arguments.pop("name")
    return _print(keys.revoke(load_config(arguments), name))


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
