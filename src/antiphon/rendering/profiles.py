"""What one model's chat template can express, found out by trying it once at start."""

from dataclasses import dataclass
from enum import StrEnum

from antiphon.errors import InvalidRequestError
from antiphon.rendering.chat_template import ChatTemplate

MARK = "antiphon-probe-4711"


class SystemTurns(StrEnum):
    """Where a template keeps a system turn in place."""

    ANYWHERE = "anywhere"
    FIRST = "first"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """A model's chat template and what it supports."""

    template: ChatTemplate
    system_turns: SystemTurns


def probe(template: ChatTemplate) -> ModelProfile:
    """Render marked conversations and see whether the mark arrives, and in its place."""
    middle = [("system", "s"), ("user", "before"), ("system", MARK), ("assistant", "after")]
    if _keeps_order(template, [*middle, ("user", "u")]):
        return ModelProfile(template, SystemTurns.ANYWHERE)
    if _keeps_order(template, [("system", MARK), ("user", "after")]):
        return ModelProfile(template, SystemTurns.FIRST)
    return ModelProfile(template, SystemTurns.NEVER)


def _keeps_order(template: ChatTemplate, turns: list[tuple[str, str]]) -> bool:
    try:
        text = template.render([{"role": role, "content": content} for role, content in turns])
    except InvalidRequestError:
        return False
    at = text.find(MARK)
    before = text.find("before") if any(content == "before" for _, content in turns) else -1
    return before < at < text.rfind("after")
