"""What may be stored of what leaves the cells, and when it leaves: budgets of memory and disk."""

import logging
import time
from pathlib import Path

from antiphon.engines.llamacpp import gguf, memory, model_runner
from antiphon.engines.llamacpp.blocks import block_tokens
from antiphon.engines.llamacpp.disk import BlockFiles
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.tiers import Tiers

SAVING_S = 5.0  # for what has not left the cells yet, when the engine closes and has a disk
POLL_S = 0.02
RAM_SHARE = 0.25  # of the memory that is free, for prompts that have left the cells
DISK_SHARE = 0.1  # of what is free on the disk
DISK_BYTES_MAX = 32 << 30  # unless more is asked for
# What may be idle in the cells, and is stored beside those who decode if it is more. An idle cell
# costs a step a look at its mask in every layer and head, 0.8 ns each (0.6B, two threads: 30,000
# cells make it 28 -> 39 ms), and a step reads all weights, 25 bytes a ns. What stays makes
# thousands of steps slower, while what leaves comes back at the cost of a few.
IDLE_STEP_SHARE, WEIGHTS_BYTES_PER_NS, MASK_NS = 0.005, 25, 0.8
IDLE_CELLS_MIN = 256
IDLE_CELLS_SHARE = 0.5  # of all cells, at most: what leaves early leaves stored

log = logging.getLogger("antiphon.engine")


def block_files(
    file: gguf.ModelFile, runner: ModelRunner, folder: Path | None, cells: int
) -> BlockFiles | None:
    """What was computed by another version, or otherwise, is another model's.

    Raises:
        StartupError: the folder cannot be used.
    """
    if folder is None:
        return None
    how = [model_runner.version(), f"flash attention {runner.flash_attention}"]
    if file.depends_on_context:
        how.append(f"{cells} cells")
    return BlockFiles(folder, gguf.fingerprint(file, *how))


def tiers(
    file: gguf.ModelFile,
    runner: ModelRunner,
    ram_bytes: int | None,
    files: BlockFiles | None,
    disk_bytes: int | None,
) -> Tiers:
    """None are what the machine has room for."""
    if ram_bytes is None:
        ram_bytes = int(memory.available_bytes() * RAM_SHARE)
    if files is not None and disk_bytes is None:
        disk_bytes = min(int(files.free_bytes() * DISK_SHARE), DISK_BYTES_MAX)
    disk_bytes = disk_bytes or 0
    found = [] if files is None else list(files.found(disk_bytes))
    if files is not None:
        disk_bytes -= files.foreign_bytes
    return Tiers(
        block_tokens=block_tokens(file.bytes_per_cell, runner.window),
        whole=not runner.cuttable,
        ram_bytes_max=ram_bytes,
        disk=files,
        disk_bytes_max=disk_bytes,
        found=found,
    )


def idle_cells(file: gguf.ModelFile, cells: int) -> int:
    """How many cells retired sequences may take before they are stored beside others."""
    cell_ns = MASK_NS * max(1, file.num_layers * file.num_heads)
    bearable = int(IDLE_STEP_SHARE * file.size / WEIGHTS_BYTES_PER_NS / cell_ns)
    return min(max(IDLE_CELLS_MIN, bearable), int(IDLE_CELLS_SHARE * cells))


def rows(tiers: Tiers, idle: int, bytes_per_cell: int) -> dict[str, str]:
    """The budgets, for people: `antiphon doctor`."""
    kept = f"{idle:,} tokens beside answers that are written; if more, these are stored meanwhile"
    return {
        "idle cells": kept if tiers.is_enabled else "as many as there is room for",
        "in memory": _budget(tiers.ram_bytes_max, bytes_per_cell),
        "on disk": _budget(tiers.disk_bytes_max, bytes_per_cell),
    }


def _budget(size: int, bytes_per_cell: int) -> str:
    if not size:
        return "nothing"
    tokens = size // max(1, bytes_per_cell)
    return f"{tokens:,} tokens, {size >> 20:,} MiB, of prompts that have left the cells"


def save_all(scheduler: Scheduler, runner: ModelRunner, tiers: Tiers) -> None:
    """What is still in the cells goes to the disk, as far as there is time for it: the engine
    closes."""
    until = time.monotonic() + SAVING_S
    try:
        scheduler.stop()
        while time.monotonic() < until and scheduler.has_to_save:
            step = scheduler.last_step()
            scheduler.take_in(step, runner.apply(step.operations, tiers))
            if not step.operations:
                time.sleep(POLL_S)
        while time.monotonic() < until and tiers.num_unwritten:
            tiers.write_waiting()
            time.sleep(POLL_S)
    except Exception as error:
        log.error("what was computed last is not on disk: %r", error)
