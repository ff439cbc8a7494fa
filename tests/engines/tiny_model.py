"""A tiny random model for tests of the embedded engine.

Two layers, 64 wide, a byte-level vocabulary of 300 tokens. It writes nonsense, but nonsense that
depends on the whole context, and its logits lie far apart, so that a wrong cache shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from antiphon.engines.llamacpp.model_runner import binding

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


def write_byte_level_vocabulary(writer: gguf.GGUFWriter) -> list[str]:
    """Its tokens."""
    tokens, types, merges = byte_level_vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    return tokens


def write_model(
    path: Path,
    *,
    context_length: int = 8192,
    chat_template: str | None = TEMPLATE,
    endless: bool = False,
    temperature: float | None = None,
) -> Path:
    """Write the model. An `endless` one asks never to draw the tokens that end an answer."""
    writer = gguf.GGUFWriter(path, "qwen3")
    write_shape(writer, context_length)
    tokens = write_byte_level_vocabulary(writer)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    if temperature is not None:
        writer.add_float32("general.sampling.temp", temperature)
    if endless:
        ends = [tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")]
        writer.add_array("tokenizer.ggml.suppress_tokens", ends)
    finish(writer, len(tokens))
    return path


def write_shape(writer: gguf.GGUFWriter, context_length: int) -> None:
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


def finish(writer: gguf.GGUFWriter, vocab_size: int) -> None:
    for name, array in random_tensors(vocab_size).items():
        writer.add_tensor(name, array)
    close(writer)


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_tensors(vocab_size: int) -> Mapping[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(4711)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray[Any, Any]:
        weights = draw.standard_normal((rows, columns), dtype=np.float32)
        return weights * np.float32(gain / columns**0.5)

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


class Reference:
    """The model alone with one sequence, all at once: what anything else must agree with."""

    def __init__(self, path: Path) -> None:
        native = binding()
        params = native.LlamaContextParams()
        params.n_ctx, params.n_batch, params.n_outputs_max_per_seq = 8192, 8192, 0
        params.flash_attn_type, params.n_threads, params.n_threads_batch = 1, 1, 1
        self._model = native.LlamaModel(str(path), native.LlamaModelParams(), verbose=False)
        self._context = native.LlamaContext(self._model, params, False)
        self._never = self._model.get_vocab().get_suppress_tokens()
        self._batch = native.LlamaBatch(n_tokens=8192, embd=0, n_seq_max=1)

    def worst_gap(self, prompt: Sequence[int], generated: Sequence[int]) -> float:
        """How far below the greatest logit the generated tokens' logits lie, at most."""
        tokens = [*prompt, *generated]
        self._context.memory_seq_rm(0, -1, -1)
        self._batch.clear()
        for position, token in enumerate(tokens):
            self._batch.add(token, position, [0], True)
        self._context.decode(self._batch)
        gaps = [0.0]
        for position, token in enumerate(generated, start=len(prompt)):
            logits = self._context.get_logits_ith(position - 1)
            for suppressed in self._never:
                logits[suppressed] = min(logits)
            gaps.append(max(logits) - logits[token])
        return max(gaps)

    def close(self) -> None:
        self._batch.close()
        self._context.close()


def write_sentencepiece_model(path: Path) -> Path:
    """A vocabulary in the manner of Llama 2 around the same weights."""
    pieces = ["▁hello", "▁world", "hello", "▁he", "he", "llo", "ll", "lo", "or", "ld", "▁w", "▁"]
    pieces += list("abcdefghijklmnopqrstuvwxyz")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(pieces)
    writer = gguf.GGUFWriter(path, "qwen3")
    write_shape(writer, 512)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(pieces))])
    writer.add_token_types([int(kind) for kind in types])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(True)
    finish(writer, len(tokens))
    return path


def write_windowed_model(path: Path, window: int) -> Path:
    """In the manner of Gemma 2: every other layer looks back `window` tokens only. What layers add
    is made large beside the embeddings, which are those of the output too: else the last token is
    repeated for ever, whatever stands before it."""
    writer = gguf.GGUFWriter(path, "gemma2")
    write_shape(writer, 2048)
    writer.add_sliding_window(window)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    tokens = write_byte_level_vocabulary(writer)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    for name, array in random_tensors(len(tokens)).items():
        if not name.endswith(("q_norm.weight", "k_norm.weight")) and name != "output.weight":
            writer.add_tensor(name, array)
    for layer in range(LAYERS):
        for name in ("post_attention_norm", "post_ffw_norm"):
            scale = np.full(WIDTH, 64, dtype=np.float32)
            writer.add_tensor(f"blk.{layer}.{name}.weight", scale)
    close(writer)
    return path


def write_recurrent_model(path: Path) -> Path:
    """A tiny Mamba: it keeps a state instead of cells, so that nothing can be cut off."""
    writer = gguf.GGUFWriter(path, "mamba")
    inner, states, rank, kernel = 128, 16, 8, 4
    writer.add_name("tiny-mamba")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(1)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(states)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = write_byte_level_vocabulary(writer)
    draw = np.random.default_rng(1)
    for name, shape in {
        "token_embd.weight": (len(tokens), WIDTH),
        "output.weight": (len(tokens), WIDTH),
        "blk.0.ssm_in.weight": (2 * inner, WIDTH),
        "blk.0.ssm_conv1d.weight": (inner, kernel),
        "blk.0.ssm_x.weight": (rank + 2 * states, inner),
        "blk.0.ssm_dt.weight": (inner, rank),
        "blk.0.ssm_out.weight": (WIDTH, inner),
        "blk.0.ssm_a": (inner, states),
    }.items():
        weights = draw.standard_normal(shape, dtype=np.float32)
        writer.add_tensor(name, -abs(weights) if name.endswith("ssm_a") else weights)
    for name, size in {"blk.0.ssm_conv1d.bias": inner, "blk.0.ssm_dt.bias": inner}.items():
        writer.add_tensor(name, np.zeros(size, dtype=np.float32))
    for name, size in {
        "output_norm.weight": WIDTH,
        "blk.0.attn_norm.weight": WIDTH,
        "blk.0.ssm_d": inner,
    }.items():
        writer.add_tensor(name, np.ones(size, dtype=np.float32))
    close(writer)
    return path
