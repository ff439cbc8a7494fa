"""What stands in a prompt as tokens, where its text alone would be tokenised another way: answers
that were generated here (`replay.py`), and thinking, which templates leave out of history.

Each gets a mark in its turn's text before the template sees it; the rendered text is cut at the
marks, and the tokens take their places.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from antiphon.rendering.breakpoints import Breakpoint, Marks
from antiphon.rendering.caller_texts import mapped_turn
from antiphon.rendering.profiles import ModelProfile
from antiphon.rendering.prompt_safety import PromptEncoder, Sentinels
from antiphon.rendering.replay import Prefix, ReplayMap, Spoken, meaning
from antiphon.rendering.thinking import Thought
from antiphon.rendering.turns import Turn

type Encode = Callable[[str, bool], list[int]]
"""Rendered text to token ids; whether it goes on after other tokens."""
type Known = tuple[bytes, Spoken]
"""What an answer says, and the latest that said it."""

BEHIND_THINKING = "\n\n"


class Splices:
    """Those of one prompt."""

    def __init__(
        self,
        profile: ModelProfile,
        encoder: PromptEncoder,
        sentinels: Sentinels,
        encode: Encode,
        *,
        replays: ReplayMap | None,
        owner: str,
        thinks: bool,
        marks: Marks | None = None,
    ) -> None:
        self._profile = profile
        self._encoder = encoder
        self._sentinels = sentinels
        self._encode = encode
        self._replays = replays
        self._owner = owner
        self._opening = profile.openings.get(thinks)
        self._marks = marks
        self._put_aside: list[Known | Thought] = []
        self.breakpoints: list[Breakpoint] = []

    def protected(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns with marks, and everything that is a caller's protected."""
        marked: list[Turn] = []
        for role, group in groupby(turns, key=lambda turn: turn.role):
            same = list(group)
            known = self._answer(same) if role == "assistant" else None
            if known is None:
                marked += map(self._protected, same)
            else:
                marks = self.unmarked("".join(turn.text for turn in same))[1]
                marked.append(Turn("assistant", self._mark(known) + marks))
        return marked

    def _answer(self, turns: Sequence[Turn]) -> Known | None:
        """An answer that is known as tokens."""
        if self._replays is None or self._opening is None:
            return None
        if not self._profile.shows_answers_whole and any(turn.calls for turn in turns):
            return None
        said = meaning(self._owner, [part for turn in turns for part in turn.said])
        latest = self._replays.latest(said)
        return None if latest is None else (said, latest)

    def _spoken(self, known: Known, before: bytes) -> Spoken:
        """The answer that was given there, or else the latest that says the same."""
        assert self._replays is not None
        return self._replays.exact(known[0], before) or known[1]

    def put_in(self, rendered: str) -> tuple[list[int], str]:
        """Token ids up to the last mark, and the text behind it."""
        prefix = Prefix()
        ids: list[int] = []
        *heads, tail = rendered.split(self._sentinels.splice)
        has_thought = False  # last of all: the space behind it is there already
        for text, number in zip(heads[::2], heads[1::2], strict=True):
            text = self.marked_text(text, ids)
            text = text.lstrip() if has_thought else text
            what = self._put_aside[int(number)]
            has_thought = isinstance(what, Thought)
            if isinstance(what, Thought):
                ids += self._thinking(text, what, bool(ids))
            else:
                told = self._opening.told if self._opening else ""
                ids += self._encode(text.removesuffix(told), bool(ids))
                ids += self._spoken(what, prefix.digest(ids)).ids
        return ids, tail.lstrip() if has_thought else tail

    def unmarked(self, text: str) -> tuple[str, str]:
        """Text without the marks of breakpoints, and these."""
        return self._marks.taken_from(text) if self._marks else (text, "")

    def marked_text(self, text: str, ids: Sequence[int]) -> str:
        """The text without marks, which goes on behind `ids`; they are written down."""
        if self._marks is None:
            return text
        found = self._marks.found(text, lambda text: self._encode(text, bool(ids)))
        self.breakpoints += [Breakpoint(len(ids) + one.tokens, one.ttl_s) for one in found]
        return self._marks.taken_from(text)[0]

    def begun(
        self,
        prefill: Turn,
        ids: Sequence[int],
        before: Sequence[int],
        tail: str,
        opened: list[int],
    ) -> list[int]:
        """What stands behind `ids`: `tail`, which asks for an answer and is `opened` as tokens, and
        how the answer begins. `before`: the tokens of `tail` in front of what opens it."""
        said = prefill.text.rstrip()
        if not said and not prefill.thoughts:
            return opened
        known = self._answer([prefill]) if said and not prefill.thoughts else None
        if known is not None:
            spoken = self._spoken(known, Prefix().digest([*ids, *before]))
            return opened + self._encoder.cut(spoken.generated, said)
        last: list[int] = []
        for _, thought in prefill.thoughts:
            last += self._thinking(tail, thought, bool(ids or last))
            tail = ""
        text = tail + self._encoder.protect(said, self._sentinels)
        return last + self._encode(text, bool(ids or last))

    def _thinking(self, text: str, thought: Thought, continues: bool) -> list[int]:
        """`text`, which opens an answer or goes on with one, and a thought behind it."""
        tags = self._profile.tags
        assert tags is not None
        text = self._opened_for_thinking(text)
        if thought.ids:
            begun = self._encode(text + tags.start, continues)
            return [*begun, *thought.ids, *self._encode(tags.end + BEHIND_THINKING, True)]
        said = self._encoder.protect(thought.text, self._sentinels)
        return self._encode(text + tags.around(said), continues)

    def _opened_for_thinking(self, text: str) -> str:
        """As the template opens an answer that thinks."""
        tags, thinking = self._profile.tags, self._profile.openings.get(True)
        end = self._opening.end_of(text) if self._opening else None
        if end is None or thinking is None or tags is None:
            return text
        asked = thinking.shared + thinking.asked
        return text.removesuffix(end) + (tags.opened_at(asked) or asked)

    def _protected(self, turn: Turn) -> Turn:
        def protect(text: str) -> str:
            return self._encoder.protect(text, self._sentinels)

        pieces, begin = [], 0
        for place, thought in turn.thoughts:
            pieces += [protect(turn.text[begin:place]), self._mark(thought)]
            begin = place
        pieces.append(protect(turn.text[begin:]))
        return mapped_turn(turn, "".join(pieces), protect)

    def _mark(self, what: Known | Thought) -> str:
        self._put_aside.append(what)
        return f"{self._sentinels.splice}{len(self._put_aside) - 1}{self._sentinels.splice}"
