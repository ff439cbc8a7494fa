"""What the operator decided about requests, independent of any model."""

from dataclasses import dataclass

from starlette.datastructures import Headers

from antiphon.errors import host_not_allowed

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Policy:
    """`allowed_hosts`: values of the Host header, without ports; None is any of them. A name that
    starts with a dot stands for its subdomains, `*` for every host."""

    strict: bool = False  # answer 400 where the hosted API does, see wire/strict.py
    ignore_unsupported: bool = False  # drop what could not be honoured, and name it in a header
    allowed_hosts: tuple[str, ...] | None = None
    cors_origins: tuple[str, ...] = ()

    def check_host(self, headers: Headers) -> None:
        """A web page may point a name of its own at 127.0.0.1 and then read what is served there
        (DNS rebinding). Its requests carry that name.

        Raises:
            PermissionDeniedError: the host is none of the allowed ones.
        """
        host = headers.get("host")
        if self.allowed_hosts is None or host is None:  # only programs send none
            return
        name = _without_port(host.lower())
        if not any(_fits(name, allowed.lower()) for allowed in self.allowed_hosts):
            raise host_not_allowed(host)


def allowed_hosts(
    host: str, configured: tuple[str, ...], *, is_loopback: bool
) -> tuple[str, ...] | None:
    """The hosts that a server on the address `host` answers to: its own names when it listens on
    loopback, and those that are configured; any, where it listens elsewhere and none is."""
    if not is_loopback:
        return configured or None
    own = f"[{host}]" if ":" in host else host
    return (*LOOPBACK_HOSTS, ".localhost", own, *configured)


def _without_port(host: str) -> str:
    """`[::1]:8642` → `[::1]`, `localhost:8642` → `localhost`."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _fits(name: str, allowed: str) -> bool:
    return allowed in ("*", name) or (allowed.startswith(".") and name.endswith(allowed))
