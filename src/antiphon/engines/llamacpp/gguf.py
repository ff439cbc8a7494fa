"""Read a GGUF file's header before anything is loaded: what the model is, and whether it is whole.

The native loader says little about why it fails, so that a damaged, truncated or foreign file is
named here, from the header alone. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from antiphon.errors import StartupError

MAGIC = b"GGUF"
VOCABULARY = "tokenizer.ggml.tokens"
LAYERS_MAX = 512  # llama.cpp's LLAMA_MAX_LAYERS
ARRAY_ITEMS_MAX = 4096  # longer arrays (vocabularies, merges) are skipped, only their length kept
SAMPLES, SAMPLE_BYTES = 512, 4096  # of the weights, for the fingerprint
STRING, ARRAY = 8, 9
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip

# ggml type -> (values a block, bytes a block), from ggml's type traits.
BLOCK_SIZES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file (or the first of several parts) and what its header says."""

    path: Path
    metadata: Mapping[str, Any]
    size: int  # bytes of all parts

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def name(self) -> str:
        """The model's own name, never its path."""
        return str(self.metadata.get("general.name") or self.path.stem)

    @property
    def chat_template(self) -> str | None:
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) and template.strip() else None

    @property
    def context_trained(self) -> int | None:
        value = self._number("context_length")
        return value if value and value > 1 else None

    @property
    def vocab_size(self) -> int:
        tokens = self.metadata.get(VOCABULARY)
        return tokens.length if isinstance(tokens, SkippedArray) else 0

    @property
    def depends_on_context(self) -> bool:
        """Whether what is computed of a prompt may depend on how long the context is made: with
        rotations of two kinds, which one is taken does."""
        return any("rope.scaling" in key for key in self.metadata)

    def batch_bytes(self, rows: int) -> int:
        """Of memory to compute so many together: a dozen activations, in 32 bits."""
        return 4 * 12 * rows * self.widest

    @property
    def num_layers(self) -> int:
        return self._number("block_count") or 0

    @property
    def num_heads(self) -> int:
        return self._number("attention.head_count") or 0

    @property
    def bytes_per_cell(self) -> int:
        """Keys and values of one token in 16 bits, all layers. Models that keep less for some of
        their layers (sliding windows, recurrent states) are overestimated, never under."""
        heads = self._per_layer("attention.head_count_kv")
        return sum(heads or self._per_layer("attention.head_count")) * self._head_values * 2

    @property
    def attention_values(self) -> int:
        """Of keys and values of one token that another one is multiplied with, all layers."""
        return sum(self._per_layer("attention.head_count")) * self._head_values

    @property
    def _head_values(self) -> int:
        """A head's key and value of one token."""
        head = (self._number("embedding_length") or 0) // (self.num_heads or 1)
        key = self._number("attention.key_length") or head
        return key + (self._number("attention.value_length") or head)

    @property
    def widest(self) -> int:
        """Values of the widest activation of one token, for the size of scratch memory."""
        return max(self._number("feed_forward_length") or 0, self._number("embedding_length") or 0)

    def _per_layer(self, key: str) -> list[int]:
        """Empty, where the header does not say it."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        values = value if isinstance(value, list) else [value] * self.num_layers
        return [number for number in values if isinstance(number, int)]

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list):  # per layer
            value = max((n for n in value if isinstance(n, int)), default=None)
        return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that is too long to keep."""

    length: int


def fingerprint(file: ModelFile, *more: str) -> str:
    """Tells models apart that compute something else, and `more` that the caller knows: over what
    shapes the computation, and samples of the weights of all parts."""
    shape = sorted((k, repr(v)) for k, v in file.metadata.items() if not k.startswith("tokenizer."))
    digest = blake2b(repr((shape, more)).encode(), digest_size=16)
    for path in [file.path, *_other_parts(file.path, file.metadata.get("split.count", 1))]:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as part:
            for number in range(SAMPLES):
                part.seek(size * number // SAMPLES)
                digest.update(part.read(SAMPLE_BYTES))
    return digest.hexdigest()


def read(path: Path) -> ModelFile:
    """Read and check a model file's header; other parts of a split model must lie beside it.

    Raises:
        StartupError: missing, not a GGUF file, or cut short.
    """
    metadata = _read_part(path)
    size = path.stat().st_size
    for part in _other_parts(path, metadata.get("split.count", 1)):
        _read_part(part)
        size += part.stat().st_size
    if "general.architecture" not in metadata:
        raise StartupError(f"The model file {path} is damaged: it names no architecture.")
    if VOCABULARY not in metadata:
        raise StartupError(f"The model file {path} holds no vocabulary: it is no chat model.")
    file = ModelFile(path, metadata, size)
    if not 0 < file.num_layers <= LAYERS_MAX:  # llama.cpp would abort the process
        raise StartupError(f"The model file {path} is damaged: it has {file.num_layers} layers.")
    return file


def _read_part(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise StartupError(f"The model file {path} does not exist.")
    if not path.is_file():
        raise StartupError(f"{path} is not a file; give the path of a GGUF file.")
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise StartupError(f"{path} is not a GGUF model file.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Header(data, path).read()
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartupError(f"The model file {path} cannot be read: {reason}.") from error


def _other_parts(path: Path, count: Any) -> list[Path]:
    """`name-00001-of-00003.gguf` and so on, as llama.cpp names them."""
    if not isinstance(count, int) or count <= 1:
        return []
    match = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if match is None or int(match[2]) != 1:
        raise StartupError(
            f"The model file {path} is one of {count} parts; give the path of the first one."
        )
    return [
        path.with_name(f"{match[1]}-{index:05}-of-{count:05}.gguf") for index in range(2, count + 1)
    ]


class _Header:
    """A cursor over the header. Whatever does not fit into the file is an error."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = len(MAGIC)

    def read(self) -> dict[str, Any]:
        try:
            return self._read()
        except (struct.error, KeyError, ArithmeticError, RecursionError) as error:
            raise StartupError(
                f"The model file {self._path} is damaged: its header cannot be read."
            ) from error

    def _read(self) -> dict[str, Any]:
        version = self._scalar("<I")
        if version not in (2, 3):
            raise StartupError(
                f"The model file {self._path} has GGUF version {version}; 2 and 3 can be read."
            )
        num_tensors, num_values = self._scalar("<Q"), self._scalar("<Q")
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = self._string()
            kind = self._scalar("<I")
            metadata[key] = self._vocabulary() if key == VOCABULARY else self._value(kind)
        end = max([self._tensor_end() for _ in range(num_tensors)], default=0)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int):
            raise struct.error("no alignment")
        start = -(-self._at // alignment) * alignment
        missing = start + end - len(self._data) if num_tensors else 0
        if missing > 0:
            raise StartupError(
                f"The model file {self._path} is cut short: {missing:,} bytes are missing;"
                " download it again."
            )
        return metadata

    def _vocabulary(self) -> "SkippedArray":
        """Every text of a token occurs once; otherwise llama.cpp aborts the process."""
        if self._scalar("<I") != STRING:
            raise struct.error("no vocabulary")
        length = self._scalar("<Q")
        texts, empty = set(), 0
        for _ in range(length):
            size = self._scalar("<Q")
            self._skip(size)
            text = self._data[self._at - size : self._at].split(b"\0")[0]  # as C reads it
            texts.add(text)
            empty += not text
        if len(texts) < length - max(0, empty - 1):
            raise StartupError(
                f"The model file {self._path} is damaged: its vocabulary names a token twice."
            )
        return SkippedArray(length)

    def _tensor_end(self) -> int:
        """Where a tensor's data ends, counted from the beginning of all tensor data."""
        self._string()
        values = 1
        for _ in range(self._scalar("<I")):
            values *= self._scalar("<Q")
        kind, offset = self._scalar("<I"), self._scalar("<Q")
        block, size = BLOCK_SIZES.get(kind, (1, 0))  # of an unknown type, at least the beginning
        return int(offset) + values // block * size

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._scalar(SCALARS[kind])
        kind, length = self._scalar("<I"), self._scalar("<Q")
        if length <= ARRAY_ITEMS_MAX:
            return [self._value(kind) for _ in range(length)]
        if kind == STRING:
            for _ in range(length):
                self._skip(self._scalar("<Q"))
        else:
            self._skip(length * struct.calcsize(SCALARS[kind]))
        return SkippedArray(length)

    def _scalar(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return value

    def _string(self) -> str:
        length = self._scalar("<Q")
        start = self._at
        self._skip(length)
        return self._data[start : self._at].decode("utf-8", errors="replace")

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._data):
            raise struct.error("beyond the end of the file")
