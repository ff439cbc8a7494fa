"""From a path to a loaded model: the header first, then memory, then the native side."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from antiphon.engines.base import EngineInfo
from antiphon.engines.llamacpp import budgets, gguf, model_runner, storing
from antiphon.engines.llamacpp.disk import BlockFiles
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.padding import Padding
from antiphon.engines.llamacpp.placing import ALL_LAYERS, Placing, padding, second_context
from antiphon.engines.llamacpp.sampler import model_defaults
from antiphon.engines.llamacpp.tiers import Tiers
from antiphon.engines.llamacpp.tokenizer import LlamaTokenizer
from antiphon.errors import StartupError

NO_FLASH_ATTENTION = (
    "This model cannot use flash attention: a prompt in a long context takes about ten times as"
    " long as it would with it."
)

log = logging.getLogger("antiphon.engine")


@dataclass(frozen=True, slots=True)
class Loaded:
    runner: ModelRunner
    second: ModelRunner | None  # for prompts that are computed beside answers
    tokenizer: LlamaTokenizer
    info: EngineInfo
    cells: int
    tiers: Tiers  # for prompts that have left the cells
    files: BlockFiles | None  # where these are on disk
    idle_cells: int
    padding: Padding | None  # for steps of few rows


def load(
    path: Path,
    *,
    slots: int,
    context: int | None,
    threads: int | None,
    gpu_layers: int | None,
    batch: int,
    step_s: float,
    waiting_max: int,
    ram_bytes: int | None,
    disk_folder: Path | None = None,
    disk_bytes: int | None = None,
) -> Loaded:
    """See `LlamaEngine.load`."""
    _check_slots(slots, model_runner.SEQUENCES_MAX - 1)
    if context is not None and context < 2:
        raise StartupError(f"A context of {context} tokens has no room for an answer.")
    file = gguf.read(path)
    model_runner.set_spin_count(file.size)
    scratch = _scratch_bytes(file, batch)
    threads_small = threads or 1  # who asks for a number of threads gets it in every step
    threads = threads or default_threads()
    runner, plan = Placing(
        file=file,
        context=context,
        gpu_layers=gpu_layers,
        slots=slots,
        batch=batch,
        scratch=scratch,
        threads=threads,
        threads_small=threads_small,
    ).open()
    _check_slots(slots, runner.sequence_ids_max)
    second = second_context(file, runner, cells=plan.cells, slots=slots, threads=threads)
    files = storing.block_files(file, runner, disk_folder, plan.cells)
    tiers = storing.tiers(file, runner, ram_bytes, files, disk_bytes)
    idle_cells = storing.idle_cells(file, plan.cells)
    tokenizer = LlamaTokenizer(runner.vocabulary)
    details = {
        "model": f"{file.name} ({file.architecture}, {file.size / (1 << 20):,.0f} MiB)",
        "context": plan.reason,
        **budgets.rows(
            file,
            plan,
            slots=slots,
            batch=batch,
            scratch=scratch,
            step_s=step_s,
            waiting_max=waiting_max,
            beside=0 if second is None else second.cells,
        ),
        **storing.rows(tiers, idle_cells, file.bytes_per_cell),
        **_details(file, runner, threads, threads_small),
    }
    log.info("context: %s", plan.reason)
    info = _info(file, runner, tokenizer, plan.context_len, slots, details)
    return Loaded(
        runner,
        second,
        tokenizer,
        info,
        plan.cells,
        tiers,
        files,
        idle_cells,
        padding(file, runner),
    )


def _check_slots(slots: int, sequence_ids: int) -> None:
    if not 0 < slots < sequence_ids:
        raise StartupError(f"There can be 1 to {sequence_ids - 1} slots, not {slots}.")


def _details(
    file: gguf.ModelFile, runner: ModelRunner, threads: int, threads_small: int
) -> dict[str, str]:
    bare = "none in the model file; a common one is used instead"
    layers = {ALL_LAYERS: "all", 0: "none"}
    return {
        "chat template": "from the model file" if file.chat_template else bare,
        "flash attention": "on" if runner.flash_attention else "off: this model cannot use it",
        "gpu layers": layers.get(runner.gpu_layers, str(runner.gpu_layers)),
        "threads": str(threads) if threads == threads_small else f"{threads}, 1 for small steps",
        **model_runner.system_details(),
    }


def default_threads(root: Path = Path("/")) -> int:
    """The processors that this process may use, a container's quota included."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    groups = root / "sys/fs/cgroup"
    for quota_file, period_file in (
        (groups / "cpu.max", None),
        (groups / "cpu/cpu.cfs_quota_us", groups / "cpu/cpu.cfs_period_us"),
    ):
        try:
            quota, *rest = quota_file.read_text().split()
            period = period_file.read_text() if period_file else rest[0]
        except (OSError, ValueError, IndexError):
            continue
        if quota.isdigit():  # "max" and -1 are no limit
            processors = min(processors, max(1, int(quota) // int(period)))
    return processors


def _info(
    file: gguf.ModelFile,
    runner: ModelRunner,
    tokenizer: LlamaTokenizer,
    context_len: int,
    slots: int,
    details: dict[str, str],
) -> EngineInfo:
    def text(token: int | None) -> str | None:
        return None if token is None else tokenizer.token_bytes(token).decode(errors="replace")

    return EngineInfo(
        engine="llamacpp",
        model_name=file.name,
        context_len=context_len,
        slots=slots,
        vocab_size=runner.vocabulary.size,
        end_of_generation=runner.vocabulary.end_of_generation(),
        begin_id=runner.vocabulary.begin(),
        bos_token=text(runner.vocabulary.bos()),
        eos_token=text(runner.vocabulary.eos()),
        chat_template=file.chat_template,
        sampling=model_defaults(file.metadata),
        details=details,
        problems=() if runner.flash_attention else (NO_FLASH_ATTENTION,),
    )


def _scratch_bytes(file: gguf.ModelFile, batch: int) -> int:
    """Logits of one row a sequence id, twice, and what a batch takes."""
    logits = 4 * 2 * (model_runner.SEQUENCES_MAX - 1) * file.vocab_size
    return logits + file.batch_bytes(batch)
