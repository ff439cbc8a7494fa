"""Every error a client can see: status ↔ error type ↔ text. The texts clients match live here only.

Two kinds, told apart by whose fault it is. `APIError` is answered to one request in the API's
envelope (spec §7.1). `StartupError` ends the program before it serves: one sentence, exit code 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class StartupError(Exception):
    """The server cannot start. The text is one sentence that says what to do."""


class APIError(Exception):
    """A request fails with `status` and an envelope whose `error.type` is `type`.

    `details` becomes `error.details` (clients read `details.error_code`), `headers` are added to
    the HTTP answer when its headers have not left yet.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = dict(headers or {})


class ConstraintError(Exception):
    """A grammar cannot go on: the answer that it holds fails, and nothing else does."""


class InvalidRequestError(APIError):
    status = 400
    type = "invalid_request_error"


class AuthenticationError(APIError):
    status = 401
    type = "authentication_error"


class PermissionDeniedError(APIError):
    status = 403
    type = "permission_error"


class NotFoundError(APIError):
    status = 404
    type = "not_found_error"


class MethodNotAllowedError(APIError):
    status = 405
    type = "invalid_request_error"


class RequestTimeoutError(APIError):
    status = 408
    type = "timeout_error"


class RequestTooLargeError(APIError):
    status = 413
    type = "request_too_large"


class UnsupportedMediaTypeError(APIError):
    status = 415
    type = "invalid_request_error"


class HeadersTooLargeError(APIError):
    status = 431
    type = "invalid_request_error"


class RateLimitError(APIError):
    status = 429
    type = "rate_limit_error"


class InternalError(APIError):
    status = 500
    type = "api_error"


class GatewayTimeoutError(APIError):
    status = 504
    type = "timeout_error"


class OverloadedError(APIError):
    status = 529
    type = "overloaded_error"


def prompt_too_long(tokens: int, maximum: int) -> InvalidRequestError:
    """Agents parse both numbers and compact their history (spec §7.5)."""
    return InvalidRequestError(f"prompt is too long: {tokens} tokens > {maximum} maximum")


def not_http() -> InvalidRequestError:
    return InvalidRequestError("The request is not valid HTTP.")


def head_too_large(limit: int) -> HeadersTooLargeError:
    return HeadersTooLargeError(f"The headers are larger than {limit:,} bytes.")


def head_timeout(seconds: float) -> RequestTimeoutError:
    return RequestTimeoutError(f"The headers did not arrive within {seconds:g} seconds.")


def model_not_found(name: str) -> NotFoundError:
    return NotFoundError(f"model: {name}")


def invalid_json(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The request body is not valid JSON: {reason}")


def not_supported_yet(path: str, what: str) -> InvalidRequestError:
    """What the API knows and this server cannot do yet: rejected with its path, never dropped."""
    return InvalidRequestError(f"{path}: {what} not supported yet by this server.")


def host_not_allowed(host: str) -> PermissionDeniedError:
    """A page of another origin may reach a loopback server through a name of its own (§7.2)."""
    return PermissionDeniedError(
        f"The host {host!r} is not served here: start the server with --allowed-hosts if it is "
        "a name of this machine."
    )


def rate_limited(
    limit: str, key: str, retry_after_s: int, headers: Mapping[str, str]
) -> RateLimitError:
    """`limit` is a number and what it counts: "50 requests per minute"."""
    return RateLimitError(
        f"This request would exceed the rate limit of {limit} (key: {key}). "
        f"Try again in {retry_after_s} s.",
        headers={**headers, "retry-after": str(retry_after_s)},
    )


def too_many_at_once(limit: int, key: str, headers: Mapping[str, str]) -> RateLimitError:
    return RateLimitError(
        f"This request would exceed the limit of {limit} requests at the same time (key: {key}). "
        "Try again when one has ended.",
        headers={**headers, "retry-after": "1"},
    )


def overloaded(reason: str, retry_after_s: int = 2) -> OverloadedError:
    return OverloadedError(f"Overloaded: {reason}", headers={"retry-after": str(retry_after_s)})


def shutting_down() -> OverloadedError:
    return overloaded("the server is shutting down.", retry_after_s=5)


def timed_out(seconds: float) -> GatewayTimeoutError:
    """What was computed of the prompt stays cached, so a retry goes on from there."""
    return GatewayTimeoutError(
        f"The answer was not complete within {seconds:g} s, which is what this server gives a "
        "request."
    )


def internal_error(request_id: str) -> InternalError:
    """The text of a bug: it names the request so that the server's log can be searched."""
    return InternalError(f"Internal server error. The server's log says more under {request_id}.")


def missing_version() -> InvalidRequestError:
    return InvalidRequestError("anthropic-version: header is required")


def unknown_version(name: str) -> InvalidRequestError:
    return InvalidRequestError(f'anthropic-version: "{name}" is not a valid version')


def unknown_betas(names: Iterable[str]) -> InvalidRequestError:
    values = ", ".join(f"`{name}`" for name in names)
    return InvalidRequestError(
        f"Unexpected value(s) {values} for the `anthropic-beta` header. Please consult our "
        "documentation at docs.anthropic.com or try again without the header."
    )


def thread_not_found() -> NotFoundError:
    return NotFoundError(
        "thread: the previous message is not kept by this server. Send the whole conversation.",
        details={"error_code": "thread_not_found"},
    )


def no_reply(count: int, text: str) -> InvalidRequestError:
    """The scripted backend has no answer to this: a test wants to know why."""
    return InvalidRequestError(
        f"None of the script's {count} replies fits this request (or those that do are used up). "
        f"The last message says: {text!r}"
    )


def engine_step_failed() -> InternalError:
    """A bug below the scheduler. The engine knows no request id; its log has one line about it."""
    return InternalError(
        "The engine failed while it computed this answer. The server's log says more."
    )
