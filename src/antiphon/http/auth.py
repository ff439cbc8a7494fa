"""API keys: both of the API's headers are accepted, either may match (spec §7.2)."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

from antiphon.config import UNLIMITED, Limits
from antiphon.errors import AuthenticationError
from antiphon.storage.keys import KeyRing, digest_of

NO_RETRY = {"x-should-retry": "false"}  # agents otherwise retry a 401 for minutes


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name of a key, and what this key may use. `identity` tells keys apart that have
    had the same name, or the same place in the configuration, one after the other."""

    name: str
    limits: Limits
    identity: str = ""


class KeyCheck:
    """Checks the key of a request. Where there has never been a key, everybody may come in."""

    def __init__(
        self,
        configured: Sequence[str] = (),
        ring: KeyRing | None = None,
        limits: Limits = UNLIMITED,
    ) -> None:
        """`configured`: keys of the configuration; `ring`: keys that `antiphon keys` made;
        `limits`: of everybody whose key has none of its own."""
        self._configured = [key.encode() for key in configured]
        self._ring = ring
        self._limits = limits

    @property
    def is_open(self) -> bool:
        return not self._configured and (self._ring is None or self._ring.is_empty())

    def check(self, headers: Headers) -> Principal:
        """
        Raises:
            AuthenticationError: keys exist and none was given, or none fits.
        """
        if self.is_open:
            return Principal("anonymous", self._limits)
        api_key = headers.get("x-api-key")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        if not api_key and not bearer:
            raise AuthenticationError("x-api-key header is required", headers=NO_RETRY)
        principal = self._principal(api_key) or self._principal(bearer)
        if principal is None:
            text = "invalid x-api-key" if api_key else "invalid bearer token"
            raise AuthenticationError(text, headers=NO_RETRY)
        return principal

    def _principal(self, key: str | None) -> Principal | None:
        """Compares with every key in constant time, so that time tells nothing about them."""
        given = (key or "").encode("latin-1")  # as ASGI decodes headers: the bytes that came
        fits = [hmac.compare_digest(given, known) for known in self._configured]
        if any(fits):
            name = f"key {fits.index(True) + 1}"
            return Principal(name, self._limits, digest_of(given).hex())
        found = self._ring.find(given) if self._ring is not None else None
        if found is None:
            return None
        return Principal(found.name, found.limits.over(self._limits), found.digest.hex())
