"""What takes long to render is what nobody has rendered lately."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.backends import rendering_cost
from antiphon.backends.native import RENDER_INLINE_CHARS
from antiphon.backends.rendering_cost import RenderingCost
from antiphon.wire.messages import CountTokens
from antiphon.wire.validation import decode
from tests.backends.test_caching import CONTEXT, backend

LONG = "The river returns the song slowly. " * 250
OTHER = LONG.upper()


def request(*contents: Any, **more: Any) -> CountTokens:
    messages = [{"role": "user", "content": content} for content in contents]
    return decode(json.dumps({"model": "m", "messages": messages, **more}).encode(), CountTokens)


def test_a_text_that_was_rendered_counts_a_third() -> None:
    cost = RenderingCost()
    first = cost.of(request(LONG))
    assert first > len(LONG)
    assert cost.of(request(LONG)) == first  # it has only been looked at

    cost.rendered(request(LONG))
    assert cost.of(request(LONG)) < len(LONG) / 2
    assert cost.of(request([{"type": "text", "text": LONG}])) < len(LONG) / 2
    assert cost.of(request("Why?", system=LONG)) < len(LONG) / 2
    assert cost.of(request(LONG, OTHER)) > len(OTHER)
    assert cost.of(request(LONG + "!")) > len(LONG)
    parts = [{"type": "text", "text": text} for text in (LONG, "And now?")]
    assert cost.of(request(parts)) > len(LONG)  # joined, it is another text


def test_short_texts_and_what_stands_around_them_count_again() -> None:
    cost, many = RenderingCost(), request(*["Go on."] * 400)
    cost.rendered(many)
    assert cost.of(many) > RENDER_INLINE_CHARS


def test_the_texts_that_were_rendered_latest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering_cost, "MESSAGES_MAX", 3)
    cost, asked = RenderingCost(), [request(f"{number} {LONG}") for number in range(4)]
    for number in (0, 1, 2, 0, 3):
        cost.rendered(asked[number])

    assert [cost.of(one) < len(LONG) / 2 for one in asked] == [True, False, True, True]


async def test_only_what_is_new_is_rendered_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    own, in_threads = backend(), []
    to_thread = asyncio.to_thread

    async def recorded(work: Callable[..., Any], asked: CountTokens) -> Any:
        in_threads.append(len(asked.messages))
        return await to_thread(work, asked)

    monkeypatch.setattr(asyncio, "to_thread", recorded)
    counts = [
        (await own.count_tokens(request(*contents), CONTEXT)).input_tokens
        for contents in ([LONG], [LONG], [LONG, OTHER], [LONG, OTHER, "And now?"])
    ]
    assert counts[0] == counts[1] < counts[2] < counts[3]
    assert in_threads == [1, 2]
