"""A model file's header, read before anything is loaded; a damaged file is named as such."""

import struct
from pathlib import Path

import pytest

from antiphon.engines.llamacpp import gguf
from antiphon.errors import StartupError
from tests.engines.tiny_model import TEMPLATE, write_model


def test_what_the_header_says(tiny_model: Path) -> None:
    file = gguf.read(tiny_model)

    assert (file.name, file.architecture) == ("tiny-random", "qwen3")
    assert (file.context_trained, file.vocab_size, file.num_layers) == (8192, 300, 2)
    assert file.bytes_per_cell == 2 * 2 * (16 + 16) * 2  # layers, heads, keys and values, bytes
    assert file.chat_template == TEMPLATE
    assert file.size == tiny_model.stat().st_size


def test_without_a_template(tmp_path: Path) -> None:
    file = gguf.read(write_model(tmp_path / "bare.gguf", chat_template=None))

    assert file.chat_template is None


def test_a_fingerprint_is_of_shapes_and_weights_and_not_of_names(tmp_path: Path) -> None:
    path = write_model(tmp_path / "one.gguf")
    one = gguf.read(path)
    same = gguf.read(write_model(tmp_path / "two.gguf"))
    longer = gguf.read(write_model(tmp_path / "longer.gguf", context_length=4096))
    content = bytearray(path.read_bytes())
    content[-50_000] ^= 1
    content[-4000:] = bytes(4000)
    weights = gguf.read(damaged(tmp_path / "weights.gguf", bytes(content)))

    fingerprints = [gguf.fingerprint(file) for file in (one, same, longer, weights)]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3
    assert gguf.fingerprint(one, "another version") != fingerprints[0]


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (3000, "is damaged: its header cannot be read"),
        (300_000, "is cut short: [0-9,]+ bytes are missing; download it again"),
        (-1, "is cut short: 1 bytes are missing"),
        (10, "is damaged: its header cannot be read"),
        (3, "is not a GGUF model file"),
    ],
)
def test_a_file_cut_short(tiny_model: Path, tmp_path: Path, cut: int, sentence: str) -> None:
    path = damaged(tmp_path / "cut.gguf", tiny_model.read_bytes()[:cut])

    with pytest.raises(StartupError, match=sentence):
        gguf.read(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="does not exist"):
        gguf.read(tmp_path / "none.gguf")
    with pytest.raises(StartupError, match="is not a file"):
        gguf.read(tmp_path)
    with pytest.raises(StartupError, match="is not a GGUF model file"):
        gguf.read(damaged(tmp_path / "empty", b""))
    with pytest.raises(StartupError, match="is not a GGUF model file"):
        gguf.read(damaged(tmp_path / "text", b"Once upon a time"))
    with pytest.raises(StartupError, match="has GGUF version 9"):
        gguf.read(damaged(tmp_path / "new", b"GGUF" + struct.pack("<IQQ", 9, 0, 0)))
    with pytest.raises(StartupError, match="names no architecture"):
        gguf.read(damaged(tmp_path / "bare", b"GGUF" + struct.pack("<IQQ", 3, 0, 0)))


def test_a_token_that_occurs_twice(tiny_model: Path, tmp_path: Path) -> None:
    """llama.cpp would abort the process."""
    content = tiny_model.read_bytes().replace(b"[unused1]", b"[unused2]")

    with pytest.raises(StartupError, match="its vocabulary names a token twice"):
        gguf.read(damaged(tmp_path / "twice.gguf", content))


def test_every_single_byte_may_be_wrong(tiny_model: Path, tmp_path: Path) -> None:
    """Whatever stands in the header, it is read or refused with a sentence."""
    whole = bytearray(tiny_model.read_bytes())
    path = tmp_path / "damaged.gguf"
    for position in range(4, 1500, 7):
        for value in (0, 255):
            content = whole.copy()
            content[position] = value
            path.write_bytes(content)
            try:
                file = gguf.read(path)
                assert file.bytes_per_cell >= 0
            except StartupError:
                pass


def test_a_missing_part_of_a_split_model(tiny_model: Path, tmp_path: Path) -> None:
    content = tiny_model.read_bytes()
    key, value = b"split.count", struct.pack("<IH", 2, 2)
    count = struct.unpack_from("<Q", content, 16)[0]
    header = content[:16] + struct.pack("<Q", count + 1)
    entry = struct.pack("<Q", len(key)) + key + value
    padding = bytes(-len(entry) % 32)
    split = header + entry + content[24:] + padding
    with pytest.raises(StartupError, match="is one of 2 parts; give the path of the first one"):
        gguf.read(damaged(tmp_path / "model.gguf", split))
    with pytest.raises(StartupError, match=r"00002-of-00002.gguf does not exist"):
        gguf.read(damaged(tmp_path / "model-00001-of-00002.gguf", split))


def test_how_much_of_a_model_each_token_is_multiplied_with() -> None:
    shape = {
        "general.architecture": "qwen3",
        "qwen3.block_count": 28,
        "qwen3.embedding_length": 1024,
        "qwen3.attention.head_count": 16,
        "qwen3.attention.head_count_kv": 8,
    }
    assert gguf.ModelFile(Path("m.gguf"), shape, 1).attention_values == 28 * 1024 * 2
    shape |= {"qwen3.attention.key_length": 128, "qwen3.attention.value_length": 64}
    assert gguf.ModelFile(Path("m.gguf"), shape, 1).attention_values == 28 * 16 * 192
    shape["qwen3.attention.head_count"] = [16, 0] * 14
    assert gguf.ModelFile(Path("m.gguf"), shape, 1).attention_values == 14 * 16 * 192


@pytest.mark.parametrize(
    ("key", "depends"), [("rope.scaling.type", True), ("rope.freq_base", False)]
)
def test_scaled_rotations_may_depend_on_the_context(key: str, depends: bool) -> None:
    file = gguf.ModelFile(Path("m.gguf"), {f"llama.{key}": "longrope"}, 1)
    assert file.depends_on_context == depends
