"""What can go wrong in a conversation, beside the client's own errors."""

from antiphon.conversation.reply import Reply


class ConversationError(Exception):
    """Any of the errors below. Whatever is raised, the history is as it was before."""


class OverBudgetError(ConversationError):
    """The conversation does not fit into the window, and nothing may or can leave it."""


class TruncatedError(ConversationError):
    """The answer was cut; `reply` is what there is of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(
            f"The answer was cut ({reply.stop_reason}) after {reply.usage.get('output_tokens')} "
            "tokens: raise max_tokens, or choose on_truncated='continue'."
        )
        self.reply = reply


class ToolLimitError(ConversationError):
    """The model went on calling tools beyond the limit of rounds or seconds. `reply` is its last
    answer."""

    def __init__(self, limit: str, reply: Reply) -> None:
        super().__init__(f"The model called tools for {limit} and did not come to an end.")
        self.reply = reply


class StoreError(ConversationError):
    """The file of conversations cannot be used, or does not have what was asked for. `reply` is an
    answer that could not be stored."""

    reply: Reply | None = None
