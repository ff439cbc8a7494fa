"""Blocks as files, so that they outlive the process.

A file a block, written by a thread of its own under a temporary name and renamed when it is whole.
Its name is the block's key; inside are a header, the tokens, the bytes, and a checksum of all,
against accidents: whoever can write to the folder is trusted. What is missing, damaged, or of
another format reads as None. Files of other models lie beside, each model's in a folder that is
named after its fingerprint; nothing whose name is not of this form is touched.
"""

import contextlib
import logging
import os
import re
import shutil
import struct
import threading
import time
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.engines.llamacpp.blocks import Block, Key
from antiphon.errors import StartupError

MAGIC = b"ANTIPHN1"  # of the format: another one is another magic
HEADER = struct.Struct("<8s16s16sIQI")  # magic, key, parent, tokens, bytes, checksum
SUFFIX, UNFINISHED = ".kv", ".part"
OURS = re.compile(r"[0-9a-f]{32}/[0-9a-f]{2}/[0-9a-f]{32}(\.kv|\.\d+\.part)")
UNFINISHED_S = 3600  # until what is not finished is nobody's any more
WAITING_BYTES_MAX = 64 << 20  # that wait to be written
FOREIGN_SHARE = 0.5  # of the budget, that blocks of other models may keep
CLOSE_S = 10.0  # for what waits to be written when the engine closes

log = logging.getLogger("antiphon.engine")


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    size: int
    used: float  # when, in seconds of the system's clock


class BlockFiles:
    """Implements `tiers.Disk` in `folder / fingerprint`. `read` and `delete` are called by one
    thread, the engine's; `on_drained` is called by the writing one, when it takes more again."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """
        Raises:
            StartupError: the folder cannot be made or written to.
        """
        self._root = folder
        self._folder = folder / fingerprint
        self.foreign_bytes = 0  # that other models keep, as of `found`
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._folder / f"probe-{os.getpid()}{UNFINISHED}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartupError(f"Nothing can be kept in {folder}: {reason}.") from error
        self.on_drained: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Key, tuple[Block, bytes] | None] = OrderedDict()  # None: delete
        self._waiting_bytes = 0
        self._failed: list[Key] = []
        self._closing = False
        self._has_warned = False
        self._thread = threading.Thread(target=self._run, name="antiphon-disk", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """See `tiers.Disk.is_busy`."""
        return self._waiting_bytes > WAITING_BYTES_MAX

    def write(self, block: Block, data: bytes) -> None:
        """See `tiers.Disk.write`."""
        with self._changed:
            self._waiting[block.key] = (block, data)
            self._waiting_bytes += len(data)
            self._changed.notify_all()

    def delete(self, key: Key) -> None:
        """See `tiers.Disk.delete`."""
        with self._changed:
            if (before := self._waiting.pop(key, None)) is not None:
                self._waiting_bytes -= len(before[1])
            self._waiting[key] = None
            self._changed.notify_all()

    def read(self, block: Block) -> bytes | None:
        """See `tiers.Disk.read`."""
        with self._changed:
            waiting = self._waiting.get(block.key)
        if waiting is not None:
            return waiting[1]
        path = self._path(block.key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used last: what the next process goes by
        return _data(content, block)

    def failed(self) -> list[Key]:
        """See `tiers.Disk.failed`."""
        with self._changed:
            failed, self._failed = self._failed, []
        return failed

    def found(self, bytes_max: int) -> Iterator[tuple[Block, int]]:
        """What is there of this model, with the size of its bytes, the least recently used first.
        Deletes what was left unfinished, and what other models have beyond their share of
        `bytes_max`."""
        ours: list[_Found] = []
        others: list[_Found] = []
        for found in sorted(self._scan(), key=lambda found: found.used):
            (ours if self._folder in found.path.parents else others).append(found)
        self._make_room(others, int(FOREIGN_SHARE * bytes_max))
        for found in ours:
            if (head := _read_head(found)) is not None:
                yield head
            else:
                _unlink(found.path)

    def free_bytes(self) -> int:
        """That may still be written, beside what is here already."""
        here = sum(found.size for found in self._scan())
        return shutil.disk_usage(self._folder).free + here

    def close(self) -> None:
        """Write what waits, as far as there is time for it. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.warning("the cache on disk is not complete: the disk was too slow")

    def _path(self, key: Key) -> Path:
        return self._folder / key.hex()[:2] / (key.hex() + SUFFIX)

    def _scan(self) -> Iterator[_Found]:
        """Blocks of all models. Removes what was never finished."""
        for path in self._root.glob("*/*/*"):
            if OURS.fullmatch(path.relative_to(self._root).as_posix()) is None:
                continue
            try:
                state = path.stat(follow_symlinks=False)
            except OSError:
                continue
            if path.name.endswith(SUFFIX):
                yield _Found(path, state.st_size, state.st_mtime)
            elif time.time() - state.st_mtime > UNFINISHED_S:
                _unlink(path)

    def _make_room(self, others: Sequence[_Found], bytes_max: int) -> None:
        """Let other models, whose files these are in order of use, keep that much."""
        self.foreign_bytes = sum(found.size for found in others)
        for found in others:
            if self.foreign_bytes <= bytes_max:
                return
            if _unlink(found.path):
                self.foreign_bytes -= found.size

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                key, item = next(iter(self._waiting.items()))
            is_done = _unlink(self._path(key)) if item is None else self._write(*item)
            with self._changed:
                if not is_done and item is not None:
                    self._failed.append(key)
                was_busy = self.is_busy
                if self._waiting.get(key, False) is item:  # it may have been deleted meanwhile
                    del self._waiting[key]
                    self._waiting_bytes -= len(item[1]) if item is not None else 0
                drained = was_busy and not self.is_busy
            if drained:
                self.on_drained()

    def _write(self, block: Block, data: bytes) -> bool:
        path = self._path(block.key)
        unfinished = path.with_suffix(f".{os.getpid()}{UNFINISHED}")
        tokens = block.tokens.tobytes()
        checksum = zlib.crc32(data, zlib.crc32(block.key + block.parent + tokens))
        numbers = (len(block.tokens), len(data), checksum)
        head = HEADER.pack(MAGIC, block.key, block.parent, *numbers)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _unlink(unfinished)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(unfinished, flags, 0o600), "wb") as file:
                file.write(head + tokens)
                file.write(data)
            unfinished.replace(path)
        except OSError as error:
            _unlink(unfinished)
            if not self._has_warned:
                self._has_warned = True
                log.warning("the cache on disk cannot be written: %s", error.strerror or error)
            return False
        return True


def _unlink(path: Path) -> bool:
    """Whether it is gone. A disk that is read-only or broken is no reason to stop."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _read_head(found: _Found) -> tuple[Block, int] | None:
    try:
        with found.path.open("rb") as file:
            start = file.read(HEADER.size)
            if len(start) < HEADER.size:
                return None
            tokens_size = 4 * HEADER.unpack(start)[3]
            start += file.read(min(tokens_size, found.size))
    except OSError:
        return None
    return _head(start, found.size, found.path.stem)


def _head(start: bytes, size: int, name: str) -> tuple[Block, int] | None:
    """The block that a file holds, and the size of its bytes, judged by its beginning."""
    if len(start) < HEADER.size:
        return None
    magic, key, parent, num_tokens, num_bytes, _ = HEADER.unpack_from(start)
    if magic != MAGIC or key.hex() != name or size != HEADER.size + 4 * num_tokens + num_bytes:
        return None
    tokens = array("i")
    tokens.frombytes(start[HEADER.size : HEADER.size + 4 * num_tokens])
    return (Block(key, parent, tokens), num_bytes) if len(tokens) == num_tokens else None


def _data(content: bytes, block: Block) -> bytes | None:
    """The bytes of a block, if the file is whole and holds that."""
    head = _head(content, len(content), block.key.hex())
    if head is None or head[0] != block:
        return None
    *_, checksum = HEADER.unpack_from(content)
    start = HEADER.size + 4 * len(block.tokens)
    body = memoryview(content)[start:]
    named = zlib.crc32(block.key + block.parent + block.tokens.tobytes())
    return bytes(body) if zlib.crc32(body, named) == checksum else None
