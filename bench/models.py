"""Models for the benches: real shapes and vocabularies around random weights, made once.

    python -m bench.models

They lie in `.cache/bench/models`. Their words and template are the built-in model's, so that text
tokenises as text does; what the vocabulary lacks to its size is filled up with words that no merge
makes. Answers run to `max_tokens`, and come back as the tokens that were drawn, as those of trained
models nearly always do: embeddings of everything but whole words behind a space are a quarter as
large, which keeps it out of the likeliest hundred, and those of special tokens are zero. Servers
may cut off the space that such an answer begins with, so the template puts it back. The model
files also ask never to draw the tokens that end an answer; not every server listens to that.
"""

import itertools
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import quants

from bench.serving import ROOT

EDITION = 1  # of what is written below: a change of it needs a new number
FOLDER = ROOT / ".cache/bench/models"
BUILTIN = ROOT / "builtin_model"
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
ENDS = ["<|im_end|>", "<|endoftext|>"]
SPACE = "Ġ"  # in byte-level vocabularies
DRAWN = re.compile(f"{SPACE}[A-Za-z]+")
FIRST, OTHER = re.compile("[A-Z][a-z]+"), re.compile(f"{SPACE}[a-z]{{3,}}")  # words of prompts
SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvz" for vowel in "aeiou"]
SAID = "{{- message.content or '' -}}"  # where the template writes an answer
SPACE_FIRST = "{%- if message.content and message.content[0] != ' ' -%}{{- ' ' -}}{%- endif -%}"
Q8_0 = gguf.GGMLQuantizationType.Q8_0
FILE_TYPE_Q8_0 = 7
DEVIATION = 0.02  # of all weights
UNLIKELY = 0.25  # of that, for the embeddings of what is not to be drawn


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen3, whose output is tied to its embeddings."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    feed_forward: int
    vocab_size: int
    context: int


SMALL = Shape("small", 28, 1024, 16, 8, 128, 3072, 151_936, 40_960)
TINY = Shape("tiny", 2, 128, 4, 2, 32, 256, 4_200, 65_536)
WIDE = Shape("wide", 2, 128, 32, 32, 128, 256, 4_200, 65_536)


def small_model() -> Path:
    """The shape of Qwen3 0.6B: what a small machine really serves. 640 MB, made in a minute."""
    return made(SMALL)


def tiny_model() -> Path:
    """For what is counted, and for what a server costs beside its model: it computes next to
    nothing."""
    return made(TINY)


def wide_model() -> Path:
    """As little to compute, but 32 KiB of keys and values a token: a cache is full soon."""
    return made(WIDE)


BY_NAME = {"small": small_model, "tiny": tiny_model, "wide": wide_model}


def made(shape: Shape, folder: Path = FOLDER) -> Path:
    """The file of a model; written if it is not there yet, and there whole or not at all."""
    path = folder / f"{shape.name}-{EDITION}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            write(shape, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def vocabulary(size: int) -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types, merges."""
    trained = json.loads((BUILTIN / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = trained["model"]["vocab"]
    special = {token["content"] for token in trained["added_tokens"]}
    tokens = [token for token in sorted(ids, key=ids.__getitem__) if token not in special]
    types = [gguf.TokenType.NORMAL] * len(tokens)
    tokens += CONTROL + USER_DEFINED
    types += [gguf.TokenType.CONTROL] * len(CONTROL)
    types += [gguf.TokenType.USER_DEFINED] * len(USER_DEFINED)
    known = set(tokens)
    words = (SPACE + "".join(parts) for parts in itertools.product(SYLLABLES, repeat=4))
    new = (word for word in words if word not in known)
    tokens += itertools.islice(new, size - len(tokens))
    types += [gguf.TokenType.NORMAL] * (size - len(types))
    merges = [" ".join(pair) for pair in trained["model"]["merges"]]
    return tokens, [int(kind) for kind in types], merges


@cache
def words() -> tuple[list[str], list[str]]:
    """Words that are one token each: at the beginning of a text, and behind other words."""
    tokens, _, merges = vocabulary(TINY.vocab_size)
    made_of_merges = {merge.replace(" ", "") for merge in merges}.intersection(tokens)
    known = sorted(made_of_merges)
    first = [token for token in known if FIRST.fullmatch(token)]
    return first, [token.replace(SPACE, " ") for token in known if OTHER.fullmatch(token)]


def text(draw: random.Random, tokens: int) -> str:
    """Words that are exactly so many tokens of each of these models."""
    first, others = words()
    return draw.choice(first) + "".join(draw.choices(others, k=tokens - 1))


def write(shape: Shape, path: Path) -> None:
    tokens, types, merges = vocabulary(shape.vocab_size)
    writer = gguf.GGUFWriter(path, "qwen3")
    write_shape(writer, shape)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_array("tokenizer.ggml.suppress_tokens", [tokens.index(end) for end in ENDS])
    writer.add_chat_template(chat_template())
    for name, array in weights(shape, likelihoods(tokens, merges)):
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, quants.quantize(array, Q8_0), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def chat_template() -> str:
    """ChatML with tools in the manner of Hermes."""
    template = (BUILTIN / "chat_template.jinja").read_text(encoding="utf-8").strip()
    assert template.count(SAID) == 1
    return template.replace(SAID, SPACE_FIRST + SAID)


def write_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"bench-{shape.name}")
    writer.add_file_type(FILE_TYPE_Q8_0)
    writer.add_quantization_version(2)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)


def likelihoods(tokens: list[str], merges: list[str]) -> np.ndarray[Any, Any]:
    """A factor for the embedding of each token, see above."""
    makeable = {merge.replace(" ", "") for merge in merges}
    special = {*CONTROL, *USER_DEFINED}
    factors = [
        0.0
        if token in special
        else 1.0
        if token in makeable and DRAWN.fullmatch(token)
        else UNLIKELY
        for token in tokens
    ]
    return np.array(factors, dtype=np.float32)


def weights(
    shape: Shape, factors: np.ndarray[Any, Any]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    draw = np.random.default_rng(4711)

    def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
        return draw.standard_normal((rows, columns), dtype=np.float32) * np.float32(DEVIATION)

    width, queries, keys = shape.width, shape.heads * shape.head, shape.kv_heads * shape.head
    yield "token_embd.weight", matrix(shape.vocab_size, width) * factors[:, None]
    yield "output_norm.weight", np.ones(width, dtype=np.float32)
    matrices = {
        "attn_q": (queries, width),
        "attn_k": (keys, width),
        "attn_v": (keys, width),
        "attn_output": (width, queries),
        "ffn_gate": (shape.feed_forward, width),
        "ffn_up": (shape.feed_forward, width),
        "ffn_down": (width, shape.feed_forward),
    }
    norms = {
        "attn_norm": width,
        "ffn_norm": width,
        "attn_q_norm": shape.head,
        "attn_k_norm": shape.head,
    }
    for layer in range(shape.layers):
        for name, (rows, columns) in matrices.items():
            yield f"blk.{layer}.{name}.weight", matrix(rows, columns)
        for name, size in norms.items():
            yield f"blk.{layer}.{name}.weight", np.ones(size, dtype=np.float32)


def main() -> None:
    for model in BY_NAME.values():
        path = model()
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
