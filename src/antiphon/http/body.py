"""Request bodies: JSON only, a size limit before anything is buffered (spec §7.6)."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from antiphon.errors import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError

BODY_BYTES_MAX = 32 * 1024 * 1024  # messages and count_tokens
BODY_S = 60  # for the whole body to arrive


async def read_json(request: Request, limit: int = BODY_BYTES_MAX) -> bytes:
    """The whole body.

    Raises:
        UnsupportedMediaTypeError: the content type is not JSON.
        InvalidRequestError: it is compressed, cut off, or too slow.
        RequestTooLargeError: the body is, or says that it is, longer than `limit` bytes.
    """
    content_type = request.headers.get("content-type", "application/json")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaTypeError(
            f"The content type must be application/json, not {content_type!r}: "
            "send the header 'content-type: application/json'."
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InvalidRequestError(
            "Compressed request bodies are not supported: send the body as it is.",
            details={"error_code": "request_body_encoding_unsupported"},
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except ClientDisconnect:
        raise InvalidRequestError("The request body was cut off.") from None
    except TimeoutError:
        raise InvalidRequestError(
            f"The request body did not arrive within {BODY_S} seconds.",
            details={"error_code": "request_body_timeout"},
            headers={"connection": "close"},
        ) from None
    return bytes(body)


def _too_large(limit: int) -> RequestTooLargeError:
    """The connection stays: what is still to come is read and thrown away, for a client that sends
    everything before it looks for an answer would otherwise find a reset and no reason."""
    return RequestTooLargeError(
        f"Request exceeds the maximum size: the body is larger than {limit:,} bytes"
    )
