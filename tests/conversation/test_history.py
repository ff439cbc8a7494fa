"""Turns of a conversation without any I/O: what is asked for, what is sent, what is kept."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, repeat
from typing import Any

import pytest

from antiphon.conversation.budget import Budget
from antiphon.conversation.errors import OverBudgetError, ToolLimitError, TruncatedError
from antiphon.conversation.history import History
from antiphon.conversation.state import NOTES, imported, sent
from antiphon.conversation.steps import Calls, Confirm, Count, Create, Settings, Step, Window
from antiphon.conversation.tree import path
from tests.conversation.simulation import TOKENIZERS, Server

TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "name": "look", "input": {"at": "the sky"}}
THOUGHT = {"type": "thinking", "thinking": "I must look.", "signature": "c2lnbmVk"}
Answer = tuple[Sequence[Mapping[str, Any]], str]


def text(words: str, stop_reason: str = "end_turn") -> Answer:
    return [{"type": "text", "text": words}], stop_reason


def server(*answers: Answer, then: Answer | None = None, window: int = 1_000) -> Server:
    """Answers in this order, and then the last of them again and again."""

    def all_of_them() -> Iterator[Answer]:
        yield from answers
        yield from repeat(then or answers[-1])

    return Server(window, TOKENIZERS["words"], all_of_them())


def history(policy: Any = "truncate", **options: Any) -> History:
    fields = {"max_tokens": 100, **options.pop("fields", {})}
    return History(Settings("m", None, budget=Budget(policy=policy), fields=fields, **options))


def talk(history: History, server: Server, turns: Iterable[int]) -> None:
    for turn in turns:
        server.run(history.say(f"This is turn {turn} and what is said in it has some length."))


def said_to_the_model(server: Server, at: int = -1) -> str:
    return str(server.requests[at]["messages"])


# Counting -------------------------------------------------------------------------------------


def test_nobody_counts_as_long_as_there_is_certainly_room() -> None:
    one, model = history(), server(text("Yes."), window=100_000)
    talk(one, model, range(20))

    assert model.asked.count("Window") == 1
    assert "Count" not in model.asked


def test_close_to_the_mark_it_is_counted_once_a_turn_at_most() -> None:
    one, model = history(), server(text("Yes, I see, and so it is."))
    talk(one, model, range(100))
    turns = " ".join(model.asked).split("Commit")

    assert max(turn.count("Count") for turn in turns) == 1
    assert sum(turn.count("Count") for turn in turns) < 40


@pytest.mark.parametrize("status", [404, None])
def test_a_server_that_cannot_count_is_estimated(status: int | None) -> None:
    """A 404 is remembered; anything else may go by."""
    one, model = history(), server(text("Yes, I see, and so it is."), window=2_000)
    error = ConnectionError("no")
    error.status_code = status  # type: ignore[attr-defined]
    asked = []

    def run(steps: Any) -> None:
        step = next(steps)
        try:
            while True:
                if isinstance(step, Count):
                    asked.append(step)
                    step = steps.throw(error)
                else:
                    step = steps.send(model._do(step))
        except StopIteration:
            return

    for turn in range(150):  # no request may exceed the window: the server checks
        run(one.say(f"This is turn {turn} and what is said in it has some length."))
    assert one.state.left > 0
    assert len(asked) == 1 if status else len(asked) > 1


def test_without_a_window_nothing_leaves() -> None:
    one, model = history(), server(text("Yes."))
    model.fails = lambda step: isinstance(step, Window)
    model.window = 10**6
    talk(one, model, range(50))

    assert len(model.requests[-1]["messages"]) == 99


def test_another_model_is_asked_for_its_own_window() -> None:
    one, model = history(), server(text("Yes."))
    talk(one, model, range(2))
    one.settings = replace(one.settings, model="other")
    talk(one, model, range(2))

    assert model.asked.count("Window") == 2
    assert model.requests[-1]["model"] == "other"


# Trimming -------------------------------------------------------------------------------------


def test_the_prefix_stays_the_same_between_two_trims() -> None:
    one, model = history(), server(text("Yes, I see."))
    talk(one, model, range(100))
    prompts = [request["messages"] for request in model.requests]
    breaks = [
        number
        for number, (before, after) in enumerate(pairwise(prompts))
        if after[: len(before)] != before
    ]

    assert len(breaks) >= 3
    assert min(later - earlier for earlier, later in pairwise(breaks)) >= 7


def test_undo_brings_back_what_had_left() -> None:
    one, model = history(), server(text("Yes, I see."))
    before = sent(one.state)
    while one.state.left == 0:
        before = sent(one.state)
        talk(one, model, [1])
    one.state = one.before_last()

    assert sent(one.state) == before


def test_earlier_notes_are_condensed_with_what_leaves_next() -> None:
    one, model = history("summarise"), server(text("Yes, I see."))
    talk(one, model, range(80))

    assert len(model.summaries) >= 2
    assert "They spoke." not in model.summaries[0]
    assert all("They spoke." in asked for asked in model.summaries[1:])
    first = sent(one.state)[0]
    assert first["content"][0]["text"] == NOTES + "They spoke."
    gone = [str(message["content"]) for message in path(one.state.head)[: one.state.left]]
    assert all(any(said in asked for asked in model.summaries) for said in gone[::2])


def test_a_summary_that_fails_leaves_the_notes_that_there_are() -> None:
    one, model = history("summarise"), server(text("Yes, I see."))
    while not one.state.notes:
        talk(one, model, [1])
    model.fails = lambda step: isinstance(step, Create) and not step.shown
    left = one.state.left
    talk(one, model, range(40))

    assert one.state.left > left
    assert one.state.notes == "They spoke."


def test_what_is_much_longer_than_the_window_is_condensed_in_pieces() -> None:
    messages = [
        {"role": role, "content": f"{turn} " + "long " * 300}
        for turn in range(8)
        for role in ("user", "assistant")
    ]
    one, model = history("summarise"), server(text("Yes."))
    one.state = imported(messages)
    talk(one, model, [1])

    assert len(model.summaries) > 1
    assert model.summaries[0].count("long") > 100


def test_what_is_pinned_stays_with_its_answer_and_its_calls() -> None:
    one, model = history(tools=[TOOL]), server(([CALL], "tool_use"), text("It is blue."))
    model.run(one.say("Look up.", pin=True))
    talk(one, model, range(60))

    assert one.state.left > 20
    assert [message["role"] for message in sent(one.state)[:4]] == ["user", "assistant"] * 2
    assert "Look up." in said_to_the_model(model)
    assert "sunny" in said_to_the_model(model)


def test_what_was_pinned_is_still_pinned_when_it_is_said_again() -> None:
    one, model = history(), server(text("Yes."))
    model.run(one.say("My name is Ann.", pin=True))
    model.run(one.retry())
    talk(one, model, range(60))

    assert one.state.left > 0
    assert "My name is Ann." in said_to_the_model(model)


def test_a_result_that_is_too_long_is_cut_and_the_model_told() -> None:
    one, model = history(tools=[TOOL]), server(([CALL], "tool_use"), text("It is long."))
    model.results = lambda call: "word " * 5_000
    reply = model.run(one.say("Look."))

    (result,) = model.requests[-1]["messages"][-1]["content"]
    assert result["content"].startswith("word word")
    assert result["content"].endswith("of 25,000 characters of this result]")
    assert len(result["content"]) > 500
    assert path(one.state.head)[2]["content"][0]["content"] == "word " * 5_000
    assert reply.text == "It is long."


def test_in_one_long_turn_the_oldest_results_give_way() -> None:
    one = history(tools=[TOOL])
    model = server(*[([CALL], "tool_use")] * 9, text("Done."))
    model.results = lambda call: "word " * 200
    model.run(one.say("Look nine times."))

    results = [m["content"][0]["content"] for m in model.requests[-1]["messages"][2::2]]
    assert results[0] == "[no room here for 1,000 of 1,000 characters of this result]"
    assert results[-1] == "word " * 200


def test_who_refuses_to_shorten_gets_an_error() -> None:
    one, model = history("refuse", tools=[TOOL]), server(([CALL], "tool_use"), text("Done."))
    model.results = lambda call: "word " * 5_000
    with pytest.raises(OverBudgetError, match="do not fit into 900"):
        model.run(one.say("Look."))

    assert one.state.head is None


def test_the_last_four_breakpoints_are_sent() -> None:
    tool = {**TOOL, "cache_control": {"type": "ephemeral"}}
    one, model = history(tools=[tool]), server(text("Yes."))
    for turn in range(6):
        mark = {"cache_control": {"type": "ephemeral"}}
        model.run(one.say([{"type": "text", "text": f"turn {turn}", **mark}]))

    marked = [message for message in model.requests[-1]["messages"] if "cache_" in str(message)]
    assert [message["content"][0]["text"] for message in marked] == ["turn 3", "turn 4", "turn 5"]


# Answers --------------------------------------------------------------------------------------


def test_retry_that_fails_leaves_the_first_answer() -> None:
    one, model = history(), server(text("First."), text("Second."))
    model.run(one.say("Hello"))
    before = one.state
    model.fails = lambda step: isinstance(step, Create)
    with pytest.raises(ConnectionError):
        model.run(one.retry())
    assert one.state is before

    model.fails = lambda step: False
    assert model.run(one.retry()).text == "Second."
    assert [message["role"] for message in path(one.state.head)] == ["user", "assistant"]
    with pytest.raises(ValueError, match="nothing has been said yet"):
        history().retry()


def test_an_answer_that_goes_on_is_one_block_and_its_usage_adds_up() -> None:
    one = history(on_truncated="continue")
    model = server(text("one two  ", "max_tokens"), text("three ", "max_tokens"), text("four"))
    reply = model.run(one.say("Count."))

    assert reply.blocks == [{"type": "text", "text": "one twothreefour"}]
    sent_prefixes = [request["messages"][1]["content"][0]["text"] for request in model.requests[1:]]
    assert sent_prefixes == ["one two", "one twothree"]
    assert reply.usage["output_tokens"] == 4
    assert reply.usage["input_tokens"] == sum(map(model.count, model.requests))
    assert one.usage["output_tokens"] == 4


def test_an_answer_that_never_ends_is_not_taken_for_a_whole_one() -> None:
    one = history(on_truncated="continue", continuations=3)
    model = server(text("more", "max_tokens"))
    with pytest.raises(TruncatedError) as caught:
        model.run(one.say("Count."))

    assert caught.value.reply.text == "more" * 4
    assert len(model.requests) == 4
    assert one.state.head is None


@pytest.mark.parametrize(
    "answer",
    [
        ([{"type": "text", "text": "So it"}], "model_context_window_exceeded"),
        ([{"type": "text", "text": "Look:"}, CALL], "max_tokens"),
        ([{"type": "text", "text": " "}], "max_tokens"),
        ([THOUGHT], "max_tokens"),
    ],
    ids=["no room", "in a call", "nothing said", "in thought"],
)
def test_what_cannot_be_continued_is_an_error_with_what_there_is(answer: Answer) -> None:
    one, model = history(on_truncated="continue"), server(answer)
    with pytest.raises(TruncatedError) as caught:
        model.run(one.say("Go."))

    assert len(caught.value.reply.blocks) == len(answer[0])
    assert len(model.requests) == 1


def test_a_model_that_takes_no_prefill_leaves_what_there_is() -> None:
    one, model = history(on_truncated="continue"), server(text("So it", "max_tokens"))
    error = ConnectionError("no prefill")
    error.status_code = 400  # type: ignore[attr-defined]
    steps = one.say("Go.")
    assert isinstance(next(steps), Window)
    create = steps.send(None)
    assert isinstance(create, Create)
    assert isinstance(steps.send(model._do(create)), Create)
    with pytest.raises(TruncatedError) as caught:
        steps.throw(error)

    assert caught.value.reply.text == "So it"


def test_a_call_that_was_cut_is_returned_and_not_sent_back() -> None:
    one = history(on_truncated="return", tools=[TOOL])
    cut: Answer = ([{"type": "text", "text": "Look:"}, CALL], "max_tokens")
    model = server(cut, text("Never mind."))
    reply = model.run(one.say("Look."))
    model.run(one.say("And?"))

    assert [block["type"] for block in reply.blocks] == ["text", "tool_use"]
    assert not reply.complete
    assert "tool_use" not in said_to_the_model(model)


def test_a_turn_that_pauses_is_sent_back_as_it_is() -> None:
    searching = [{"type": "text", "text": "I search:"}]
    one = history()
    model = server((searching, "pause_turn"), text("Found."))
    reply = model.run(one.say("Search."))

    assert model.requests[1]["messages"][-1] == {"role": "assistant", "content": searching}
    assert [block["text"] for block in reply.blocks] == ["I search:", "Found."]
    assert len(path(one.state.head)) == 2


def test_thinking_goes_back_as_it_came() -> None:
    one, model = history(tools=[TOOL]), server(([THOUGHT, CALL], "tool_use"), text("Blue."))
    model.run(one.say("Look."))

    assert model.requests[1]["messages"][1]["content"][0] == THOUGHT


def test_an_input_keeps_what_is_null() -> None:
    call = {"type": "tool_use", "name": "look", "input": {"at": None, "in": [{"x": None}]}}
    one, model = history(tools=[TOOL]), server(([call], "tool_use"), text("Nowhere."))
    model.run(one.say("Look."))

    assert model.requests[1]["messages"][1]["content"][0]["input"] == call["input"]


def test_an_answer_without_a_word_leaves_no_empty_message() -> None:
    one, model = history(), server(([], "end_turn"), text("Yes?"))
    model.run(one.say("Hello"))
    model.run(one.say("Hello again"))

    (message,) = model.requests[-1]["messages"]
    assert [block["text"] for block in message["content"]] == ["Hello", "Hello again"]
    assert [message["role"] for message in path(one.state.head)] == ["user", "assistant"] * 2


def test_what_failed_was_paid_for_all_the_same() -> None:
    one, model = history(), server(text("cut", "max_tokens"))
    with pytest.raises(TruncatedError):
        model.run(one.say("Hello"))

    assert one.usage["input_tokens"] > 0
    assert one.usage["output_tokens"] == 1


@pytest.mark.parametrize("nothing", ["", []])
def test_nothing_cannot_be_said(nothing: Any) -> None:
    with pytest.raises(ValueError, match="there is nothing to say"):
        next(history().say(nothing))


def test_a_conversation_has_one_turn_at_a_time() -> None:
    one, model = history(), server(text("Yes."))
    running = one.say("Hello")
    next(running)
    with pytest.raises(RuntimeError, match="one turn at a time"):
        next(one.say("Me too"))
    running.close()

    assert model.run(one.say("Hello")).text == "Yes."


# Calls ----------------------------------------------------------------------------------------


def test_calls_go_on_for_so_many_rounds_and_no_further() -> None:
    one, model = history(tools=[TOOL], tool_rounds=3), server(([CALL], "tool_use"))
    with pytest.raises(ToolLimitError, match="called tools for 3 rounds") as caught:
        model.run(one.say("Look."))

    assert model.asked.count("Calls") == 3
    assert caught.value.reply.stop_reason == "tool_use"
    assert one.state.head is None


class Clock:
    """Runs only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(model: Server, clock: Clock, kind: Any, seconds: float) -> None:
    """Steps of a kind take so long."""

    def take(step: Step) -> bool:
        clock.now += seconds if isinstance(step, kind) else 0
        return False

    model.fails = take


def test_calls_go_on_for_so_long_and_no_longer() -> None:
    clock = Clock()
    settings = Settings("m", None, [TOOL], tool_seconds=100)
    one, model = History(settings, clock=clock), server(([CALL], "tool_use"))
    timed(model, clock, Calls, 40)
    with pytest.raises(ToolLimitError, match="called tools for 100 s"):
        model.run(one.say("Look."))

    assert model.asked.count("Calls") == 3


def test_the_time_in_which_a_person_decides_does_not_count() -> None:
    clock = Clock()
    settings = Settings("m", None, [TOOL], tool_seconds=100)
    one = History(settings, clock=clock)
    model = server(([CALL], "tool_use"), ([CALL], "tool_use"), text("Blue."))
    timed(model, clock, Confirm, 1_000)

    assert model.run(one.say("Look.")).text == "Blue."


# Histories from elsewhere ---------------------------------------------------------------------

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
USE = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([ANSWER], "messages.0: a conversation begins with the user"),
        ([USER, {"role": "robot", "content": "x"}], "messages.1: the role is one of"),
        ([USER, ANSWER, {"role": "user", "content": []}], "messages.2: there is nothing in it"),
        ([USER, {"role": "assistant", "content": [USE]}], "have no results"),
        ([USER, {"role": "assistant", "content": [USE]}, USER], "are answered by results"),
        ([USER, ANSWER, {"role": "user", "content": [RESULT]}], "are answered by results"),
        ([{"role": "user", "content": [USE]}], "only an assistant calls tools"),
    ],
)
def test_what_is_no_history_is_refused(messages: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        imported(messages)


def test_results_may_come_in_several_messages() -> None:
    calls = {"role": "assistant", "content": [USE, {**USE, "id": "t2"}]}
    results = [{"role": "user", "content": [{**RESULT, "tool_use_id": id}]} for id in ("t1", "t2")]
    state = imported([USER, calls, *results, ANSWER, USER, ANSWER])

    assert [message["role"] for message in sent(state)] == ["user", "assistant"] * 3
    assert state.previous is not None
    assert len(path(state.previous.head)) == 5
