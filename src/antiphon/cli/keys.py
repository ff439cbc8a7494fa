"""`antiphon keys create | list | revoke`: API keys, kept as hashes in the data directory."""

from collections.abc import Iterator

from antiphon.config import Config, Limits
from antiphon.errors import StartupError
from antiphon.storage.keys import Key, KeyFile

NAME_CHARS_MAX = 64

LIMIT_UNITS = {
    "requests_per_minute": "requests/min",
    "input_tokens_per_minute": "input tokens/min",
    "output_tokens_per_minute": "output tokens/min",
    "concurrent_requests": "at a time",
}


def create(config: Config, name: str, limits: Limits) -> Iterator[str]:
    """Make a key; its secret is in the first line and nowhere else.

    Raises:
        StartupError: the name is taken or no name, or the file cannot be written.
    """
    if not (name.isprintable() and name.strip() == name and 0 < len(name) <= NAME_CHARS_MAX):
        raise StartupError(f"A key's name has 1 to {NAME_CHARS_MAX} printable characters.")
    _, secret = KeyFile(config.key_file).create(name, limits)
    yield secret
    yield f"This is the key of '{name}'. It is not kept and cannot be shown again."


def listing(config: Config) -> Iterator[str]:
    keys = KeyFile(config.key_file).all()
    if not keys:
        yield "There are no keys: a server on this machine's own address is open to its users."
        return
    width = max(len(key.name) for key in keys)
    for key in keys:
        state = "in use" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d}"
        yield (
            f"{key.name:<{width}}  {key.start}…  created {key.created_at:%Y-%m-%d}  "
            f"{state:<18}  {_limits(key)}"
        ).rstrip()


def revoke(config: Config, name: str) -> Iterator[str]:
    """
    Raises:
        StartupError: there is no such key in use.
    """
    key = KeyFile(config.key_file).revoke(name)
    yield f"The key of '{key.name}' ({key.start}…) is revoked, in running servers too."


def _limits(key: Key) -> str:
    given = ((getattr(key.limits, name), unit) for name, unit in LIMIT_UNITS.items())
    return ", ".join(f"{value:,} {unit}" for value, unit in given if value is not None)
