"""Where the layers of a model go, with their cells: on the GPU as far as its memory reaches, the
rest on the host. Only loading a model says how much memory a GPU has."""

import logging
from dataclasses import dataclass
from math import isnan

from antiphon.engines.base import SamplingParams
from antiphon.engines.llamacpp import memory, model_runner
from antiphon.engines.llamacpp.gguf import ModelFile
from antiphon.engines.llamacpp.memory import ContextPlan
from antiphon.engines.llamacpp.model_runner import ModelRunner
from antiphon.engines.llamacpp.padding import TOGETHER, Padding
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Chunk
from antiphon.engines.llamacpp.turns import PREFILL_TOKENS_BESIDE
from antiphon.errors import StartupError

ALL_LAYERS = -1
SMALL_BYTES = 100 << 20  # of a model that computes a step in a few milliseconds
# Of the second context: prompts that are longer are computed among the answers.
SECOND_CELLS, SECOND_CELLS_SHARE, SECOND_CELLS_MIN = 4096, 0.25, 1024
SECOND_MEMORY_SHARE = 0.25  # of what is free once the first one stands

log = logging.getLogger("antiphon.engine")


@dataclass(frozen=True)
class Placing:
    """How a model is to be opened: `scratch` bytes for computing `batch` rows together, `context`
    and `gpu_layers` as asked for, or None."""

    file: ModelFile
    context: int | None
    gpu_layers: int | None
    slots: int
    batch: int
    scratch: int
    threads: int
    threads_small: int

    def open(self) -> tuple[ModelRunner, ContextPlan]:
        """Load the weights and make the context. Without a GPU, what does not fit into memory is
        refused before anything is loaded. Automatically, a model gets all layers on the GPU; where
        that leaves too little for a context, as many as fit; else none.

        Raises:
            StartupError: there is no room for it, llama.cpp cannot load it, or the GPU cannot
                compute it.
        """
        if self.gpu_layers == 0 or not model_runner.has_gpu():
            return self._opened(0)
        if self.gpu_layers is not None:
            return self._opened(self.gpu_layers)
        try:
            return self._opened(ALL_LAYERS)
        except StartupError as error:
            log.warning("not all layers are on the GPU: %s", error)
        if fewer := self._layers_that_fit():
            try:
                return self._opened(fewer)
            except StartupError as error:
                log.warning("not %d layers either: %s", fewer, error)
        return self._opened(0)

    def _opened(self, layers: int) -> tuple[ModelRunner, ContextPlan]:
        plan = None if layers else self._plan(memory.available_bytes(), memory.CONTEXT_MIN)
        runner = ModelRunner(self.file.path, gpu_layers=layers, name=self.file.name)
        try:
            plan = plan or self._plan(self._available_bytes(layers), self._least())
            runner.open(
                cells=plan.cells,
                sequence_ids=self._sequence_ids(runner),
                threads=self.threads,
                threads_small=self.threads_small,
                batch=self.batch,
            )
            if layers:
                try_out(runner, self.file.name, min(self.batch, plan.cells))
        except StartupError:
            runner.close()
            raise
        return runner, plan

    def _sequence_ids(self, runner: ModelRunner) -> int:
        """Recurrent models keep a state for every id, so they get what they use at once. Of the
        others, each step compares every id with every other: 57 µs for all there can be, 15 for
        half of them, where a step of the built-in model takes 340 with few."""
        most, least = runner.sequence_ids_max, 2 * self.slots
        if not runner.cuttable:
            return min(least, most)
        return min(most, max(least, most // 2)) if self.file.size < SMALL_BYTES else most

    def _plan(self, available: int, least: int) -> ContextPlan:
        return memory.plan_context(
            self.file,
            self.context,
            available,
            slots=self.slots,
            scratch=self.scratch,
            batch=self.batch,
            least=least,
        )

    def _least(self) -> int:
        """A model that is asked to be on the GPU is there, however short its context."""
        return memory.CONTEXT_MIN if self.gpu_layers is not None else memory.CONTEXT_USEFUL

    def _available_bytes(self, layers: int) -> int:
        """For weights and cells, which are shared out alike, so that both parts have room."""
        host, gpu = memory.available_bytes(), model_runner.gpu_free_bytes()
        if gpu is None:
            return host
        share = min(1, layers / self.file.num_layers) if layers > 0 else 1
        return min(int(gpu / share), int(host / (1 - share)) if share < 1 else gpu)

    def _layers_that_fit(self) -> int:
        """With cells for a context of use. Half of them, while a GPU's memory is unknown."""
        gpu = model_runner.gpu_free_bytes()
        if gpu is None:
            return self.file.num_layers // 2
        needed = memory.needed_bytes(
            self.file, self.context, scratch=self.scratch, batch=self.batch
        )
        return max(0, min(self.file.num_layers - 1, self.file.num_layers * gpu // needed))


def second_context(
    file: ModelFile, runner: ModelRunner, *, cells: int, slots: int, threads: int
) -> ModelRunner | None:
    """For prompts that are computed beside answers, see `beside.py`; `cells` are those of the
    first. None where it is of no use: on a GPU, and for models that are so small that nobody waits
    for a step, or cannot be cut anywhere; where threads that stand still would not sleep; where
    what is computed may depend on how long the context is; where there is too little memory."""
    is_slow = file.size >= SMALL_BYTES and not runner.gpu_layers and runner.flash_attention
    is_alike = runner.cuttable and not runner.window and not file.depends_on_context
    if not (is_slow and is_alike and model_runner.threads_sleep()):
        return None
    batch = PREFILL_TOKENS_BESIDE
    room = int(SECOND_MEMORY_SHARE * memory.available_bytes()) - file.batch_bytes(batch)
    wanted = min(cells, max(SECOND_CELLS, int(cells * SECOND_CELLS_SHARE)))
    fits = min(wanted, room // (file.bytes_per_cell + memory.MASK_BYTES * batch))
    fits = fits // memory.CELLS_MULTIPLE * memory.CELLS_MULTIPLE
    if fits < min(wanted, SECOND_CELLS_MIN):
        return None
    ids = min(slots + 2, runner.sequence_ids_max)
    try:
        return runner.with_context_of_its_own(
            cells=fits, sequence_ids=ids, threads=threads, batch=batch
        )
    except StartupError as error:
        log.warning("prompts are computed among answers: %s", error)
        return None


def padding(file: ModelFile, runner: ModelRunner) -> Padding | None:
    """None where it is of no use: on a GPU, without flash attention, for batches of fewer rows;
    and for sliding windows and recurrent states, which cost something else. Mixtures of experts
    are taken for models that use all of their weights, so that they are rather filled up too
    rarely."""
    is_tiled = not runner.gpu_layers and runner.flash_attention and runner.batch >= TOGETHER
    if not (is_tiled and runner.cuttable and not runner.window):
        return None
    return Padding(weights=runner.num_weights, keys=file.attention_values)


def try_out(runner: ModelRunner, name: str, batch: int) -> None:
    """Compute one token, and `batch` of them. A GPU makes its programs then, and not in the first
    answers; and some do not compute every model: a Mamba's batches came out as no number with
    Vulkan, where its single tokens were right.

    Raises:
        StartupError: so it is, or it cannot compute them at all.
    """
    for count in (1, batch):
        tokens = [token % runner.vocabulary.size for token in range(count)]
        sequence = Sequence.from_prompt(tokens, max_tokens=1, sampling=SamplingParams())
        try:
            row = runner.decode([Chunk(sequence, 0, 0, tokens, True)])[0]
        except (ValueError, RuntimeError, MemoryError) as error:
            raise StartupError(f"The GPU does not compute the model '{name}': {error}.") from error
        runner.remove(0)
        if any(map(isnan, runner.logits(row))):
            raise StartupError(
                f"The GPU does not compute the model '{name}': {count} tokens come out as no"
                " number. Use --gpu-layers 0."
            )
