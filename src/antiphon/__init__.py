"""Antiphon: a self-hosted implementation of the Messages API."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_CONVERSATION = ("AsyncConversation", "Budget", "Conversation", "Reply", "TruncatedError")


def __getattr__(name: str) -> Any:
    """The conversation library, imported when it is asked for: the server does not need it."""
    if name in _CONVERSATION:
        return getattr(import_module("antiphon.conversation"), name)
    raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
