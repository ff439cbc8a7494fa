"""What a request passes before it is read: host, shutdown, key, limits. Pure ASGI."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.backends.base import Account
from antiphon.errors import shutting_down
from antiphon.http.auth import KeyCheck
from antiphon.http.limits import RateLimiter
from antiphon.http.policy import Policy

LIMITED = ("/v1/messages", "/v1/messages/count_tokens")


class Gate:
    """Leaves `principal` and `account` in the request's state, and `admission` where limits count.

    Keys are for `/v1`: what is beside it (health, metrics) tells nothing of anybody's content.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy,
        keys: KeyCheck,
        limiter: RateLimiter,
        is_closing: Callable[[], bool],
    ) -> None:
        self._app = app
        self._policy = policy
        self._keys = keys
        self._limiter = limiter
        self._is_closing = is_closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Request(scope).headers, scope["path"]
        self._policy.check_host(headers)
        if not path.startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self._is_closing():
            raise shutting_down()
        state = scope["state"]
        state["principal"] = self._keys.check(headers)
        if path not in LIMITED:
            await self._app(scope, receive, send)
            return
        state["account"] = Account()
        state["admission"] = self._limiter.admit(state["principal"], state["account"])
        try:
            await self._app(scope, receive, send)
        finally:
            state["admission"].release()
