"""The network: a small decoder of the qwen3 family (q/k norm, RoPE, SwiGLU, grouped queries).

llama.cpp runs it as architecture `qwen3`; the names of the parts follow that.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROPE_BASE = 10_000.0
NORM_EPS = 1e-6


@dataclass(frozen=True)
class Shape:
    """5.5 million parameters at a vocabulary of 4,096. Widths are multiples of 32, for q8_0."""

    vocab: int
    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    feed_forward: int = 704
    context: int = 2048


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), NORM_EPS)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, query = shape.width, shape.heads * shape.head_dim
        key = shape.kv_heads * shape.head_dim
        self.attn_norm, self.ffn_norm = Norm(width), Norm(width)
        self.attn_q_norm, self.attn_k_norm = Norm(shape.head_dim), Norm(shape.head_dim)
        self.attn_q = nn.Linear(width, query, bias=False)
        self.attn_k = nn.Linear(width, key, bias=False)
        self.attn_v = nn.Linear(width, key, bias=False)
        self.attn_output = nn.Linear(query, width, bias=False)
        self.ffn_gate = nn.Linear(width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [batch, time, width]"""
        batch, time, _ = x.shape
        s, h = self.shape, self.attn_norm(x)
        q = self.attn_q_norm(self.attn_q(h).view(batch, time, s.heads, s.head_dim))
        k = self.attn_k_norm(self.attn_k(h).view(batch, time, s.kv_heads, s.head_dim))
        v = self.attn_v(h).view(batch, time, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        groups = s.heads // s.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(batch, time, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)  # tied with the output
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width)
        cos, sin = rope_tables(shape.context, shape.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                scale = (2 * shape.layers) ** -0.5 if into_residual else 1.0
                nn.init.normal_(parameter, 0.0, 0.02 * scale)

    def hidden(self, ids: Tensor) -> Tensor:
        """ids: [batch, time] → [batch, time, width]"""
        x = self.token_embd(ids)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.bfloat16)
        cos = self.cos[: ids.shape[1]].to(x.dtype)
        sin = self.sin[: ids.shape[1]].to(x.dtype)
        for block in self.blk:
            x = block(x, cos, sin)
        return self.output_norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, time, vocab]."""
        return F.linear(self.hidden(ids), self.token_embd.weight)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy over the positions with a target (-1 is none): logits are computed
        for these only, which are a third of all."""
        hidden, targets = self.hidden(ids).flatten(0, 1), targets.flatten()
        wanted = targets >= 0
        logits = F.linear(hidden[wanted], self.token_embd.weight)
        return F.cross_entropy(logits.float(), targets[wanted])


def rope_tables(time: int, head_dim: int) -> tuple[Tensor, Tensor]:
    frequencies = ROPE_BASE ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(time).float(), frequencies)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding over the two halves of a head, as NEOX does it."""
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin
