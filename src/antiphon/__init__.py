"""Antiphon: a self-hosted implementation of the Messages API."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.conversation import (
        AsyncConversation,
        Budget,
        Conversation,
        ConversationError,
        OverBudgetError,
        Reply,
        Store,
        StoreError,
        ToolLimitError,
        TruncatedError,
    )

__version__ = "0.1.0"
__all__ = [
    "AsyncConversation",
    "Budget",
    "Conversation",
    "ConversationError",
    "OverBudgetError",
    "Reply",
    "Store",
    "StoreError",
    "ToolLimitError",
    "TruncatedError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """The conversation library, imported when it is asked for: the server does not need it."""
    if name in __all__:
        return getattr(import_module("antiphon.conversation"), name)
    raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
