"""The native model: loads it, keeps its cache in order, computes batches, draws tokens.

The only file that imports the binding (cyllama, llama.cpp below it), and the only one that knows
what the binding does not guard. Learned by trying, llama.cpp b11669:

- Everything on a context happens on one thread at a time; a second decode aborts the process,
  closing the context during one is a segfault. Only tokenising is safe elsewhere.
- `memory_seq_cp` is right only from position 0 into an empty id, `memory_seq_rm` only for a tail
  or everything, and positions must be contiguous; otherwise logits are silently wrong by up to
  0.6. So the length of every sequence is kept here and asserted. The exception is a scratch id,
  through which part of a sequence is saved, and restored behind one that ends where it begins.
- A cell that a single sequence holds, and that lies outside of that one's sliding window, is taken
  for another token, though shorter sequences may begin with it. So where there are windows, every
  id has a twin that holds the same cells.
- A token id out of range aborts the process.
- A Python log callback that is still set when the interpreter ends is a segfault.
"""

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from antiphon.engines.llamacpp.native_log import native_log
from antiphon.engines.llamacpp.sampler import Link
from antiphon.engines.llamacpp.step import Applied, Chunk, Copy, Operation, Remove, Restore, Save
from antiphon.engines.llamacpp.tiers import Tiers
from antiphon.engines.llamacpp.vocabulary import NativeVocabulary
from antiphon.errors import StartupError

SEQUENCES_MAX = 256  # LLAMA_MAX_SEQ
ROWS_MAX = 2048  # of one decode call, unless more are computed together
BATCH_TOKENS = 512  # rows that are computed together, unless the operator says otherwise
# A step of less work than this, in bytes of weights times rows, is done by one thread: it takes
# 10 ms at most, and several threads wait for each other hundreds of times in it. Beside one busy
# process on two cores, the built-in model (6 MiB) answers at 1,700 tokens/s with one thread and at
# 22 with two; what a second thread gains on an idle machine is small against that.
LONE_THREAD_BYTES = 100 << 20
SPINS_SMALL, SPINS_LARGE = 10_000, 1_000_000  # half a millisecond, 50


def set_spin_count(size: int) -> None:
    """How long OpenMP's threads spin where they wait for each other, for a model of `size` bytes.
    Read when the libraries load: before anything else here is used.

    Beside two busy processes on two cores, a step of a small model takes 18 ms with libgomp's own
    count (300,000), 1 ms with the smaller one, and 0.35 ms with either on an idle machine. Of a
    0.6B model, a step of 8 answers takes 175 ms with a large count, 198 with libgomp's, 210 with
    the smaller one: there, waking a thread costs more than it saves. While a second context has
    threads too, libgomp lets all of them spin 100 times only, or 1,000 if they wait actively: a
    step of that model takes 1.08 times as long, or 1.02.
    """
    is_small = size < LONE_THREAD_BYTES
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS_SMALL if is_small else SPINS_LARGE))
    if not is_small:
        os.environ.setdefault("OMP_WAIT_POLICY", "active")


@cache
def binding() -> Any:
    """The binding's module, imported on first use (0.2 s) and kept quiet."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a crash report takes seconds
    import cyllama.llama.llama_cpp as llama_cpp

    llama_cpp.set_log_callback(native_log)
    atexit.register(llama_cpp.disable_logging)
    llama_cpp.ggml_backend_load_all()
    return llama_cpp


def devices() -> list[dict[str, str]]:
    """What can compute: `name`, `description`, `type` (CPU, GPU, iGPU, ACCEL)."""
    return list(binding().ggml_backend_dev_info())


def has_gpu() -> bool:
    offload = binding().llama_supports_gpu_offload()
    return bool(offload) and any(device["type"] in ("GPU", "iGPU") for device in devices())


def threads_sleep() -> bool:
    """Whether threads that wait for each other sleep after a while: those of OpenMP do, llama.cpp's
    own do not."""
    return "OPENMP = 1" in str(binding().llama_print_system_info())


def gpu_free_bytes() -> int | None:
    """Memory of all GPUs together that was free when a model was last loaded onto them, if
    llama.cpp said so."""
    return native_log.gpu_free_bytes


def version() -> str:
    """Of the binding and of what it binds."""
    import cyllama

    return f"{binding().llama_version()} (cyllama {cyllama.__version__})"


def system_details() -> dict[str, str]:
    """For people: versions, devices, the instructions of the processor that are used."""
    return {
        "llama.cpp": version(),
        "devices": ", ".join(f"{d['name']}: {d['description'].strip()}" for d in devices()),
        "system": str(binding().llama_print_system_info())
        .replace(" = 1 |", ",")
        .replace(" :", ":")
        .strip(" ,|"),
    }


class ModelRunner:
    """Used by one thread at a time; only `cancel` may be called by others meanwhile."""

    def __init__(self, path: Path, *, gpu_layers: int, name: str) -> None:
        """Load the weights; -1 puts every layer on the GPU, where there is one.

        Raises:
            StartupError: llama.cpp cannot load the file.
        """
        params = binding().LlamaModelParams()
        params.n_gpu_layers = gpu_layers
        native_log.begin_load()
        try:
            self._model = binding().LlamaModel(str(path), params, verbose=False)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            reason = native_log.complaints() or str(error)
            raise StartupError(f"The model '{name}' cannot be loaded: {reason}.") from error
        self.gpu_layers = gpu_layers
        self.vocabulary = NativeVocabulary(self._model)
        if self._model.has_encoder() or not self._model.has_decoder():
            raise StartupError(f"The model '{name}' does not continue text: it is no chat model.")
        self._size = int(self._model.size)
        self.num_weights = int(self._model.n_params) - self.vocabulary.size * self._model.n_embd
        self.cuttable = not (self._model.is_recurrent() or self._model.is_hybrid())
        self.window = int(self._model.n_swa) if self.cuttable else 0
        self.sequence_ids_max = SEQUENCES_MAX // (2 if self.window else 1) - 1
        self._context: Any = None
        self._batch: Any = None
        self._lengths: list[int] = []
        self._suppressed = self.vocabulary.never_drawn()

    def open(
        self,
        *,
        cells: int,
        sequence_ids: int,
        threads: int,
        threads_small: int | None = None,
        batch: int = BATCH_TOKENS,
    ) -> None:
        """Make the context: the cache and scratch memory. `threads_small`, if it differs, is the
        number of threads for small steps. `batch` rows are computed together.

        Raises:
            StartupError: llama.cpp cannot.
        """
        native_log.clear()
        params = binding().LlamaContextParams()
        params.n_ctx = cells
        assert sequence_ids <= self.sequence_ids_max
        self.sequence_ids, self.cells = sequence_ids, cells
        self._scratch = sequence_ids  # to save and restore through
        self._twin_offset = sequence_ids + 1 if self.window else 0  # how far each is from its own
        params.n_seq_max = self._scratch + self._twin_offset + 1
        params.n_batch, params.n_ubatch = max(ROWS_MAX, batch), batch
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # one pool of cells for all, prefixes shared
        if not self.gpu_layers:  # else it computes large batches nevertheless
            params.op_offload = params.offload_kqv = False
        params.flash_attn_type = 1  # without: 36 s instead of 3.6 for a prefill beside 30k cells
        # One row of logits for each sequence, at most: the default reserves one for every token
        # of a batch, 311 MB at a vocabulary of 152,000. Less than the ids is an abort.
        params.n_outputs_max, params.n_outputs_max_per_seq = params.n_seq_max, 1
        try:
            self._context = binding().LlamaContext(self._model, params, False)
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = native_log.complaints() or str(error)
            raise StartupError(
                f"No context of {cells} tokens can be made, try a smaller --context: {reason}."
            ) from error
        assert self._context.n_ctx >= cells
        self.flash_attention = native_log.contains("flash_attn = enabled")
        self._context.install_cancel_callback()
        self._batch = binding().LlamaBatch(n_tokens=params.n_batch, embd=0, n_seq_max=2)
        self.batch = batch
        self._lengths = [0] * sequence_ids
        self._threads, self._threads_small = threads, threads_small or threads
        self._threads_now = threads

    def with_context_of_its_own(
        self, *, cells: int, sequence_ids: int, threads: int, batch: int
    ) -> "ModelRunner":
        """Another one on the same weights, for a thread of its own.

        Raises:
            StartupError: see `open`.
        """
        other = copy(self)
        other.open(cells=cells, sequence_ids=sequence_ids, threads=threads, batch=batch)
        return other

    def ask_before_each_operation(self, is_interrupted: Callable[[], bool]) -> None:
        """Of every graph that is computed on a CPU. Replaces `cancel`."""
        self._context.set_abort_callback(is_interrupted)

    def place(self, chunk: Chunk) -> bool:
        """Put the parts of a chunk where they belong; False if llama.cpp does not take them."""
        start = chunk.start
        for length, data in chunk.parts:
            if not self.restore(chunk.seq_id, start, start + length, data):
                return False
            start += length
        return True

    def apply(self, operations: Iterable[Operation], tiers: Tiers) -> Applied:
        """Copy and remove sequences in the cache, save and restore blocks. Blocks that llama.cpp
        does not take back are forgotten, and the ids they were for are broken."""
        applied = Applied()
        broken = applied.broken
        for operation in operations:
            match operation:
                case Remove(seq_id, start):
                    self.remove(seq_id, start)
                    broken.discard(seq_id)
                case Copy(source, target, length):
                    if source in broken:
                        broken.add(target)
                    else:
                        self.copy(source, target, length)
                case Save(seq_id, start, block):
                    if applied.takes(operation, tiers) and (
                        data := self.save(seq_id, start, start + len(block.tokens))
                    ):
                        applied.store(operation, data, tiers)
                case Restore(seq_id, start, length, block, data):
                    if seq_id in broken:
                        continue
                    if self.restore(seq_id, start, start + length, data):
                        applied.num_blocks += 1
                    else:
                        tiers.forget(block)
                        broken.add(seq_id)
        return applied

    def save(self, seq_id: int, start: int, end: int) -> bytes:
        """What the cells of a sequence hold from `start` to `end`; that is all of it, where a
        state cannot be cut. Empty, if they do not hold all of that: llama.cpp may reuse what lies
        outside of a sliding window."""
        assert 0 <= start < end <= self._lengths[seq_id]
        if not self.cuttable:
            assert (start, end) == (0, self._lengths[seq_id])
            if self._context.memory_seq_pos_max(seq_id) != end - 1:
                return b""
            return bytes(self._context.get_state_seq_data(seq_id))
        self._context.memory_seq_cp(seq_id, self._scratch, start, end)
        try:
            first = self._context.memory_seq_pos_min(self._scratch)
            last = self._context.memory_seq_pos_max(self._scratch)
            if (first, last) != (start, end - 1):
                return b""
            return bytes(self._context.get_state_seq_data(self._scratch))
        finally:
            self._context.memory_seq_rm(self._scratch, -1, -1)

    def restore(self, seq_id: int, start: int, end: int, data: bytes) -> bool:
        """Put back what `save` returned, or what it begins with, behind a sequence that ends at
        `start`. Takes cells, for a moment those of all that was saved. False, and nothing changed,
        if there is no room for it or llama.cpp does not take it for what it should be."""
        assert self._lengths[seq_id] == start
        target = self._scratch if self.cuttable else seq_id
        try:
            self._context.set_state_seq_data(data, target)
            last = int(self._context.memory_seq_pos_max(target))
            is_right = last >= end - 1 if self.cuttable else last == end - 1
        except (RuntimeError, ValueError):
            is_right = False
        if is_right and self.cuttable:
            for owner in self._owners(seq_id):
                self._context.memory_seq_cp(target, owner, start, end)
        if self.cuttable or not is_right:
            self._context.memory_seq_rm(target, -1, -1)
        if is_right:
            self._lengths[seq_id] = end
        return is_right

    def copy(self, source: int, target: int, length: int) -> None:
        """Tag the first `length` cells of `source` as `target` too. Takes no cells."""
        assert source != target
        assert self._lengths[target] == 0, "only into an empty sequence"
        assert 0 < length <= self._lengths[source]
        for owner in self._owners(target):
            self._context.memory_seq_cp(source, owner, 0, length)
        self._lengths[target] = length

    def remove(self, seq_id: int, start: int = 0) -> None:
        """Remove a sequence's tail from position `start` on."""
        assert 0 <= start <= self._lengths[seq_id]
        removed = self._remove(seq_id, start)
        assert removed, "this model's cache cannot be cut"

    def clear(self) -> None:
        """Empty the whole cache, whatever is in it."""
        for seq_id in range(len(self._lengths)):
            self._remove(seq_id, 0)

    def _remove(self, seq_id: int, start: int) -> bool:
        # -1 is "everything"; models that cannot be cut refuse the same with 0 and the length.
        self._lengths[seq_id] = start
        owners = self._owners(seq_id)
        removed = [self._context.memory_seq_rm(owner, start or -1, -1) for owner in owners]
        return all(removed)

    def _owners(self, seq_id: int) -> list[int]:
        """The ids that hold the cells of a sequence."""
        return [seq_id, seq_id + self._twin_offset] if self._twin_offset else [seq_id]

    def decode(self, chunks: Sequence[Chunk], padding: int = 0) -> list[int]:
        """Compute one batch, and `padding` rows of no sequence, which take cells meanwhile; return
        the row to draw from for each chunk that draws.

        On any exception the cache is as it was before, or without these sequences, where they
        cannot be cut.
        """
        rows = []
        add, row = self._batch.add, 0
        self._batch.clear()
        for chunk in chunks:
            assert self._lengths[chunk.seq_id] == chunk.start, "positions must be contiguous"
            assert min(chunk.tokens) >= 0
            assert max(chunk.tokens) < self.vocabulary.size
            last, owners = len(chunk.tokens) - 1, self._owners(chunk.seq_id)
            for index, token in enumerate(chunk.tokens):
                add(token, chunk.start + index, owners, chunk.draws and index == last)
            row += len(chunk.tokens)
            if chunk.draws:
                rows.append(row - 1)
        for position in range(padding):
            add(0, position, [self._scratch], False)
        self._use_threads(row + padding)
        try:
            self._context.decode(self._batch)
        except BaseException:
            # Parts of an interrupted batch may be in the cache while their logits are gone.
            for chunk in chunks:
                self._remove(chunk.seq_id, chunk.start if self.cuttable else 0)
            raise
        finally:
            if padding:
                self._context.memory_seq_rm(self._scratch, -1, -1)
        for chunk in chunks:
            self._lengths[chunk.seq_id] += len(chunk.tokens)
        return rows

    def _use_threads(self, rows: int) -> None:
        small = rows * self._size < LONE_THREAD_BYTES
        threads = self._threads_small if small else self._threads
        if threads != self._threads_now:
            self._context.set_n_threads(threads, threads)
            self._threads_now = threads

    def logits(self, row: int) -> list[float]:
        """For tests: as a Python list, this takes 22 ms at a vocabulary of 152,000."""
        return list(self._context.get_logits_ith(row))

    def new_sampler(self, links: Iterable[Link]) -> Any:
        """A native sampler chain; the caller closes it."""
        sampler = binding().LlamaSampler()
        if self._suppressed:
            never = [(token, float("-inf")) for token in self._suppressed]
            sampler.add_logit_bias(self.vocabulary.size, never)
        for link in links:
            match link.name:
                case "greedy":
                    sampler.add_greedy()
                case "top_k":
                    sampler.add_top_k(int(link.value))
                case "top_p":
                    sampler.add_top_p(link.value, 1)
                case "temp":
                    sampler.add_temp(link.value)
                case "dist":
                    sampler.add_dist(int(link.value))
                case "bias":
                    bias = [(token, link.value) for token in link.tokens]
                    sampler.add_logit_bias(self.vocabulary.size, bias)
        return sampler

    def draw(self, sampler: Any, row: int) -> int:
        """Draw the token behind a row of the last decode."""
        return int(sampler.sample(self._context, row))

    def draw_once(self, links: Iterable[Link], row: int) -> int:
        """Draw with a chain that is used for nothing else."""
        sampler = self.new_sampler(links)
        try:
            return self.draw(sampler, row)
        finally:
            sampler.close()

    def cancel(self) -> None:
        """Interrupt the decode that runs, or the next one. May be called from any thread."""
        context = self._context
        if context is not None:
            context.cancel = True

    def close(self) -> None:
        """Free context and cache. The weights go when nobody tokenises any more."""
        if self._batch is not None:
            self._batch.close()
        if self._context is not None:
            self._context.close()
        self._batch = self._context = self._model = None
