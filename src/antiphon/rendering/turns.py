"""A request becomes turns: what each side said, called and answered, in order (spec §3).

Turns are what chat templates know: text of one role, an assistant's calls behind its text, and one
result a turn. Blocks that templates do not know (documents, search results) become text here, with
their titles and sources. Blocks that cannot be honoured have been rejected before.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from antiphon.rendering.breakpoints import marked
from antiphon.rendering.replay import Part
from antiphon.rendering.thinking import Thought
from antiphon.rendering.tools import definition
from antiphon.wire.content import (
    BrowserStateBlock,
    ContentBlockParam,
    ContentSource,
    DocumentBlock,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolResultContent,
    ToolUseBlock,
)
from antiphon.wire.messages import MessageParam, PromptParams
from antiphon.wire.sources import PlainTextSource

BLOCK_SEPARATOR = "\n\n"  # between the blocks and merged turns of one side
BILLING_HEADER = "x-anthropic-billing-header:"  # an agent's first system block, not a prompt
ERROR = "Error: "  # before the result of a tool that failed

type ReadThinking = Callable[[ThinkingBlock], Thought] | None
"""What a block of thinking says; None where the model does not think, and none of it is shown."""


class Call(Struct, frozen=True):
    id: str
    name: str
    arguments: Mapping[str, Any]


class Turn(Struct, frozen=True):  # made hundreds of times a request; a dataclass takes 2 µs
    """`result_of` is the call that a turn of role `tool` answers. `thoughts` are what an assistant
    thought, each with its place in the text. `said` is what it said block by block, to find it
    again as tokens (`replay.py`)."""

    role: str  # system, user, assistant, tool
    text: str
    calls: tuple[Call, ...] = ()
    result_of: Call | None = None
    thoughts: tuple[tuple[int, Thought], ...] = ()
    said: tuple[Part, ...] = ()


type MarkOf = Callable[[object], str]
"""A part's cache breakpoint (see `breakpoints.py`), or ""."""


def no_mark(part: object) -> str:
    return ""


def conversation(
    request: PromptParams, read: ReadThinking = None, mark_of: MarkOf = no_mark
) -> list[Turn]:
    """The turns of a request: system first, neighbours of one role merged (spec §3.1). The
    breakpoint of what is no text stands where the next text begins."""
    turns = [Turn("system", _system_text(request, mark_of))]
    speaker = _Speaker(request, read, mark_of)
    speaker.pending = "".join(map(mark_of, (request.tools or [])[-1:]))
    for message in _standing(request.messages):
        turns += speaker.turns(message)
    if speaker.pending:
        turns.append(Turn("assistant", speaker.pending))
    return merged(turn for turn in turns if turn.text or turn.calls or turn.role != "system")


def _standing(messages: Sequence[MessageParam]) -> list[MessageParam]:
    """Without the system messages that were for one turn which is over (`clear_at`, spec §2.2)."""
    users = (at for at, message in enumerate(messages) if message.role == "user")
    last_user = max(users, default=-1)
    return [
        message
        for at, message in enumerate(messages)
        if at > last_user or message.role != "system" or message.clear_at != "next_user_message"
    ]


def _system_text(request: PromptParams, mark_of: MarkOf) -> str:
    system = request.system
    if not isinstance(system, list):
        return system if isinstance(system, str) else ""
    texts = [marked(block.text, mark_of(block)) for block in system]
    if texts and texts[0].startswith(BILLING_HEADER):
        texts = texts[1:]
    return BLOCK_SEPARATOR.join(texts)


class _Spoken:
    """What one side says up to its last call."""

    def __init__(self, role: str) -> None:
        self._role = role
        self.texts: list[str] = []
        self.thoughts: list[tuple[int, Thought]] = []
        self.calls: list[Call] = []

    def think(self, thought: Thought) -> None:
        self.thoughts.append((len(_joined(self._role, self.texts)), thought))

    def turn(self, said: tuple[Part, ...]) -> Turn:
        text = _joined(self._role, self.texts)
        thoughts = tuple(self.thoughts)
        return Turn(self._role, text, tuple(self.calls), thoughts=thoughts, said=said)


class _Speaker:
    """Goes through the messages of one conversation, in order."""

    def __init__(self, request: PromptParams, read: ReadThinking, mark_of: MarkOf) -> None:
        self._read = read
        self._mark_of = mark_of
        self.pending = ""  # breakpoints that wait for a text
        self._calls: dict[str, Call] = {}  # so far, by id
        named = ((getattr(tool, "name", None), tool) for tool in request.tools or ())
        self._tools = {name: tool for name, tool in named if name is not None}

    def turns(self, message: MessageParam) -> Iterator[Turn]:
        """One message may be several turns: text behind a call, and every result."""
        if isinstance(message.content, str):
            text = self._marked(message.content, message)
            yield Turn(message.role, text, said=(("text", message.content),))
            return
        said = said_in(message.content, self._read)
        spoken = _Spoken(message.role)
        for block in message.content:
            if isinstance(block, ToolResultBlock):
                call = self._calls[block.tool_use_id]
                yield Turn("tool", self._marked(self._result_text(block), block), result_of=call)
            elif isinstance(block, ToolUseBlock):
                call = self._calls[block.id] = Call(block.id, block.name, block.input)
                spoken.calls.append(call)
                self.pending += self._mark_of(block)
            elif (text := _text_of(block)) or self._is_thought(block):
                if spoken.calls:  # what comes behind a call begins a turn of its own
                    yield spoken.turn(said)
                    spoken, said = _Spoken(message.role), ()
                if isinstance(block, ThinkingBlock) and self._read:
                    spoken.think(self._read(block))
                else:
                    spoken.texts.append(self._marked(text, block))
        if spoken.texts or spoken.calls or spoken.thoughts or not message.content:
            yield spoken.turn(said)

    def _marked(self, text: str, part: object) -> str:
        begin = len(text) - len(text.lstrip())  # templates trim
        text = text[:begin] + self.pending + marked(text[begin:], self._mark_of(part))
        self.pending = ""
        return text

    def _is_thought(self, block: ContentBlockParam) -> bool:
        return isinstance(block, ThinkingBlock) and self._read is not None

    def _result_text(self, block: ToolResultBlock) -> str:
        content = block.content
        if isinstance(content, str):
            text = content
        else:
            text = BLOCK_SEPARATOR.join(self._result_part(part) for part in content or ())
        if block.is_error and not text.startswith("Error"):
            return ERROR + text
        return text

    def _result_part(self, part: ToolResultContent) -> str:
        """A reference stands for the definition of a tool that can be called from here on."""
        if isinstance(part, ToolReferenceBlock):
            return json.dumps(definition(self._tools[part.tool_name]), ensure_ascii=False)
        assert not isinstance(part, BrowserStateBlock), "the backend rejects it"
        return _text_of(part)


def said_in(blocks: Iterable[object], read: ReadThinking) -> tuple[Part, ...]:
    """What an assistant's blocks say, for `replay.meaning`."""
    parts: list[Part] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            parts.append(("text", block.text))
        elif isinstance(block, ToolUseBlock):
            parts.append(("call", block.name, block.input))
        elif isinstance(block, ThinkingBlock) and read:
            parts.append(("thinking", read(block).text))
    return tuple(parts)


def _text_of(block: ContentBlockParam) -> str:
    match block:
        case TextBlock(text):
            return text
        case DocumentBlock():
            return document_text(block)
        case SearchResultBlock():
            return search_result_text(block)
        case ThinkingBlock() | RedactedThinkingBlock():
            return ""  # thinking is no text; what is redacted nobody can read
    raise AssertionError(f"the backend rejects what cannot be rendered: {type(block).__name__}")


def document_text(block: DocumentBlock) -> str:
    """Title and context before the text, in the tags that models know from their training."""
    source = block.source
    if isinstance(source, PlainTextSource):
        text = source.data
    else:
        assert isinstance(source, ContentSource)
        parts = [source.content] if isinstance(source.content, str) else source.content
        text = BLOCK_SEPARATOR.join(p if isinstance(p, str) else _text_of(p) for p in parts)
    head = [f"<title>{block.title}</title>"] if block.title else []
    head += [f"<context>{block.context}</context>"] if block.context else []
    return "\n".join(["<document>", *head, text, "</document>"])


def search_result_text(block: SearchResultBlock) -> str:
    text = BLOCK_SEPARATOR.join(part.text for part in block.content)
    head = [f"<source>{block.source}</source>", f"<title>{block.title}</title>"]
    return "\n".join(["<search_result>", *head, text, "</search_result>"])


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbours of one role become one turn; every text is copied once. Results stay apart, and
    so does what an assistant said behind a call."""
    groups: list[list[Turn]] = []
    for role, same in groupby(turns, key=lambda turn: turn.role):
        if role == "tool":
            groups += [[turn] for turn in same]
            continue
        group: list[Turn] = []
        for turn in same:
            group.append(turn)
            if turn.calls:
                groups.append(group)
                group = []
        groups += [group] if group else []
    return [group[0] if len(group) == 1 else _as_one(group) for group in groups]


def _as_one(group: Sequence[Turn]) -> Turn:
    texts = [turn.text for turn in group]
    starts = accumulate(map(len, texts), initial=0)  # only assistants think, and theirs is one text
    thoughts = [
        (start + place, thought)
        for start, turn in zip(starts, group, strict=False)
        for place, thought in turn.thoughts
    ]
    return replace(
        group[-1],
        text=_joined(group[0].role, texts),
        thoughts=tuple(thoughts),
        said=tuple(part for turn in group for part in turn.said),
    )


def _joined(role: str, texts: Iterable[str]) -> str:
    """An assistant's text was one text, so its parts join seamlessly."""
    return ("" if role == "assistant" else BLOCK_SEPARATOR).join(texts)
