"""Rules across the fields of a prompt (spec §3.1, §3.4, §4.1, §4.3, §8.2, §8.4): one function each.

They hold for creating a message and for counting its tokens alike. Each raises the API's error or
returns. What this server cannot do yet is not judged here; a backend rejects it.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise, takewhile

from antiphon.errors import prompts, thread_not_found
from antiphon.wire.content import (
    ContentBlockParam,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from antiphon.wire.messages import CreateMessage, MessageParam, PromptParams, ThinkingEnabled
from antiphon.wire.sources import CacheControl
from antiphon.wire.tools import CustomTool, ToolChoiceAny, ToolChoiceTool
from antiphon.wire.versions import INTERLEAVED, Contract

MESSAGES_MAX = 100_000
BREAKPOINTS_MAX = 4
STOP_SEQUENCES_MAX = 256
STOP_CHARS_MAX = 65_536  # of all stop sequences together


def check(request: PromptParams, contract: Contract) -> None:
    """Raise the first broken rule's `InvalidRequestError`."""
    thread(request)
    message_count(request)
    message_content(request)
    text_blocks(request)
    block_places(request)
    system_text(request)
    tool_pairs(request)
    tool_references(request)
    tool_names(request)
    tool_schemas(request)
    tool_choice(request)
    breakpoints(request)
    thinking_with_tools(request)
    if isinstance(request, CreateMessage):
        stop_sequences(request)
        thinking_budget(request, contract)


def thread(request: PromptParams) -> None:
    """No conversation is kept here. A thread that begins is a request like any other; when the
    client wants to go on with it, its messages are not the whole conversation, and this is the
    code on which the SDK's tool runner sends all of it again (spec §8.9)."""
    asked = request.thread if isinstance(request, CreateMessage) else None
    if isinstance(asked, dict) and asked.get("type") != "create":
        raise thread_not_found()


# Messages and text (spec §3.1) ----------------------------------------------------------------


def message_count(request: PromptParams) -> None:
    if not request.messages:
        raise prompts.no_messages()
    if len(request.messages) > MESSAGES_MAX:
        raise prompts.too_many_messages(len(request.messages), MESSAGES_MAX)


def message_content(request: PromptParams) -> None:
    """Only an assistant may say nothing: a model can answer so, and what a server answered must
    be accepted when it comes back in the history."""
    for index, message in enumerate(request.messages):
        if not message.content and message.role != "assistant":
            raise prompts.empty_message(index)


def text_blocks(request: PromptParams) -> None:
    """Text must say something, except an assistant's (see `message_content`)."""
    for index, message in enumerate(request.messages):
        for place, block in _blocks(index, message):
            if isinstance(block, TextBlock) and (not block.text or block.text.isspace()):
                said = message.role == "assistant" and not block.cache_control
                if not said:
                    _refuse_text(block, _path(place), "messages", blank_allowed=False)


# Blocks that one side only can say: what the model makes, and what answers it (spec §3.3).
_SAID_BY: dict[type[ContentBlockParam], str] = {
    ToolUseBlock: "assistant",
    ThinkingBlock: "assistant",
    RedactedThinkingBlock: "assistant",
    ToolResultBlock: "user",
}


def block_places(request: PromptParams) -> None:
    for index, message in _with_lists(request):
        for place, block in _blocks(index, message):
            side = _SAID_BY.get(type(block), message.role)
            if side != message.role:
                raise prompts.misplaced_block(_path(place), str(block.__struct_config__.tag), side)


def system_text(request: PromptParams) -> None:
    if isinstance(request.system, list):
        for index, block in enumerate(request.system):
            _refuse_text(block, f"system.{index}", "system", blank_allowed=True)


def _refuse_text(block: TextBlock, path: str, field: str, *, blank_allowed: bool) -> None:
    if not block.text:
        raise prompts.cached_empty_text(path) if block.cache_control else prompts.empty_text(field)
    if block.text.isspace() and not blank_allowed:
        raise prompts.blank_text(field)


type Place = tuple[int, int]
"""Index of a message and of a block in its content."""


def _blocks(index: int, message: MessageParam) -> Iterator[tuple[Place, ContentBlockParam]]:
    """Each block with its place. A string is one text block; an empty one is no block."""
    content = message.content
    if isinstance(content, str):
        content = [TextBlock(content)] if content else []
    for at, block in enumerate(content):
        yield (index, at), block


def _with_lists(request: PromptParams) -> list[tuple[int, MessageParam]]:
    """The messages that may hold more than text, with their indices."""
    messages = enumerate(request.messages)
    return [pair for pair in messages if not isinstance(pair[1].content, str)]


def _path(place: Place) -> str:
    return f"messages.{place[0]}.content.{place[1]}"


def stop_sequences(request: CreateMessage) -> None:
    """Every token of the answer is compared with each of them, so there is a limit to both."""
    sequences = request.stop_sequences or []
    if not all(text.strip() for text in sequences):
        raise prompts.blank_stop_sequence()
    if len(sequences) > STOP_SEQUENCES_MAX:
        raise prompts.too_many_stop_sequences(len(sequences), STOP_SEQUENCES_MAX)
    if sum(map(len, sequences)) > STOP_CHARS_MAX:
        raise prompts.stop_sequences_too_long(STOP_CHARS_MAX)


# Tool calls and their results (spec §3.4) -----------------------------------------------------


class _Turn:
    """Consecutive messages of one role, which the API merges: what it calls, what it answers."""

    def __init__(self, role: str, messages: Iterable[tuple[int, MessageParam]]) -> None:
        blocks = [pair for index, message in messages for pair in _blocks(index, message)]
        self.uses: list[tuple[Place, str]] = []
        self.results: list[tuple[Place, str]] = []
        if role == "assistant":
            self.uses = [(place, b.id) for place, b in blocks if isinstance(b, ToolUseBlock)]
        elif role == "user":
            answers = [(place, b) for place, b in blocks if isinstance(b, ToolResultBlock)]
            self.results = [(place, answer.tool_use_id) for place, answer in answers]
        # Results count only where they come before anything else the user says.
        leading = takewhile(
            lambda pair: pair[0][0] == pair[1][0], zip(self.results, blocks, strict=False)
        )
        self.answered = {result[1] for result, _ in leading}


def tool_pairs(request: PromptParams) -> None:
    """Every `tool_use` is answered first thing in the next turn, and nothing else is answered."""
    if not _with_lists(request):
        return
    groups = groupby(enumerate(request.messages), key=lambda pair: pair[1].role)
    nobody = _Turn("", ())
    turns = [nobody, *(_Turn(role, messages) for role, messages in groups), nobody]
    for before, turn in pairwise(turns):
        _unique_uses(before.uses)
        missing = [(place, name) for place, name in before.uses if name not in turn.answered]
        if missing:
            raise prompts.unanswered_tool_use(missing[0][0][0], [name for _, name in missing])
        _expected_results(turn.results, {name for _, name in before.uses})


def _unique_uses(uses: Iterable[tuple[Place, str]]) -> None:
    seen: set[str] = set()
    for place, name in uses:
        if name in seen:
            raise prompts.repeated_tool_use(_path(place))
        seen.add(name)


def _expected_results(results: Iterable[tuple[Place, str]], expected: set[str]) -> None:
    seen: set[str] = set()
    for place, name in results:
        if name not in expected:
            raise prompts.unexpected_tool_result(_path(place), name)
        if name in seen:
            raise prompts.repeated_tool_result(_path(place), name)
        seen.add(name)


def tool_references(request: PromptParams) -> None:
    """A result may refer to tools of the request only (spec §4.5)."""
    names = {getattr(tool, "name", None) for tool in request.tools or ()}
    for name in referred_tools(request):
        if name not in names:
            raise prompts.unknown_tool_reference(name)


def referred_tools(request: PromptParams) -> Iterator[str]:
    """Names of tools that results refer to, which makes deferred ones callable."""
    for index, message in _with_lists(request):
        for _, block in _blocks(index, message):
            if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
                for part in block.content:
                    if isinstance(part, ToolReferenceBlock):
                        yield part.tool_name


# Tools (spec §4.1, §4.3) ----------------------------------------------------------------------


def tool_names(request: PromptParams) -> None:
    names = [tool.name for tool in request.tools or () if isinstance(tool, CustomTool)]
    if len(set(names)) < len(names):
        raise prompts.repeated_tool_name()


def tool_schemas(request: PromptParams) -> None:
    for index, tool in enumerate(request.tools or ()):
        if isinstance(tool, CustomTool) and tool.input_schema.get("type") != "object":
            missing = "type" not in tool.input_schema
            text = "Field required" if missing else "Input should be 'object'"
            raise prompts.field_error(f"tools.{index}.custom.input_schema.type", text)


def tool_choice(request: PromptParams) -> None:
    """A forced call needs something to call. `auto` and `none` without tools change nothing."""
    choice = request.tool_choice
    if isinstance(choice, ToolChoiceAny | ToolChoiceTool) and not request.tools:
        raise prompts.tool_choice_without_tools()
    if isinstance(choice, ToolChoiceTool):
        names = {getattr(tool, "name", None) for tool in request.tools or ()}
        if choice.name not in names:
            raise prompts.unknown_tool_choice(choice.name)


# Thinking (spec §4.3, §8.4) -------------------------------------------------------------------


def thinking_with_tools(request: PromptParams) -> None:
    """Adaptive thinking may be followed by a call that is forced, enabled thinking may not."""
    is_forced = isinstance(request.tool_choice, ToolChoiceAny | ToolChoiceTool)
    if isinstance(request.thinking, ThinkingEnabled) and is_forced:
        raise prompts.thinking_with_forced_call()


def thinking_budget(request: CreateMessage, contract: Contract) -> None:
    """The budget is of one answer, unless thinking is interleaved with tool calls."""
    thinking = request.thinking
    if not isinstance(thinking, ThinkingEnabled) or INTERLEAVED in contract.betas:
        return
    if request.max_tokens <= thinking.budget_tokens:
        raise prompts.thinking_over_max_tokens()


# Cache breakpoints (spec §8.2) ----------------------------------------------------------------


def breakpoints(request: PromptParams) -> None:
    """At most four, none on thinking, long ones first; automatic caching takes one unless the last
    block is marked already."""
    marks = list(_marks(request))
    for path, mark in marks:
        if mark and path.endswith("thinking"):
            raise prompts.field_error(f"{path}.cache_control", "Extra inputs are not permitted")
    automatic = request.cache_control or None
    last = marks[-1][1] if marks else None
    found = sum(bool(mark) for _, mark in marks) + bool(automatic and not last)
    if found > BREAKPOINTS_MAX:
        raise prompts.too_many_breakpoints(found, BREAKPOINTS_MAX)
    if automatic and last and (automatic.ttl or "5m") != (last.ttl or "5m"):
        raise prompts.two_ttls()
    given = [(path, mark) for path, mark in marks if mark]
    given += [("", automatic)] if automatic and not last else []
    for (_, before), (path, mark) in pairwise(given):
        if mark.ttl == "1h" and before.ttl != "1h":
            raise prompts.ttl_order(path)


def _marks(request: PromptParams) -> Iterator[tuple[str, CacheControl | None]]:
    """The path of everything that can be marked, in order, and its mark. A block's path ends with
    its type."""
    for index, tool in enumerate(request.tools or ()):
        yield f"tools.{index}", getattr(tool, "cache_control", None) or None
    for index, text in enumerate(request.system if isinstance(request.system, list) else ()):
        yield f"system.{index}", text.cache_control or None
    for index, message in enumerate(request.messages):
        for place, block in _blocks(index, message):
            path = f"{_path(place)}.{block.__struct_config__.tag}"
            yield path, getattr(block, "cache_control", None) or None
