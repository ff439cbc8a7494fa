"""Write the trained model as GGUF: q8_0 matrices, tokenizer, chat template, sampling defaults.

python export.py work/model.pt ../src/antiphon/catalog/builtin/antiphon-demo.gguf
"""

import json
import sys
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType, quants
from model import NORM_EPS, ROPE_BASE, Shape
from tokenizer import CONTROL, SPARE, USER_DEFINED
from torch import Tensor

HERE = Path(__file__).parent
NAME = "antiphon-demo"
TEMPERATURE, TOP_K, TOP_P = 0.2, 20, 0.95  # it recites: little is to be gained from chance
Q8_0, F32 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.F32
FILE_TYPE_Q8_0 = 7


def vocabulary(tokenizer: dict) -> tuple[list[str], list[int], list[str]]:
    """Token texts, their types and the merges, in the form of GGUF."""
    ids = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    texts = sorted(ids, key=ids.__getitem__)
    assert [ids[text] for text in texts] == list(range(len(texts)))
    control = {*CONTROL, *SPARE}
    types = [
        gguf.TokenType.CONTROL
        if text in control
        else gguf.TokenType.USER_DEFINED
        if text in USER_DEFINED
        else gguf.TokenType.NORMAL
        for text in texts
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    return texts, types, merges


def write_metadata(writer: gguf.GGUFWriter, shape: Shape, tokenizer: dict) -> None:
    writer.add_name(NAME)
    writer.add_description("The small built-in demonstration model of Antiphon.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(FILE_TYPE_Q8_0)
    writer.add_quantization_version(2)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_sampling_temp(TEMPERATURE)
    writer.add_sampling_top_k(TOP_K)
    writer.add_sampling_top_p(TOP_P)
    texts, types, merges = vocabulary(tokenizer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(texts.index("<|im_end|>"))
    writer.add_pad_token_id(texts.index("<|endoftext|>"))
    writer.add_bos_token_id(texts.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / "chat_template.jinja").read_text(encoding="utf-8").strip())


def export(checkpoint: Path, out: Path) -> None:
    """Matrices as q8_0, norms as f32. The file appears whole or not at all."""
    state = torch.load(checkpoint)
    shape, weights = Shape(**state["shape"]), state["model"]
    tokenizer = json.loads((HERE / "tokenizer.json").read_text(encoding="utf-8"))
    temporary = out.with_suffix(".tmp")
    writer = gguf.GGUFWriter(temporary, "qwen3")
    write_metadata(writer, shape, tokenizer)
    for name, weight in weights.items():
        add_tensor(writer, name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(out)
    print(
        f"{out.name}: {out.stat().st_size / 1e6:.2f} MB, after {state['tokens'] / 1e6:.1f} M tokens"
    )


def add_tensor(writer: gguf.GGUFWriter, name: str, weight: Tensor) -> None:
    """The network's parts are named as GGUF names them."""
    array = weight.float().numpy()
    if array.ndim == 1:
        writer.add_tensor(name, array)
    else:
        writer.add_tensor(name, quants.quantize(array, Q8_0), raw_dtype=Q8_0)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
