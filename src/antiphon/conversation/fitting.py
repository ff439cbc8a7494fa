"""Making room before a request: counting, dropping, condensing, cutting results of tools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from antiphon.conversation.answers import output_tokens_max, reply_of
from antiphon.conversation.budget import (
    BYTES_PER_TOKEN,
    MESSAGE_TOKENS,
    leaving,
    size,
    size_max,
    size_min,
    text_bytes,
)
from antiphon.conversation.errors import OverBudgetError
from antiphon.conversation.state import State, result_text, sent
from antiphon.conversation.steps import Count, Create, Settings, Steps, Window
from antiphon.conversation.summary import (
    NOTES_TOKENS_MAX,
    PIECE_BYTES_MIN,
    PIECES_MAX,
    pieces,
    question,
    transcript_bytes,
)
from antiphon.conversation.tree import (
    Message,
    blocks_of,
    exchange_starts,
    has_results,
    path,
)

TOOLS_TOKENS_MAX = 1_024  # of what a chat template explains about tools, whatever they are
UNLIKE = 1.5  # a part of a conversation has at most so many times the tokens per byte of the whole
CUTS_MAX = 4  # attempts at making a result fit
UNSUPPORTED = (404, 405, 501)  # statuses of a server that cannot do what was asked


class Fitting:
    """For one conversation. `used` is called with the usage of requests made here."""

    def __init__(self, settings: Settings, used: Callable[[Mapping[str, Any]], None]) -> None:
        self._settings = settings
        self._used = used
        self._window = settings.budget.window
        self._is_window_known = self._window is not None
        self._can_count = True

    def fit(self, state: State) -> Steps[State]:
        """The same conversation, sent in so few tokens that there is room for the answer.

        `state.tokens` is what the messages up to the last answer have at most. As long as that and
        the most that the new ones can have is below the mark, nobody is asked. Then the server
        counts; a second time only if what it counted was too much already.

        Raises:
            OverBudgetError: it does not fit, and nothing may or can leave.
        """
        window = yield from self._known_window()
        if window is None:
            return state
        budget = self._settings.budget
        room = window - min(self._settings.max_tokens, window // 4)
        if self._at_most(state) <= budget.high * room:
            return state
        tokens = yield from self._count(state)
        if budget.policy == "refuse":
            if tokens > room:
                raise OverBudgetError(f"{tokens} tokens do not fit into {room}.")
            return state
        mark = int(budget.high * room)
        while tokens > mark:
            trimmed, tokens_max = yield from self._trim(state, tokens, room)
            if trimmed is state:
                break
            state, mark = trimmed, room
            if tokens_max <= room:
                return state
            tokens = yield from self._count(state)
        return state if tokens <= room else (yield from self._cut(state, tokens, room))

    @property
    def window(self) -> int | None:
        """Tokens, as far as it is known yet."""
        return self._window

    # Counting ---------------------------------------------------------------------------------

    def _known_window(self) -> Steps[int | None]:
        if not self._is_window_known:
            try:
                self._window = yield Window(self._settings.model)
                self._is_window_known = True
            except Exception as error:  # a server without this endpoint has conversations too
                self._is_window_known = _is_unsupported(error)
        return self._window

    def _count(self, state: State) -> Steps[int]:
        """By the server; where it cannot, an estimate."""
        if self._can_count:
            try:
                fields = self._settings.counted(sent(state, self._settings.marks_max))
                return int((yield Count(fields)))
            except Exception as error:
                self._can_count = not _is_unsupported(error)
        return self._estimate(state)

    def _at_most(self, state: State) -> int:
        """No server counts more."""
        if state.tokens is not None:
            return state.tokens + size_max(sent(state)[-1])
        fixed = text_bytes([self._settings.system or "", *self._settings.tools])
        fixed += TOOLS_TOKENS_MAX if self._settings.tools else 0
        return fixed + sum(map(size_max, sent(state)))

    def _estimate(self, state: State) -> int:
        if state.tokens is not None:
            return state.tokens + size(sent(state)[-1])
        fixed = text_bytes([self._settings.system or "", *self._settings.tools])
        return fixed // BYTES_PER_TOKEN + sum(map(size, sent(state)))

    # Making room ------------------------------------------------------------------------------

    def _trim(self, state: State, tokens: int, room: int) -> Steps[tuple[State, int]]:
        """Without the oldest exchanges, and the most tokens that are left; the same state if
        nothing may leave."""
        budget = self._settings.budget
        found = leaving(state, tokens, int(budget.low * room))
        if not found.messages:
            return state, tokens
        notes, notes_tokens_max = state.notes, 0
        if budget.policy == "summarise":
            tokens_per_byte = min(1.0, UNLIKE * tokens / transcript_bytes(sent(state)))
            notes, notes_tokens_max = yield from self._condense(
                notes, found.messages, tokens_per_byte
            )
        trimmed = replace(state, left=found.left, notes=notes, tokens=None)
        return trimmed, tokens - sum(map(size_min, found.messages)) + notes_tokens_max

    def _condense(
        self, notes: str, messages: Sequence[Message], tokens_per_byte: float
    ) -> Steps[tuple[str, int]]:
        """New notes, of the earlier ones and of what leaves, and the most tokens that they add.
        When the model gives none, what there was stays, and the messages just leave."""
        assert self._window is not None
        max_tokens = min(NOTES_TOKENS_MAX, self._window // 8)
        of_notes = max(max_tokens, int(len(notes.encode()) * tokens_per_byte))
        room = self._window - max_tokens - of_notes - MESSAGE_TOKENS
        size_bytes_max = int(room / tokens_per_byte) - len(question("-", ""))
        if size_bytes_max < PIECE_BYTES_MIN:
            return notes, 0
        tokens_max = 0
        for piece in pieces(messages, size_bytes_max)[-PIECES_MAX:]:
            asked: Message = {"role": "user", "content": question(notes, piece)}
            try:
                message = yield Create(self._settings.apart([asked], max_tokens), shown=False)
            except Exception:  # whatever went wrong, the conversation goes on
                break
            reply = reply_of(message)
            self._used(reply.usage)
            if reply.text.strip():
                notes = reply.text.strip()
                tokens_max = MESSAGE_TOKENS + (output_tokens_max(reply) or len(notes.encode()))
        return notes, tokens_max

    def _cut(self, state: State, tokens: int, room: int) -> Steps[State]:
        """The turn alone does not fit. Results of tools give way, the oldest first: the model is
        told that something is missing, and may ask for less."""
        said = path(state.head)
        first = exchange_starts(said)[-1]
        results = [index for index in range(first, len(said)) if has_results(said[index])]
        if len(results) > 1:
            cuts = {**state.cuts, **dict.fromkeys(results[:-1], 0)}
            state = replace(state, cuts=cuts, tokens=None)
            tokens = yield from self._count(state)
        for attempts_left in range(CUTS_MAX - 1, -1, -1):
            if tokens <= room or not results:
                break
            share = (tokens - 0.9 * room) / tokens if attempts_left else 1.0
            state = _with_less(state, said[results[-1]], results[-1], share)
            tokens = yield from self._count(state)
        if tokens > room:
            raise OverBudgetError(f"{tokens} tokens do not fit into {room}, and no more can leave.")
        return state


def _with_less(state: State, message: Message, index: int, share: float) -> State:
    """The results in one message cut by as much as is `share` of everything that is sent."""
    texts = [result_text(block) for block in blocks_of(message)]
    longest = state.cuts.get(index, max(map(len, texts)))
    shown = sum(min(longest, len(text)) for text in texts)
    chars = shown - share * sum(len(str(each["content"])) for each in sent(state))
    each = min(int(chars) // len(texts), longest // 2)
    return replace(state, cuts={**state.cuts, index: max(0, each)}, tokens=None)


def _is_unsupported(error: Exception) -> bool:
    status = getattr(error, "status_code", None)
    return status in UNSUPPORTED or isinstance(error, AttributeError | NotImplementedError)
