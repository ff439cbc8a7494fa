"""Conversations for the client side, on top of the official client: history, budget, tools.

    from antiphon import Conversation

    chat = Conversation("any-model", client=anthropic.Anthropic())
    print(chat.say("What is a monad?").text)
    print(chat.say("Give me a concrete example.").text)

It speaks to any server of the Messages API; nothing here knows that Antiphon has one.
"""

from antiphon.conversation.budget import Budget, OverBudgetError
from antiphon.conversation.conversation import AsyncConversation, Conversation
from antiphon.conversation.reply import Reply, TruncatedError

__all__ = [
    "AsyncConversation",
    "Budget",
    "Conversation",
    "OverBudgetError",
    "Reply",
    "TruncatedError",
]
