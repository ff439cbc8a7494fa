"""The tokenizer: byte-level BPE as llama.cpp's pre-tokenizer `qwen2`, and rows for training.

Special tokens come last in the vocabulary. A prompt is tokenised run by run between special
tokens, exactly as the server does it.
"""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dialogues import Dialogue
from jinja2 import Environment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
VOCAB = 4096
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = [
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]
SPARE = [f"<|spare_{number}|>" for number in range(7)]  # control tokens for later versions
SPECIAL = CONTROL + USER_DEFINED + SPARE
NO_TARGET = -1

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Row(NamedTuple):
    """Token ids of a dialogue, and the same where the model speaks, NO_TARGET elsewhere."""

    ids: list[int]
    targets: list[int]


def train(texts: Iterable[str], path: Path) -> Tokenizer:
    """Train on plain texts and save."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(
        [AddedToken(text, special=text not in USER_DEFINED, normalized=False) for text in SPECIAL]
    )
    assert tokenizer.get_vocab_size() == VOCAB, tokenizer.get_vocab_size()
    tokenizer.save(str(path))
    return tokenizer


class Encoder:
    """Dialogues to rows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._start = tokenizer.token_to_id("<|im_start|>")
        self._end = tokenizer.token_to_id("<|im_end|>")
        self._newline = self._plain("\n")
        environment = Environment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
        self._template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def row(self, dialogue: Dialogue) -> Row:
        row = Row([], [])
        if dialogue.tools:
            self._add(row, self._plain(self._with_tools(dialogue)))
        elif dialogue.system:
            self._turn(row, "system\n" + dialogue.system)
        thoughts = dialogue.thoughts or [""] * len(dialogue.turns)
        for (user, assistant), thought in zip(dialogue.turns, thoughts, strict=True):
            self._turn(row, "user\n" + user)
            opened = "<think>\n" if thought else ""
            said = f"{thought}\n</think>\n\n{assistant}" if thought else assistant
            self._add(row, [self._start, *self._plain("assistant\n" + opened)])
            self._add(row, [*self._plain(said), self._end], spoken=True)
            self._add(row, self._newline)
        return row

    def _with_tools(self, dialogue: Dialogue) -> str:
        """The system turn as the template writes it. Its special tokens are recognised."""
        system = [{"role": "system", "content": dialogue.system}] if dialogue.system else []
        return self._template.render(messages=system, tools=dialogue.tools)

    def _turn(self, row: Row, text: str) -> None:
        self._add(row, [self._start, *self._plain(text), self._end, *self._newline])

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _add(self, row: Row, ids: list[int], *, spoken: bool = False) -> None:
        row.ids.extend(ids)
        row.targets.extend(ids if spoken else [NO_TARGET] * len(ids))
