"""How a template opens an answer: when it asks for one, and when it shows one that was given.

Some templates put more in front of an answer that they ask for than in front of one that is over,
such as an empty pair of thinking tags. What was generated behind it is only found in a cache again
if the same stands in front of it, so both are found out once, by trying.
"""

from dataclasses import dataclass
from itertools import takewhile

from antiphon.errors import InvalidRequestError
from antiphon.rendering.chat_template import ChatTemplate

QUESTION, ANSWER = "antiphon-question-4711", "antiphon-answer-4711"


@dataclass(frozen=True, slots=True)
class Opening:
    """Texts behind what both have in common."""

    asked: str
    told: str


def opening(template: ChatTemplate) -> Opening | None:
    """None where the two have nothing in common, or the template refuses."""
    question = {"role": "user", "content": QUESTION}
    answer = {"role": "assistant", "content": ANSWER}
    try:
        asked = template.render([question])
        told = template.render([question, answer, question])
    except InvalidRequestError:
        return None
    told = told[: told.find(ANSWER)] if ANSWER in told else ""
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(asked, told, strict=False))
    )
    if QUESTION not in told[:same]:
        return None
    return Opening(asked[same:], told[same:])


def shows_answers_whole(template: ChatTemplate) -> bool:
    """Whether an answer with calls may be given as text, results behind it all the same."""
    result = {"role": "tool", "name": "f", "tool_call_id": "call00001", "content": QUESTION}
    said = [{"role": "user", "content": "u"}, {"role": "assistant", "content": ANSWER}, result]
    try:
        text = template.render(said)
    except InvalidRequestError:
        return False
    return text.count(ANSWER) == 1 and text.find(ANSWER) < text.find(QUESTION)
