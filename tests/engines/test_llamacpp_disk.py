"""Blocks as files."""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from antiphon.engines.llamacpp import disk
from antiphon.engines.llamacpp.blocks import Block, block_behind, root_key
from antiphon.engines.llamacpp.disk import BlockFiles
from antiphon.errors import StartupError

MODEL, OTHER = "0" * 32, "1" * 32
BLOCK = block_behind(root_key("ann"), range(64))
DATA = bytes(range(256)) * 40


@pytest.fixture
def files(tmp_path: Path) -> Iterator[BlockFiles]:
    files = BlockFiles(tmp_path / "cache", MODEL)
    yield files
    files.close()


def again(files: BlockFiles, name: str = MODEL) -> BlockFiles:
    """What the next process sees."""
    files.close()
    return BlockFiles(files._root, name)


def file_of(files: BlockFiles, block: Block = BLOCK) -> Path:
    return files._path(block.key)


def test_what_was_written_is_read_before_and_after_it_is_a_file(files: BlockFiles) -> None:
    files.write(BLOCK, DATA)
    assert files.read(BLOCK) == DATA

    later = again(files)
    assert later.read(BLOCK) == DATA
    assert list(later.found(1 << 20)) == [(BLOCK, len(DATA))]
    later.close()


def test_only_the_user_can_read_it(files: BlockFiles) -> None:
    files.write(BLOCK, DATA)
    files.close()

    assert stat.S_IMODE(file_of(files).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_of(files).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(files._folder.stat().st_mode) == 0o700


def cut(content: bytes) -> bytes:
    return content[:-1]


def flipped(at: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [cut, lambda _: b"", flipped(0), flipped(9), flipped(30), flipped(45), flipped(60),
     flipped(-1), lambda content: content + b"x"],
)  # fmt: skip
def test_a_damaged_file_is_a_miss(files: BlockFiles, damage: Callable[[bytes], bytes]) -> None:
    files.write(BLOCK, DATA)
    files.close()
    path = file_of(files)
    path.write_bytes(damage(path.read_bytes()))

    later = again(files)
    assert later.read(BLOCK) is None
    list(later.found(1 << 20))
    later.close()


def test_a_file_that_is_gone_is_a_miss(files: BlockFiles) -> None:
    files.write(BLOCK, DATA)
    files.close()
    file_of(files).unlink()

    assert again(files).read(BLOCK) is None


def test_a_file_under_the_name_of_another_is_a_miss(files: BlockFiles) -> None:
    other = block_behind(BLOCK.key, range(64))
    files.write(BLOCK, DATA)
    files.close()
    file_of(files, other).parent.mkdir(exist_ok=True)
    file_of(files).rename(file_of(files, other))

    assert again(files).read(other) is None


def test_what_was_deleted_is_gone(files: BlockFiles) -> None:
    files.write(BLOCK, DATA)
    files.delete(BLOCK.key)
    assert files.read(BLOCK) is None
    files.close()

    assert not file_of(files).exists()


def test_states_of_any_length_are_found(files: BlockFiles) -> None:
    state = block_behind(root_key("ann"), range(5000))
    files.write(state, DATA)

    later = again(files)
    assert list(later.found(1 << 20)) == [(state, len(DATA))]
    assert later.read(state) == DATA
    later.close()


def test_the_least_recently_used_are_found_first(files: BlockFiles) -> None:
    blocks = [block_behind(root_key(str(number)), range(3)) for number in range(3)]
    for block in blocks:
        files.write(block, DATA)
    files.close()
    for age, number in enumerate((1, 0, 2)):
        os.utime(file_of(files, blocks[number]), (1000 + age, 1000 + age))

    later = again(files)
    assert later.read(blocks[1]) == DATA, "which is a use"
    assert [block for block, _ in later.found(1 << 20)] == [blocks[0], blocks[2], blocks[1]]
    later.close()


def test_what_was_never_finished_is_removed_when_it_is_old(files: BlockFiles) -> None:
    young, old = (file_of(files).with_suffix(f".{number}.part") for number in (1, 2))
    young.parent.mkdir()
    for path in (young, old):
        path.write_bytes(b"half of it")
    os.utime(old, (time.time() - 7200,) * 2)

    assert list(files.found(1 << 20)) == []
    assert (young.exists(), old.exists()) == (True, False)


def test_files_of_others_are_left_alone(files: BlockFiles) -> None:
    """Somebody keeps his downloads in the same folder."""
    others = [
        files._root / "app.kv",
        files._root / "Downloads" / "linux.iso.part",
        files._root / "Downloads" / "ab" / "app.kv",
        files._folder / "ab" / "notes.part",
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        os.utime(path, (1000, 1000))

    assert list(files.found(0)) == []
    assert all(path.exists() for path in others)


def test_a_disk_that_can_no_longer_be_changed_stops_nobody(
    files: BlockFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files.write(BLOCK, DATA)
    files.delete(block_behind(BLOCK.key, [1]).key)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("unlink", "replace"):
        monkeypatch.setattr(Path, name, read_only)
    monkeypatch.setattr(os, "utime", read_only)
    other = block_behind(BLOCK.key, range(3))
    files.delete(BLOCK.key)
    files.write(other, DATA)
    until(lambda: files.failed() == [other.key])
    files.write(BLOCK, DATA)
    assert files.read(BLOCK) == DATA
    assert files._thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("never")


def test_other_models_keep_half_of_the_budget(files: BlockFiles) -> None:
    for number in range(4):
        files.write(block_behind(root_key(str(number)), range(3)), bytes(1000))

    other = again(files, OTHER)
    assert list(other.found(4400)) == []
    assert 2000 <= other.foreign_bytes <= 2200
    other.write(BLOCK, DATA)
    first = again(other)
    assert len(list(first.found(1 << 20))) == 2
    first.close()


def test_a_slow_disk_says_that_it_is_busy_and_when_it_no_longer_is(
    files: BlockFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "WAITING_BYTES_MAX", len(DATA))
    goes_on, drained = threading.Event(), threading.Event()
    write = files._write
    monkeypatch.setattr(files, "_write", lambda *item: (goes_on.wait(60), write(*item)))
    files.on_drained = drained.set
    files.write(BLOCK, DATA)
    assert not files.is_busy
    files.write(block_behind(BLOCK.key, range(64)), DATA)
    assert was_busy(files)

    goes_on.set()
    assert drained.wait(60)
    assert not files.is_busy


def was_busy(files: BlockFiles) -> bool:
    return files.is_busy


def test_a_disk_that_cannot_be_written_is_said_once(
    files: BlockFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for number in range(3):
        files.write(block_behind(root_key(str(number)), range(3)), DATA)
    files.close()

    assert caplog.text.count("the cache on disk cannot be written: No space left") == 1
    assert not [path for path in files._folder.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"Nothing can be kept in .*file"):
        BlockFiles(tmp_path / "file", MODEL)
