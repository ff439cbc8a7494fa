"""Logging to stderr: one line an event, for people or as JSON; no prompts, no keys."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One object a line. `extra={"fields": {…}}` of a record becomes keys of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(*, verbose: bool, format: str = "human") -> None:
    """Warnings and errors always; a line for every request when `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    human = logging.Formatter(FORMAT, datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter() if format == "json" else human)
    logger = logging.getLogger("antiphon")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    # Its complaints about what clients send are theirs, and its own are raised.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
