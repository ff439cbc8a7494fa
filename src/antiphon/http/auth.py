"""API keys: both of the API's headers are accepted, either may match (spec §7.2)."""

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers

from antiphon.errors import AuthenticationError

NO_RETRY = {"x-should-retry": "false"}  # agents otherwise retry a 401 for minutes


class KeyCheck:
    """Checks the key of a request. Without configured keys everybody may come in."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, headers: Headers) -> None:
        """
        Raises:
            AuthenticationError: keys are configured and none was given, or none fits.
        """
        if not self._keys:
            return
        api_key = headers.get("x-api-key")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        if not api_key and not bearer:
            raise AuthenticationError("x-api-key header is required", headers=NO_RETRY)
        if self._is_known(api_key) or self._is_known(bearer):
            return
        text = "invalid x-api-key" if api_key else "invalid bearer token"
        raise AuthenticationError(text, headers=NO_RETRY)

    def _is_known(self, key: str | None) -> bool:
        """Compares with every key in constant time, so that time tells nothing about them."""
        given = (key or "").encode("latin-1")  # as ASGI decodes headers: the bytes that came
        return any(hmac.compare_digest(given, known) for known in self._keys)
