"""How much memory there is, and how long a context fits into it. Decided before anything is
allocated: a server that the kernel kills in its first long conversation is worse than none.
"""

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.errors import StartupError

CONTEXT_MIN = 512  # tokens; below this a chat model is of no use
CONTEXT_USEFUL = 4096  # for less, no layer is kept on a GPU that it has no room for
CONTEXT_UNKNOWN = 4096  # when the file does not say what the model was trained for
RESERVE_BYTES = 256 << 20  # for Python, the server and everything else
AUTOMATIC_SHARE = 0.75  # of the room for cells, when nobody asked for all of it
CELLS_COMFORTABLE = 16_384  # that several short contexts may take together
CELLS_MULTIPLE = 256  # llama.cpp rounds a cache up to this
FREED_BYTES = 64 << 20  # until it goes back
MASK_BYTES = 4  # of the attention mask, for each cell and each row that is computed with others


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """How many cells the cache gets, how long one sequence may be, and why, for people."""

    cells: int
    context_len: int
    reason: str


def plan_context(
    model: ModelFile,
    wanted: int | None,
    available: int,
    *,
    slots: int,
    scratch: int,
    batch: int = 512,
    least: int = CONTEXT_MIN,
) -> ContextPlan:
    """The trained context or what fits, whichever is less; or exactly what the operator `wanted`.

    All slots share the cells. Where the trained context is short and memory plentiful, there are
    more cells than one sequence can use, so that the slots do not get in each other's way.
    `available` and `scratch` (memory for computing) are bytes, `batch` is how many rows are
    computed together, and `least` tokens are what an automatic context must have.

    Raises:
        StartupError: the model does not fit, or not with the context that was asked for.
    """
    fixed = scratch + RESERVE_BYTES + model.size
    trained = model.context_trained or CONTEXT_UNKNOWN
    room = max(0, available - fixed)
    bytes_per_cell = model.bytes_per_cell + MASK_BYTES * batch
    fits = room // bytes_per_cell
    if wanted is not None:
        if wanted > fits:
            raise _too_little(model, wanted, fixed + wanted * bytes_per_cell, available)
        longest = min(wanted, trained)
        return ContextPlan(_rounded_up(wanted), longest, f"{longest} of {trained} trained, as set")
    least = min(trained, least)
    if fits < least:
        raise _too_little(model, least, fixed + least * bytes_per_cell, available)
    fits = max(least, int(fits * AUTOMATIC_SHARE))
    if trained <= fits:
        cells = max(trained, min(slots * trained, CELLS_COMFORTABLE, fits // 4))
        return ContextPlan(_rounded_up(cells), trained, f"{trained}, all that was trained")
    cells = fits // CELLS_MULTIPLE * CELLS_MULTIPLE or fits
    reason = f"{cells} of {trained} trained: what fits into {_size(available)} of free memory"
    return ContextPlan(cells, cells, reason)


def needed_bytes(model: ModelFile, context: int | None, *, scratch: int, batch: int) -> int:
    """For the weights and a context of use, or the one that was asked for."""
    least = min(model.context_trained or CONTEXT_UNKNOWN, CONTEXT_USEFUL)
    bytes_per_cell = model.bytes_per_cell + MASK_BYTES * batch
    return scratch + RESERVE_BYTES + model.size + (context or least) * bytes_per_cell


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that can be taken without swapping: of the machine and of every control group that
    this process is in. `root` is where proc and sys are mounted."""
    limits = [*_machine_bytes(root), *_control_group_bytes(root)]
    return min(limits) if limits else 1 << 62  # unknown: nothing can be refused


class Freed:
    """Memory that was freed, and goes back to the system now and then. The C library keeps it, and
    what comes and goes in different sizes leaves holes that nothing else fits into."""

    def __init__(self) -> None:
        self._given_back = 0

    def give_back(self, freed: int) -> None:
        """`freed`: how many bytes since the start. Takes milliseconds."""
        if freed - self._given_back >= FREED_BYTES:
            self._given_back = freed
            with contextlib.suppress(OSError, TypeError, AttributeError):  # glibc only has it
                ctypes.CDLL(None).malloc_trim(0)


def _machine_bytes(root: Path) -> list[int]:
    meminfo = _text(root / "proc/meminfo")
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return [int(line.split()[1]) * 1024]
    try:  # macOS and others: free memory is not to be had without a helper, so half of all
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    except (ValueError, OSError, AttributeError):
        return []


def _control_group_bytes(root: Path) -> list[int]:
    """Limit less usage of each control group from this process's own up to the root, v2 and v1.
    Inactive pages of files count as usage but can be had back."""
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
            if most.isdigit() and used.isdigit():
                limits.append(max(0, int(most) - int(used) + _reclaimable(folder)))
            if folder == base:
                break
    return limits


def _reclaimable(folder: Path) -> int:
    for line in _text(folder / "memory.stat").splitlines():
        if line.startswith(("inactive_file ", "total_inactive_file ")):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _rounded_up(cells: int) -> int:
    return -(-cells // CELLS_MULTIPLE) * CELLS_MULTIPLE


def _too_little(model: ModelFile, context: int, needed: int, available: int) -> StartupError:
    return StartupError(
        f"The model '{model.name}' needs {_size(needed)} of memory for a context of {context}"
        f" tokens, but only {_size(available)} are free; use a smaller --context or a smaller"
        " model."
    )


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
