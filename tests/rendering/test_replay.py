"""Answers that come back are the tokens that were generated, and never other words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.stub import IM_END, ByteTokenizer
from antiphon.rendering.chat_template import CHATML, ChatTemplate
from antiphon.rendering.profiles import probe
from antiphon.rendering.prompt_safety import PromptEncoder
from antiphon.rendering.renderer import Prompt, Renderer
from antiphon.rendering.replay import Prefix, ReplayMap, Spoken, meaning
from antiphon.wire.content import ContentBlock, TextBlock, ToolUseBlock
from antiphon.wire.messages import CountTokens
from antiphon.wire.validation import decode
from tests.rendering.test_template_families import LLAMA3, MISTRAL

BUILTIN = (Path(__file__).parents[2] / "builtin_model/chat_template.jinja").read_text("utf-8")
# In front of an answer that is asked for: an empty pair of tags, which history does not show.
EMPTY_THINKING = CHATML.replace(
    "<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif"
)
# The other way round: history has a line end more.
LONGER_HISTORY = CHATML.replace(
    "{{ message.content }}", "{{ '\n' if message.role == 'assistant' }}{{ message.content }}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "builtin": BUILTIN,
    "empty thinking": EMPTY_THINKING,
    "longer history": LONGER_HISTORY,
}
WORDS = (b"sun", b"ny", b"sunny", b" and", b" warm", b"get_", b"weather", "é".encode())


class WordTokenizer(ByteTokenizer):
    """Words have tokens of their own, and text can be spelled in many ways."""

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        data, ids = text.encode(), list[int]()
        while data:
            word = max((w for w in WORDS if data.startswith(w)), key=len, default=data[:1])
            ids.append(1000 + WORDS.index(word) if word in WORDS else word[0])
            data = data[len(word) :]
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        return WORDS[token_id - 1000] if token_id >= 1000 else super().token_bytes(token_id)


def renderer(template: str, tokenizer: ByteTokenizer | None = None) -> Renderer:
    encoder = PromptEncoder(tokenizer or WordTokenizer())
    return Renderer(probe(ChatTemplate(template)), encoder, replays=ReplayMap())


def prompt(renderer: Renderer, *messages: Any, owner: str = "") -> Prompt:
    turns = [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate(messages)
    ]
    body = {"model": "m", "messages": turns}
    return renderer.render(decode(json.dumps(body).encode(), CountTokens), owner)


def spelled(text: str) -> list[int]:
    """Letter by letter, as no tokeniser would."""
    return list(text.encode())


def text_of(ids: Sequence[int]) -> str:
    tokenizer = WordTokenizer()
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_text_that_comes_back_is_the_tokens_that_were_generated(template: str) -> None:
    own = renderer(template)
    first = prompt(own, "Rome?")
    answer = spelled("sunny and warm")
    own.remember(first, [TextBlock("sunny and warm")], answer)

    second = prompt(own, "Rome?", "sunny and warm", "And Oslo?")

    assert second.token_ids[: len(first.token_ids) + len(answer)] == first.token_ids + answer


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_what_is_not_known_is_rendered_from_its_text(template: str) -> None:
    own = renderer(template)
    own.remember(prompt(own, "Rome?"), [TextBlock("sunny")], spelled("sunny"))
    plain = Renderer(probe(ChatTemplate(template)), PromptEncoder(WordTokenizer()))

    for messages in (("Rome?", "sun", "And Oslo?"), ("Rome?", "sunny?", "And Oslo?")):
        assert prompt(own, *messages).token_ids == prompt(plain, *messages).token_ids


@pytest.mark.parametrize("name", ["chatml", "llama3", "mistral", "builtin"])
def test_a_call_comes_back_as_the_model_wrote_it(name: str) -> None:
    own = renderer(TEMPLATES[name])
    first = prompt(own, "Rome?")
    answer = spelled('<tool_call>{ "name":"get_weather", "arguments":{"b":1.0,"a":2} }')
    call = ToolUseBlock(id="toolu_1", name="get_weather", input={"b": 1.0, "a": 2})
    own.remember(first, [call], answer)

    # A client in JavaScript sends 1 for 1.0, and another sorts the keys.
    sent = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"a": 2, "b": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "20 degrees"}
    second = prompt(own, "Rome?", [sent], [result])

    assert second.token_ids[: len(first.token_ids) + len(answer)] == first.token_ids + answer
    assert text_of(second.token_ids).endswith("<|im_start|>assistant\n") or name in (
        "llama3",
        "mistral",
    )
    assert "20 degrees" in text_of(second.token_ids[len(first.token_ids) :])


def test_a_conversation_of_many_turns_only_grows() -> None:
    own = renderer(EMPTY_THINKING)
    messages: list[Any] = ["Rome?"]
    for turn in range(12):
        asked = prompt(own, *messages)
        text = f"sunny and warm {turn}"
        answer = spelled(text)
        own.remember(asked, [TextBlock(text)], answer)
        messages += [text, f"And {turn}?"]

        assert prompt(own, *messages).token_ids[: len(asked.token_ids)] == asked.token_ids
        assert _begins(prompt(own, *messages), [*asked.token_ids, *answer])


def _begins(prompt: Prompt, ids: list[int]) -> bool:
    return prompt.token_ids[: len(ids)] == ids


def test_prefill_continues_the_very_tokens_that_said_the_same() -> None:
    own = renderer(EMPTY_THINKING)
    first = prompt(own, "Rome?")
    answer = spelled("sunny and \n")
    own.remember(first, [TextBlock("sunny and \n")], answer)

    continued = prompt(own, "Rome?", "sunny and")  # the API wants no space at its end

    assert continued.token_ids == first.token_ids + spelled("sunny and")

    more = spelled(" warm")
    own.remember(continued, [TextBlock(" warm")], more)
    third = prompt(own, "Rome?", "sunny and warm", "And Oslo?")

    assert _begins(third, continued.token_ids + more)


def test_a_prefill_that_nobody_generated_is_what_its_text_says() -> None:
    own = renderer(CHATML)
    first = prompt(own, "Rome?")

    continued = prompt(own, "Rome?", "sunny ")
    own.remember(continued, [TextBlock(" and")], spelled(" and"))

    assert text_of(continued.token_ids) == text_of(first.token_ids) + "sunny"
    assert _begins(prompt(own, "Rome?", "sunny and", "?"), continued.token_ids + spelled(" and"))


@pytest.mark.parametrize("stopped", ["sun", "sunn", "sunny a", "caf", "café"])
def test_what_follows_a_stop_sequence_is_not_replayed(stopped: str) -> None:
    own = renderer(CHATML)
    first = prompt(own, "Rome?")
    generated = WordTokenizer().encode("café warm" if stopped[0] == "c" else "sunny and warm")
    own.remember(first, [TextBlock(stopped)], generated)

    second = prompt(own, "Rome?", stopped, "?")

    answered = text_of(second.token_ids[len(first.token_ids) :])
    assert answered.startswith(f"{stopped}<|im_end|>")


def test_answers_are_found_by_their_owner_only() -> None:
    own = renderer(CHATML)
    own.remember(prompt(own, "Rome?"), [TextBlock("sunny")], spelled("sunny"), "alice")

    theirs = prompt(own, "Rome?", "sunny", "?", owner="bob").token_ids
    hers = prompt(own, "Rome?", "sunny", "?", owner="alice").token_ids

    assert text_of(theirs) == text_of(hers)
    assert theirs != hers


def test_what_stood_before_decides_between_answers_that_say_the_same() -> None:
    own = renderer(CHATML)
    canonical = WordTokenizer().encode("sunny")
    own.remember(prompt(own, "Rome?"), [TextBlock("sunny")], spelled("sunny"))
    own.remember(prompt(own, "Oslo?"), [TextBlock("sunny")], canonical)

    assert _begins(
        prompt(own, "Rome?", "sunny", "?"), prompt(own, "Rome?").token_ids + spelled("sunny")
    )
    assert _begins(prompt(own, "Oslo?", "sunny", "?"), prompt(own, "Oslo?").token_ids + canonical)


def test_space_and_empty_blocks_that_a_client_drops_do_not_matter() -> None:
    blocks: list[ContentBlock] = [TextBlock("a "), TextBlock("b\n")]
    said = meaning("", [("text", block.text) for block in blocks if isinstance(block, TextBlock)])

    assert said == meaning("", [("text", "a b")]) == meaning("", [("text", ""), ("text", "a b")])
    assert said != meaning("", [("text", "ab")])
    assert said != meaning("text", [("text", "a b")])
    assert said != meaning("", [("call", "a b", {})])


def test_a_conversation_that_says_the_same_again_and_again_only_grows() -> None:
    own = renderer(CHATML)
    messages: list[Any] = ["Rome?"]
    spellings = [spelled("sunny"), WordTokenizer().encode("sunny")]
    for turn in range(40):
        asked = prompt(own, *messages)
        own.remember(asked, [TextBlock("sunny")], spellings[turn * turn % 3 % 2])
        messages += ["sunny", "And now?"]

        assert _begins(prompt(own, *messages), asked.token_ids + spellings[turn * turn % 3 % 2])


def test_the_map_forgets_the_oldest_and_keeps_its_books() -> None:
    answers = ReplayMap(tokens_max=100)
    for number in range(50):
        answers.remember(f"{number}".encode(), b"", Spoken([1] * 10, 0))
        assert answers.exact(b"0", b"")  # used, so it stays

    kept = [n for n in range(50) if answers.latest(f"{n}".encode())]
    assert kept == [0, *range(41, 50)]

    same = ReplayMap(tokens_max=100)
    for number in range(50):
        same.remember(b"yes", bytes([number]), Spoken([number] * 10, 0))
    latest = same.latest(b"yes")
    assert latest
    assert latest.ids[0] == 49
    assert same.exact(b"yes", bytes([39])) is None
    assert same.exact(b"yes", bytes([40]))


def test_a_growing_prefix_is_digested_as_a_whole_one() -> None:
    growing = Prefix()
    growing.digest([1, 2])

    assert growing.digest([1, 2, 3]) == Prefix().digest([1, 2, 3])
    assert growing.digest([1, 2, 3, 4]) != Prefix().digest([1, 2, 3])


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 17, 65_535, 65_536, 70_000])
def test_a_prefix_of_any_length_is_digested_in_parts_as_whole(cut: int) -> None:
    ids = [number * 37 % 200_000 for number in range(70_000)]
    growing = Prefix()
    growing.digest(ids[:cut])

    assert growing.digest(ids) == Prefix().digest(ids)
    assert growing.digest([*ids, 0]) != Prefix().digest(ids)


def test_the_end_of_a_turn_is_the_templates() -> None:
    own = renderer(CHATML)
    first = prompt(own, "Rome?")
    own.remember(first, [TextBlock("sunny")], spelled("sunny"))

    rest = prompt(own, "Rome?", "sunny", "?").token_ids[len(first.token_ids) + len("sunny") :]

    assert rest[0] == IM_END
    assert rest.count(IM_END) == 2
