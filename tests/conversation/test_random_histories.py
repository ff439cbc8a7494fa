"""Whatever is said, answered, called, pinned, taken back or lost on the way: what is sent is a
legal request within the window, and the history holds what was answered and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.conversation.budget import POLICIES, Budget
from antiphon.conversation.errors import ConversationError
from antiphon.conversation.history import History
from antiphon.conversation.state import sent
from antiphon.conversation.steps import Settings
from antiphon.conversation.tree import append, blocks_of, path
from tests.conversation.simulation import TOKENIZERS, Server, check_legal

TOOL = {"name": "look", "input_schema": {"type": "object"}}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "A" * 400},
}
MARK = {"type": "ephemeral"}

lengths = st.integers(0, 60)
words = st.builds(
    lambda word, n: (word + " ") * n + word, st.sampled_from(["word", "größe", "字"]), lengths
)
said = words | st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, words)
    | st.builds(lambda text: {"type": "text", "text": text, "cache_control": MARK}, words)
    | st.just(IMAGE),
    min_size=1,
    max_size=3,
)
thinking = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words)
text = st.builds(lambda text: {"type": "text", "text": text}, words | st.just(""))
call = st.builds(lambda text: {"type": "tool_use", "name": "look", "input": {"at": text}}, words)
Blocks = list[dict[str, Any]]


def joined(*parts: Blocks) -> Blocks:
    return [block for part in parts for block in part]


thoughts, texts = st.lists(thinking, max_size=1), st.lists(text, max_size=1)
blocks: st.SearchStrategy[Blocks] = st.builds(joined, thoughts, texts)
calls: st.SearchStrategy[Blocks] = st.builds(joined, blocks, st.lists(call, min_size=1, max_size=2))
final = st.tuples(blocks, st.sampled_from(["end_turn"] * 4 + ["refusal", "max_tokens"]))
cut_call = st.tuples(calls, st.just("max_tokens"))
calling = st.tuples(calls, st.just("tool_use"))
result = words | st.builds(lambda text: [{"type": "text", "text": text}, IMAGE], words)


class Turn:
    """One thing that happens, drawn as the conversation goes on."""

    def __init__(self, data: st.DataObject) -> None:
        self.kind = data.draw(st.sampled_from(["say"] * 6 + ["undo", "retry"]), "kind")
        self.content = data.draw(said, "content")
        self.is_pinned = data.draw(st.sampled_from([False] * 5 + [True]), "pinned")
        self.answers = [
            *data.draw(st.lists(calling, max_size=2), "calls"),
            data.draw(final | cut_call, "final"),
        ]
        self.lost_at = data.draw(st.none() | st.none() | st.integers(0, 6), "lost at")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_sent_is_legal_and_within_the_window(
    policy: Any, tokenizer: str, data: st.DataObject
) -> None:
    window = data.draw(st.sampled_from([600, 2_500, 9_000]), "window")
    answers: list[tuple[Sequence[Mapping[str, Any]], str]] = []
    server = Server(window, TOKENIZERS[tokenizer], _drained(answers))
    history = History(
        Settings(
            "m",
            data.draw(st.none() | st.just("Be kind."), "system"),
            [TOOL],
            Budget(policy=policy),
            on_truncated=data.draw(st.sampled_from(["return", "raise"]), "on_truncated"),
            fields={"max_tokens": 100},
        )
    )
    for _ in range(data.draw(st.integers(1, 25), "turns")):
        _happen(Turn(data), history, server, answers, data)


def _drained[T](queue: list[T]) -> Iterator[T]:
    while True:
        yield queue.pop(0)


def _happen(
    turn: Turn, history: History, server: Server, answers: list[Any], data: st.DataObject
) -> None:
    before = history.state
    said_before = path(before.head)
    if turn.kind != "say" and before.previous is None:
        return
    if turn.kind == "undo":
        history.state = history.before_last()
        assert path(history.state.head) == said_before[: len(path(history.state.head))]
        return
    answers[:] = turn.answers
    left = iter(range(turn.lost_at)) if turn.lost_at is not None else None
    server.fails = lambda step: left is not None and next(left, None) is None
    server.results = lambda call: data.draw(result, "result")
    pinned = history.state.pinned
    steps = (
        history.retry() if turn.kind == "retry" else history.say(turn.content, pin=turn.is_pinned)
    )
    try:
        reply = server.run(steps)
    except (ConversationError, ConnectionError):
        assert history.state is before
        return
    said_after = path(history.state.head)
    assert said_after[-len(reply.messages) :] == list(reply.messages)
    if turn.kind == "say":
        assert said_after[: len(said_before)] == said_before
    assert history.state.pinned >= pinned or turn.kind == "retry"
    head = append(history.state.head, "user", "Go on.")
    messages = sent(replace(history.state, head=head))
    check_legal({"model": "m", "max_tokens": 1, "messages": messages, "tools": [TOOL]})
    for index in history.state.pinned:
        for block in blocks_of(said_after[index]):
            assert _is_in(block, messages)


def _is_in(block: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    """But for a breakpoint: there are four at most."""
    plain = {key: value for key, value in block.items() if key != "cache_control"}
    return any(
        plain == {key: value for key, value in other.items() if key != "cache_control"}
        for message in messages
        for other in blocks_of(message)
    )
