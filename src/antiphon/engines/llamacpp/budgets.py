"""What the engine may use, in tokens and in bytes, as rows for people: `antiphon doctor`. Pure."""

from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.engines.llamacpp.memory import MASK_BYTES, ContextPlan
from antiphon.engines.llamacpp.pace import ALONE_TOKENS_MIN
from antiphon.engines.llamacpp.room import PINNED_SHARE
from antiphon.engines.llamacpp.scheduler import RESERVED_CELLS
from antiphon.engines.llamacpp.turns import PREFILL_TOKENS_ALONE, PREFILL_TOKENS_BESIDE

PROMPT_TOKEN_BYTES = 36  # of a prompt that waits: a Python number and its place in a list


def rows(
    file: ModelFile,
    plan: ContextPlan,
    *,
    slots: int,
    batch: int,
    scratch: int,
    step_s: float,
    waiting_max: int,
    beside: int,
) -> dict[str, str]:
    """`scratch`: bytes of a batch, beside its mask. `beside`: cells of the second context."""

    def cells(count: int) -> str:
        return f"{count:,} tokens, {_size(count * file.bytes_per_cell)}"

    alone = max(PREFILL_TOKENS_ALONE, batch)
    computing = scratch + plan.cells * batch * MASK_BYTES
    pinned = int(plan.cells * PINNED_SHARE)
    waiting = waiting_max * (plan.context_len - 1)
    return {
        "slots": f"{slots} answers at a time, each with room for {cells(RESERVED_CELLS)}, to begin",
        "cells": f"{cells(plan.cells)}, {file.bytes_per_cell:,} bytes each",
        "pinned": f"{cells(pinned)} of these at most, by cache_control",
        "batch": f"{batch:,} tokens together, {_size(computing)} to compute them",
        "step": f"{step_s * 1000:.0f} ms' worth of a prompt, {PREFILL_TOKENS_BESIDE} tokens at most"
        f" beside answers; else {ALONE_TOKENS_MIN} to {alone:,}",
        "beside answers": f"prompts of {cells(beside)} at most, in a context of their own"
        if beside
        else "prompts are computed in the same steps",
        "waiting": f"{waiting_max:,} requests, {waiting:,} tokens, "
        f"{_size(waiting * PROMPT_TOKEN_BYTES)} at most",
    }


def _size(size: int) -> str:
    """Two digits at least, without a fraction from 10 on."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 10 << 10:
            return f"{size:,.0f} {unit}"
        size //= 1024
    return f"{size:,.0f} GiB"
