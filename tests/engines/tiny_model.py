"""A tiny random model for tests of the embedded engine, made once a session.

Two layers, 64 wide, a byte-level vocabulary of 300 tokens. It writes nonsense, but nonsense that
depends on the whole context, and its logits lie far apart, so that a wrong cache shows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>", "</tool_call>", "<think>", "</think>", "    "]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FEED_FORWARD = 2, 64, 4, 2, 16, 128


def byte_alphabet() -> list[str]:
    """The printable characters that stand for the 256 bytes in byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def byte_level_vocabulary() -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types, merges."""
    alphabet = byte_alphabet()
    space = alphabet[32]
    merges = ["t h", "th e", "i n", "a n", "e r", f"{space} the", f"{space} a"]
    merged = [merge.replace(" ", "") for merge in merges]
    tokens = alphabet + merged
    types = [gguf.TokenType.NORMAL] * len(tokens)
    tokens += CONTROL + USER_DEFINED
    types += [gguf.TokenType.CONTROL] * len(CONTROL)
    types += [gguf.TokenType.USER_DEFINED] * len(USER_DEFINED)
    unused = 300 - len(tokens)
    tokens += [f"[unused{n}]" for n in range(unused)]
    types += [gguf.TokenType.UNUSED] * unused
    return tokens, [int(kind) for kind in types], merges


def write_model(path: Path, *, context_length: int = 8192, **extra: Any) -> Path:
    """Write the model. `extra` are further metadata, such as `chat_template=None` for none."""
    tokens, types, merges = byte_level_vocabulary()
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("tiny-random")
    writer.add_context_length(context_length)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    if (template := extra.pop("chat_template", TEMPLATE)) is not None:
        writer.add_chat_template(template)
    for key, value in extra.pop("floats", {}).items():
        writer.add_float32(key, value)
    assert not extra
    for name, array in random_tensors(len(tokens)).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_tensors(vocab_size: int) -> Mapping[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(4711)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray[Any, Any]:
        weights = draw.standard_normal((rows, columns)) * gain / columns**0.5
        return weights.astype(np.float32)

    tensors = {
        "token_embd.weight": matrix(vocab_size, WIDTH, gain=8.0),
        "output.weight": matrix(vocab_size, WIDTH, gain=4.0),
        "output_norm.weight": np.ones(WIDTH, dtype=np.float32),
    }
    for layer in range(LAYERS):
        for name, shape in {
            "attn_q": (HEADS * HEAD, WIDTH),
            "attn_k": (KV_HEADS * HEAD, WIDTH),
            "attn_v": (KV_HEADS * HEAD, WIDTH),
            "attn_output": (WIDTH, HEADS * HEAD),
            "ffn_gate": (FEED_FORWARD, WIDTH),
            "ffn_up": (FEED_FORWARD, WIDTH),
            "ffn_down": (WIDTH, FEED_FORWARD),
        }.items():
            tensors[f"blk.{layer}.{name}.weight"] = matrix(*shape, gain=2.0)
        for name, size in {
            "attn_norm": WIDTH,
            "ffn_norm": WIDTH,
            "attn_q_norm": HEAD,
            "attn_k_norm": HEAD,
        }.items():
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(size, dtype=np.float32)
    return tensors


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")
