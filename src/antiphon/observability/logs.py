"""Logging to stderr: one line an event, no prompts, no keys."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(*, verbose: bool) -> None:
    """Warnings and errors always; a line for every request when `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    logger = logging.getLogger("antiphon")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    # Its complaints about what clients send are theirs, and its own are raised.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
