"""How an engine stands, as numbers: what it holds, and what it has done since its start."""

from dataclasses import fields

from antiphon.engines.llamacpp.scheduler import Scheduler
from antiphon.engines.llamacpp.step import Counters
from antiphon.engines.llamacpp.tiers import Tiers

COUNTERS = tuple(field.name for field in fields(Counters))


def figures(scheduler: Scheduler, tiers: Tiers) -> dict[str, int]:
    """Counts are of sequences, cells and tokens; budgets of memory and disk in bytes."""
    return {
        "running": len(scheduler.running),
        "waiting": len(scheduler.waiting),
        "paused": len(scheduler.paused),
        "retired": scheduler.cache.retired,
        "pinned": len(scheduler.pins),
        "cells_used": scheduler.cache.cells,
        "cells_total": scheduler.cells,
        "ram_bytes_used": tiers.ram_bytes,
        "ram_bytes_total": tiers.ram_bytes_max,
        "disk_bytes_used": tiers.disk_bytes,
        "disk_bytes_total": tiers.disk_bytes_max,
        **{name: getattr(scheduler.counters, name) for name in COUNTERS},
    }
