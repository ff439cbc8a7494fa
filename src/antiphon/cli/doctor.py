"""`antiphon doctor`: what would be served, on what, and where each setting came from."""

import os
import platform
from collections.abc import Iterator

from antiphon import __version__
from antiphon.cli.serve import assemble, check_exposure, key_check, load_engine, scripted
from antiphon.config import AUTOMATIC, Config, Limits, config_file, setting_names
from antiphon.errors import StartupError
from antiphon.ids import generator

CPU_FEATURES = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "fma", "f16c")


def report(config: Config) -> Iterator[str]:
    """Lines for people. A problem that would keep the server from starting is a line too."""
    yield f"antiphon {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"cpu: {os.cpu_count()} cores, {_cpu_features()}"
    yield ""
    yield "settings"
    for name in setting_names():
        value = getattr(config, name)
        if name == "api_keys":
            value = f"{len(value)} configured" if value else "none"
        elif name in Limits.__dataclass_fields__:
            value = value or "no limit"
        elif name == "data_dir":
            value = str(config.data_directory)
        yield f"  {name:24} {_shown(name, value):24} {config.sources.get(name, 'default')}"
    yield f"  (configuration file: {config_file(os.environ)})"
    yield ""
    yield from _engine(config)


def _engine(config: Config) -> Iterator[str]:
    try:
        check_exposure(config, key_check(config))
        if config.backend == "scripted":
            scripted(config, generator())
            yield f"backend: scripted, {config.script}"
            return
        engine = load_engine(config)
        assemble(config, engine, generator())  # a template that does not parse is a problem too
        info = engine.info
    except StartupError as error:
        yield f"problem: {error}"
        return
    yield "engine"
    rows = {
        "engine": info.engine,
        "model": info.model_name,
        "context": f"{info.context_len:,} tokens",
        "slots": str(info.slots),
        "vocabulary": f"{info.vocab_size:,} tokens",
        "chat template": "from the model file" if info.chat_template else "none: ChatML is used",
        "sampling": f"temperature {info.sampling.temperature}, top_k {info.sampling.top_k}, "
        f"top_p {info.sampling.top_p} (where a request gives none)",
        **info.details,
    }
    for name, value in rows.items():
        yield f"  {name:15} {value}"
    for problem in info.problems:
        yield f"problem: {problem}"


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if value is None:
        return "auto" if name in AUTOMATIC else "none"
    return str(value)


def _cpu_features() -> str:
    """The vector instructions that engines use, as the kernel lists them."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
    except OSError:
        return platform.machine()
    found = [feature for feature in CPU_FEATURES if feature in flags]
    return f"{platform.machine()} with {', '.join(found) or 'no vector instructions that matter'}"
