"""One frozen configuration: flag over environment over file over default, each with its source."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from antiphon.errors import StartupError

ENV_PREFIX = "ANTIPHON_"
CHOICES = {
    "engine": ("llamacpp", "stub"),
    "backend": ("native", "scripted"),
    "unsupported": ("reject", "ignore"),
    "log_format": ("human", "json"),
}
AUTOMATIC = ("context", "threads", "gpu_layers", "cache_ram", "cache_disk")  # None computes them, or "auto"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may use; None is no limit."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    def over(self, default: "Limits") -> "Limits":
        """These limits, and those of `default` where there is none of their own."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(default, **{name: value for name, value in own.items() if value})


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Config:
    """What the server runs with. `sources` says where each value came from, for `doctor`.

    `context` counts the tokens of the longest conversation; None computes it from the model and
    the free memory, and so it is with all of `AUTOMATIC`. `api_keys` has no flag: command lines are
    visible to every user of a machine. The limits are those of a key that has none of its own.
    """

    model: str = "antiphon-demo"  # a catalog name or the path of a GGUF file
    engine: str = "llamacpp"
    backend: str = "native"
    script: str | None = None
    host: str = "127.0.0.1"
    port: int = 8642
    slots: int = 8
    context: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    batch: int = 512
    step_ms: int = 200
    request_timeout: int | None = None  # seconds
    cache_ram: int | None = None
    cache_dir: str | None = None
    cache_disk: int | None = None
    cache_min_tokens: int = 1024
    shared_cache: bool = False
    strict_models: bool = False
    no_auth: bool = False
    api_keys: tuple[str, ...] = ()
    data_dir: str | None = None
    aliases: tuple[str, ...] = ()
    strict: bool = False
    unsupported: str = "reject"
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    log_format: str = "human"
    verbose: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def limits(self) -> Limits:
        return Limits(**{f.name: getattr(self, f.name) for f in fields(Limits)})

    @property
    def data_directory(self) -> Path:
        return data_directory(self.data_dir, os.environ)

    @property
    def key_file(self) -> Path:
        """Where `antiphon keys` keeps them."""
        return self.data_directory / "keys.sqlite3"

    @property
    def signing_key_file(self) -> Path:
        return self.data_directory / "signing.key"


def data_directory(configured: str | None, env: Mapping[str, str]) -> Path:
    """What outlives the process is kept here; nothing is created by asking."""
    if configured is not None:
        return Path(configured).expanduser()
    home = env.get("XDG_DATA_HOME") or Path(env.get("HOME", "~")).expanduser() / ".local/share"
    return Path(home) / "antiphon"


def config_file(env: Mapping[str, str]) -> Path:
    """The file that is read when it exists: `$ANTIPHON_CONFIG`, else the user's own."""
    if ENV_PREFIX + "CONFIG" in env:
        return Path(env[ENV_PREFIX + "CONFIG"])
    home = env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config"
    return Path(home) / "antiphon" / "config.toml"


def load(flags: Mapping[str, Any], env: Mapping[str, str] = os.environ) -> Config:
    """Merge the layers. `flags` holds only what the user gave.

    Raises:
        StartupError: a value has the wrong type, a key is unknown, or the file is not TOML.
    """
    path = config_file(env)
    if ENV_PREFIX + "CONFIG" in env and not path.exists():
        raise StartupError(f"ANTIPHON_CONFIG names {path}, and there is no such file.")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in (
        (str(path), _read_file(path)),
        ("environment", _read_environment(env)),
        ("command line", flags),
    ):
        for key, value in layer.items():
            where = f"{ENV_PREFIX}{key.upper()}" if source == "environment" else source
            values[key] = _checked(key, value, where)
            sources[key] = where
    config = Config(**values, sources=sources)
    _check_ranges(config)
    return config


def setting_names() -> list[str]:
    return [f.name for f in fields(Config) if f.name != "sources"]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"The configuration file {path} cannot be read: {error}.") from error


def _read_environment(env: Mapping[str, str]) -> dict[str, str]:
    names = {ENV_PREFIX + name.upper(): name for name in setting_names()}
    return {names[key]: value for key, value in env.items() if key in names}


def _checked(key: str, value: Any, source: str) -> Any:
    """Convert one value to the type of its field; text from the environment is parsed."""
    kinds = {f.name: f.type for f in fields(Config)}
    if key not in kinds or key == "sources":
        known = ", ".join(setting_names())
        raise StartupError(f"{source} sets '{key}', which is not a setting (there are: {known}).")
    if key in AUTOMATIC and value == "auto":
        return None
    try:
        return _convert(kinds[key], value)
    except ValueError as error:
        reason = f"{error}, or auto" if key in AUTOMATIC else error
        raise StartupError(f"{source} sets {key} to {value!r}, but {reason}.") from error


def _convert(kind: Any, value: Any) -> Any:
    if kind in (int, int | None):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("a whole number is needed")
        try:
            return int(value)
        except ValueError:
            raise ValueError("a whole number is needed") from None
    if kind is bool:
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        word = str(value).lower()
        if word not in words:
            raise ValueError("true or false is needed")
        return words[word]
    if kind in (str, str | None):
        if not isinstance(value, str) or not value:
            raise ValueError("a text is needed")
        return value
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("a list of texts is needed")
    return tuple(item.strip() for item in items if item.strip())


def _check_ranges(config: Config) -> None:
    limits = {
        "port": (0, 65_535),
        "slots": (1, 128),
        "context": (64, 10_000_000),
        "threads": (1, 1024),
        "gpu_layers": (0, 10_000),
        "batch": (32, 8192),
        "step_ms": (1, 60_000),
        "request_timeout": (1, 10_000_000),
        "cache_ram": (0, 10_000_000),
        "cache_disk": (0, 1_000_000_000),
        "cache_min_tokens": (0, 10_000_000),
        **{f.name: (1, 10**12) for f in fields(Limits)},
    }
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            source = config.sources.get(name, "default")
            raise StartupError(f"{source} sets {name} to {value}; it must be {low} to {high}.")
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            source = config.sources.get(name, "default")
            raise StartupError(f"{source} sets {name} to {value!r}; choose {' or '.join(choices)}.")
