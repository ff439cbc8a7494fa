"""Conversations for the client side, on top of the official client: history, budget, tools.

    from antiphon import Conversation

    chat = Conversation("any-model", client=anthropic.Anthropic())
    print(chat.say("What is a monad?").text)
    print(chat.say("Give me a concrete example.").text)

It speaks to any server of the Messages API; nothing here knows that Antiphon has one.
"""

from antiphon.conversation.async_conversation import AsyncConversation
from antiphon.conversation.base import Client
from antiphon.conversation.budget import Budget
from antiphon.conversation.conversation import Conversation
from antiphon.conversation.errors import (
    ConversationError,
    OverBudgetError,
    StoreError,
    ToolLimitError,
    TruncatedError,
)
from antiphon.conversation.reply import Reply
from antiphon.conversation.store import Entry, Hit, Store

__all__ = [
    "AsyncConversation",
    "Budget",
    "Client",
    "Conversation",
    "ConversationError",
    "Entry",
    "Hit",
    "OverBudgetError",
    "Reply",
    "Store",
    "StoreError",
    "ToolLimitError",
    "TruncatedError",
]
