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


def internal_error(request_id: str) -> InternalError:
    """The text of a bug: it names the request so that the server's log can be searched."""
    return InternalError(f"Internal server error. The server's log says more under {request_id}.")


# Rules across the fields of a request (spec §2.1, §3.1, §3.4, §4.1, §4.3, §7.5). Agents match
# fragments of these and repair their history.


def field_error(path: str, text: str) -> InvalidRequestError:
    """`text` says what is wrong with the field at `path`, union tags included."""
    return InvalidRequestError(f"{path}: {text}" if path else text)


def no_messages() -> InvalidRequestError:
    return field_error("messages", "at least one message is required")


def too_many_messages(count: int, maximum: int) -> InvalidRequestError:
    text = f"List should have at most {maximum} items after validation, not {count}"
    return field_error("messages", text)


def empty_message(index: int) -> InvalidRequestError:
    return field_error(
        f"messages.{index}",
        "all messages must have non-empty content except for the optional final assistant message",
    )


def empty_text(field: str) -> InvalidRequestError:
    return field_error(field, "text content blocks must be non-empty")


def blank_text(field: str) -> InvalidRequestError:
    return field_error(field, "text content blocks must contain non-whitespace text")


def cached_empty_text(path: str) -> InvalidRequestError:
    return field_error(f"{path}.text", "cache_control cannot be set for empty text blocks")


def misplaced_block(path: str, tag: str, side: str) -> InvalidRequestError:
    return field_error(path, f"`{tag}` blocks can only be in `{side}` messages")


def too_many_breakpoints(found: int, maximum: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"A maximum of {maximum} blocks with cache_control may be provided. Found {found}."
    )


def blank_stop_sequence() -> InvalidRequestError:
    return field_error("stop_sequences", "each stop sequence must contain non-whitespace")


def unanswered_tool_use(index: int, ids: Iterable[str]) -> InvalidRequestError:
    return field_error(
        f"messages.{index}",
        f"`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block "
        f"in the next message.",
    )


def unexpected_tool_result(path: str, tool_use_id: str) -> InvalidRequestError:
    return field_error(
        path,
        f"unexpected `tool_use_id` found in `tool_result` blocks: {tool_use_id}. Each "
        f"`tool_result` block must have a corresponding `tool_use` block in the previous message.",
    )


def repeated_tool_result(path: str, tool_use_id: str) -> InvalidRequestError:
    return field_error(
        path,
        f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
        f"{tool_use_id}",
    )


def repeated_tool_use(path: str) -> InvalidRequestError:
    return field_error(path, "`tool_use` ids must be unique")


def repeated_tool_name() -> InvalidRequestError:
    return field_error("tools", "Tool names must be unique.")


def unknown_tool_choice(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"Tool '{name}' not found in provided tools")


def unknown_tool_reference(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"Tool reference '{name}' not found in available tools")


def tool_choice_without_tools() -> InvalidRequestError:
    return InvalidRequestError("tool_choice may only be specified while providing tools")


# What only `--strict` refuses (spec §2.3, §2.4, §3.1, §3.2, §4.1, §7.3, §7.4).


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


def extra_input(field: str) -> InvalidRequestError:
    return field_error(field, "Extra inputs are not permitted")


def prefill_ends_in_whitespace() -> InvalidRequestError:
    return field_error("messages", "final assistant content cannot end with trailing whitespace")


def system_comes_first() -> InvalidRequestError:
    return field_error(
        "messages.0", "use the top-level 'system' parameter for the initial system prompt"
    )


def system_must_follow(index: int) -> InvalidRequestError:
    return field_error(
        f"messages.{index}",
        "role 'system' must follow a user message or an assistant message that ends in the result "
        "of a server tool",
    )


def system_must_precede(index: int) -> InvalidRequestError:
    return field_error(
        f"messages.{index}",
        "role 'system' must precede an assistant message or be the last message",
    )


def assistant_document(path: str) -> InvalidRequestError:
    return field_error(path, "`document` blocks are not permitted in assistant messages")


def user_citations(path: str) -> InvalidRequestError:
    return field_error(path, "`citations` are not permitted on text in user messages")


def all_tools_deferred() -> InvalidRequestError:
    return InvalidRequestError(
        "At least one tool must have defer_loading=false. All tools cannot be deferred."
    )


def deferred_breakpoint(index: int) -> InvalidRequestError:
    return field_error(f"tools.{index}", "cache_control cannot be set for deferred tools")


def top_level_combinator(index: int) -> InvalidRequestError:
    return field_error(
        f"tools.{index}.custom.input_schema",
        "input_schema does not support oneOf, allOf, or anyOf at the top level",
    )


def invalid_schema(index: int, reason: str) -> InvalidRequestError:
    return field_error(
        f"tools.{index}.custom.input_schema",
        "JSON schema is invalid. It must match JSON Schema draft 2020-12 "
        f"(https://json-schema.org/draft/2020-12): {reason}",
    )


def invalid_example(index: int, number: int, reason: str) -> InvalidRequestError:
    return field_error(f"tools.{index}.custom.input_examples.{number}", reason)


def max_tokens_too_large(asked: int, maximum: int, model: str) -> InvalidRequestError:
    return field_error(
        "max_tokens",
        f"{asked} > {maximum}, which is the maximum allowed number of output tokens for {model}",
    )


def schema_too_large(path: str) -> InvalidRequestError:
    return field_error(path, "Schema is too complex for compilation.")


def schema_not_compiled(path: str, reason: str) -> InvalidRequestError:
    """`reason` is the compiler's own, one line."""
    return field_error(path, f"The schema cannot be enforced: {reason}")


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


def prefilled_output() -> InvalidRequestError:
    return field_error(
        "messages", "output_config.format cannot be combined with a last message of the assistant"
    )


def unsupported_keyword(path: str, keyword: str) -> InvalidRequestError:
    return field_error(path, f"'{keyword}' cannot be enforced by this server")


def engine_step_failed() -> InternalError:
    """A bug below the scheduler. The engine knows no request id; its log has one line about it."""
    return InternalError(
        "The engine failed while it computed this answer. The server's log says more."
    )


def too_many_stop_sequences(count: int, maximum: int) -> InvalidRequestError:
    text = f"List should have at most {maximum} items after validation, not {count}"
    return field_error("stop_sequences", text)


def stop_sequences_too_long(maximum: int) -> InvalidRequestError:
    return field_error("stop_sequences", f"all together should have at most {maximum} characters")
