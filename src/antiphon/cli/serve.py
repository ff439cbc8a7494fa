"""`antiphon serve`: the one place that puts the parts together, starts them and stops them."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from antiphon import __version__
from antiphon.backends.native import NativeBackend
from antiphon.backends.router import Router
from antiphon.backends.script import load as load_script
from antiphon.backends.scripted import MODEL, ScriptedBackend
from antiphon.catalog import models
from antiphon.cli import crash
from antiphon.config import Config
from antiphon.engines.base import Engine, Generation, SamplingParams
from antiphon.errors import StartupError
from antiphon.http.app import Status, create_app
from antiphon.http.auth import KeyCheck
from antiphon.http.connection import CONNECTIONS_MAX, Connection
from antiphon.http.policy import Policy, allowed_hosts
from antiphon.ids import NewId, generator
from antiphon.observability import logs
from antiphon.observability.metrics import Metrics
from antiphon.parsing.tool_formats.table import GENERIC, format_of
from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Renderer
from antiphon.rendering.replay import ReplayMap
from antiphon.rendering.signatures import Signer, fingerprint
from antiphon.storage.keys import KeyFile, KeyRing
from antiphon.storage.signing import new_key, signing_key

GRACE_S = 5  # how long running answers may go on after the first Ctrl-C
CLOSE_S = 2  # and then, to send their error
KEEP_ALIVE_S = 75  # idle connections; SDKs keep theirs in a pool
FILES = CONNECTIONS_MAX + 200  # what the process itself has open included
SWITCH_INTERVAL_S = 0.0005  # a busy Python thread otherwise makes an engine step 3 times as long


def serve(config: Config) -> int:
    """Run the server until it is stopped; return the exit code.

    Raises:
        StartupError: it cannot start; nothing has been printed on stdout.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise_file_limit()
    logs.configure(verbose=config.verbose, format=config.log_format)
    keys = key_check(config)
    check_exposure(config, keys)
    with bind(config.host, config.port) as listener, crash.reported(config.data_directory):
        engine = load_engine(config) if config.backend == "native" else None
        if engine is None:
            router = scripted(config, generator())
        else:
            router = assemble(config, engine, generator(), signing_key(config.signing_key_file))
        print(summary(engine) if engine else f"antiphon {__version__}: scripted", file=sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Service(config, engine, router, listener, keys).run())


def raise_file_limit(files: int = FILES) -> None:
    """Let this process open `files` files, or as many as the system lets it: 1,024 is a common
    default, and the connection that is one too many is closed without a word."""
    if os.name != "posix":
        return
    import resource  # is only there

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def key_check(config: Config) -> KeyCheck:
    """Keys of the configuration, and those that `antiphon keys` made."""
    return KeyCheck(config.api_keys, KeyRing(KeyFile(config.key_file)), config.limits)


def check_exposure(config: Config, keys: KeyCheck) -> None:
    """Without keys, only this machine is served, unless the operator says otherwise."""
    if keys.is_open and not (config.is_loopback or config.no_auth):
        raise StartupError(
            f"Listening on {config.host} without keys would serve everyone who can reach it: "
            "make one with 'antiphon keys create NAME', or add --no-auth if that is what you want."
        )


@contextmanager
def bind(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket that does not listen yet: clients are refused until the server is ready."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"The address {host} is not known: {error}.") from error
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        yield listener


def _cannot_listen(host: str, port: int, error: BaseException | None) -> StartupError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        reason = f"port {port} is already in use: stop what uses it, or choose --port"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return StartupError(f"Cannot listen on {host}: {reason}.")


def load_engine(config: Config) -> Engine:
    """
    Raises:
        StartupError: the model cannot be found or loaded, or does not fit.
    """
    if config.engine == "stub":
        from antiphon.engines.stub import StubEngine

        return StubEngine(slots=config.slots, context_len=config.context or 8192)
    from antiphon.engines.llamacpp.engine import LlamaEngine  # loads native code: only here

    return LlamaEngine.load(
        models.model_path(config.model),
        slots=config.slots,
        context=config.context,
        threads=config.threads,
        gpu_layers=config.gpu_layers,
        batch=config.batch,
        step_s=config.step_ms / 1000,
        ram_bytes=None if config.cache_ram is None else config.cache_ram << 20,
        disk_folder=None if config.cache_dir is None else Path(config.cache_dir).expanduser(),
        disk_bytes=None if config.cache_disk is None else config.cache_disk << 20,
    )


def summary(engine: Engine) -> str:
    """One line for the operator: what was loaded."""
    info = engine.info
    context = info.details.get("context", f"{info.context_len} tokens")
    text = (
        f"antiphon {__version__}: {info.model_name} on {info.engine}, "
        f"context {context}; {info.slots} answers at a time"
    )
    if info.chat_template is None:
        text += (
            "\nThe model file has no chat template, so ChatML is used; "
            "a model that was not trained for it answers badly."
        )
    return "\n".join([text, *info.problems])


def assemble(config: Config, engine: Engine, new_id: NewId, key: bytes | None = None) -> Router:
    """Backends over the engine, behind their names. `key` signs thinking; None makes one."""
    info = engine.info
    template = ChatTemplate(
        info.chat_template or CHATML,
        bos_token=info.bos_token or "",
        eos_token=info.eos_token or "",
    )
    source = info.chat_template or CHATML
    profile = probe(template)
    tool_format = (format_of(source) if profile.knows_tools else None) or GENERIC
    vocabulary = fingerprint(engine.tokenizer, info.vocab_size)
    renderer = Renderer(
        profile,
        PromptEncoder(engine.tokenizer),
        begin_id=info.begin_id,
        replays=ReplayMap(),
        signer=Signer(key or new_key(), vocabulary),
    )
    path = models.model_path(config.model) if config.engine == "llamacpp" else None
    name = models.model_id(config.model) if path else info.model_name
    model = models.model_info(
        name,
        display_name=info.model_name,
        context_len=info.context_len,
        path=path,
        thinks=profile.tags is not None,
    )
    backend = NativeBackend(
        engine,
        renderer,
        model,
        new_id,
        tool_format,
        cache_tokens_min=config.cache_min_tokens,
        shares_cache=config.shared_cache,
        request_timeout_s=config.request_timeout,
    )
    aliases = dict.fromkeys([*models.listed_aliases(name), *config.aliases], name)
    return Router({name: backend}, default=name, strict=config.strict_models, aliases=aliases)


def scripted(config: Config, new_id: NewId) -> Router:
    """
    Raises:
        StartupError: no script is named, or it is not one.
    """
    if config.script is None:
        raise StartupError("The scripted backend needs a script: --script FILE.")
    backend = ScriptedBackend(load_script(config.script), new_id)
    return Router({MODEL: backend}, default=MODEL, strict=config.strict_models)


def policy(config: Config) -> Policy:
    """What the configuration says about requests."""
    return Policy(
        strict=config.strict,
        ignore_unsupported=config.unsupported == "ignore",
        allowed_hosts=allowed_hosts(
            config.host, config.allowed_hosts, is_loopback=config.is_loopback
        ),
        cors_origins=config.cors_origins,
    )


class _Server(uvicorn.Server):
    """Leaves signals to `_Service`: uvicorn would raise them again when it has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Service:
    """A running server, from the first request to the last."""

    def __init__(
        self,
        config: Config,
        engine: Engine | None,
        router: Router,
        listener: socket.socket,
        keys: KeyCheck,
    ) -> None:
        self._config = config
        self._engine = engine
        self._router = router
        self._listener = listener
        self._keys = keys
        self._stop = asyncio.Event()
        self._server = _Server(
            uvicorn.Config(
                self._app(),
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # nobody here asks for the client's address
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S + CLOSE_S,
            )
        )

    def _app(self) -> ASGIApp:
        figures = self._engine.metrics if self._engine else dict
        return create_app(
            self._router,
            new_id=generator(),
            keys=self._keys,
            policy=policy(self._config),
            metrics=Metrics(figures),
            status=self._status,
            problem=self._engine.problem if self._engine else lambda: None,
            is_closing=self._stop.is_set,
        )

    def _status(self) -> Status:
        if self._engine is None:
            return {"version": __version__, "model": MODEL}
        model = self._engine.info.model_name
        return {"version": __version__, "model": model, **self._engine.metrics()}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if self._engine is not None:
            await _warm_up(self._engine)
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not (self._server.started or serving.done()):
            await asyncio.sleep(0.01)
        if serving.done():
            await self._close_engine()
            raise _cannot_listen(self._config.host, self._config.port, serving.exception())
        self._announce()
        await asyncio.wait(
            {serving, stop := asyncio.ensure_future(self._stop.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        stop.cancel()
        await self._shut_down(serving)
        return 0

    def _on_signal(self) -> None:
        if self._stop.is_set():
            os._exit(130)  # the second time: now, whatever is running
        self._stop.set()

    async def _shut_down(self, serving: asyncio.Task[None]) -> None:
        """Take no more requests; let running ones finish, then fail the rest with an error."""
        self._server.should_exit = True
        await asyncio.wait({serving}, timeout=GRACE_S)
        await self._close_engine()
        await serving

    async def _close_engine(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    def _announce(self) -> None:
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        url = f"http://{host}:{self._listener.getsockname()[1]}"
        key = "antiphon" if self._keys.is_open else "one-of-your-keys"
        print(f"Antiphon is ready: {url}")
        print(f"export ANTHROPIC_BASE_URL={url}")
        print(f"export ANTHROPIC_API_KEY={key}", flush=True)


async def _warm_up(engine: Engine) -> None:
    """Compute one token, so that "ready" is true and the first request is not the slow one."""
    start = min(engine.info.end_of_generation, default=0)
    job = Generation(prompt=[start], sampling=SamplingParams(temperature=0), max_tokens=1)
    async with aclosing(engine.generate(job)) as chunks:
        async for _ in chunks:
            pass
