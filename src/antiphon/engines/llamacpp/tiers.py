"""Where blocks are when they have left the cells: in memory, on disk, or both. Pure: what touches
files is a `Disk`.

Each tier has a budget in bytes and gives up what was unused for longest, the end of a prompt before
its beginning, since nothing behind a beginning that is gone is found. Everything that is stored in
memory is written to the disk as well, as fast as that takes it, so a conversation survives even a
process that is killed. A block that cannot be read is forgotten: then it is computed.
"""

from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import Protocol

from antiphon.engines.llamacpp.blocks import Block, Key, Piece, extend, keys_behind, root_key
from antiphon.engines.llamacpp.radix_cache import common_prefix

PINNED_SHARE = 0.5  # of the memory, at most
SIBLINGS_MAX = 128  # that are looked at for a beginning, half a millisecond's worth
BLOCKS_MAX = 65_536  # of a tier
PART_TOKENS_MIN = 16  # of a block that others leave in the middle: reading it costs as much as all


class Disk(Protocol):
    @property
    def is_busy(self) -> bool:
        """Whether so much waits to be written that no more is taken."""

    def write(self, block: Block, data: bytes) -> None:
        """Store a block, some time from now; `failed` tells if that was in vain."""

    def failed(self) -> list[Key]:
        """What could not be written, since the last call."""

    def read(self, block: Block) -> bytes | None:
        """What was written, or None if it is missing or damaged."""

    def delete(self, key: Key) -> None: ...


class Tiers:
    """`whole`: blocks are states of whole sequences, because this model's cannot be cut. `found` is
    what is on the disk already with its size, the least recently used first."""

    def __init__(
        self,
        *,
        block_tokens: int,
        ram_bytes_max: int,
        whole: bool = False,
        disk: Disk | None = None,
        disk_bytes_max: int = 0,
        found: Iterable[tuple[Block, int]] = (),
    ) -> None:
        self.block_tokens = block_tokens
        self.whole = whole
        self.ram_bytes_max = ram_bytes_max
        self._disk = disk if disk_bytes_max > 0 else None
        self.disk_bytes_max = 0 if self._disk is None else disk_bytes_max
        self.ram_bytes = self.disk_bytes = 0
        self.freed_bytes = 0  # of memory, since the start
        self._in_ram: OrderedDict[Key, bytes] = OrderedDict()
        self._on_disk: OrderedDict[Key, int] = OrderedDict()
        self._unwritten: OrderedDict[Key, None] = OrderedDict()  # in memory, and not on disk yet
        self._blocks: dict[Key, Block] = {}  # in either
        self._children: defaultdict[Key, dict[Key, Block]] = defaultdict(dict)
        self._lengths: defaultdict[Key, Counter[int]] = defaultdict(Counter)  # of whole states
        self._pinned: dict[Key, float] = {}
        self._first_to_expire = inf
        for block, size in found if self._disk is not None else ():
            self._know(block)
            self._on_disk[block.key] = size
            self.disk_bytes += size
            self._touch_ancestors(block)
        self._shrink_disk()

    @property
    def num_blocks(self) -> int:
        return len(self._blocks)

    @property
    def is_enabled(self) -> bool:
        return self.ram_bytes_max > 0 or self._disk is not None

    @property
    def disk_takes_more(self) -> bool:
        return self._disk is not None and not self._disk.is_busy

    @property
    def takes_more(self) -> bool:
        """Whether what is put would be stored."""
        return self.ram_bytes_max > 0 or self.disk_takes_more

    @property
    def num_unwritten(self) -> int:
        """Blocks that are in memory and not on their way to the disk yet."""
        return len(self._unwritten)

    @property
    def has_to_write(self) -> bool:
        """Whether the disk would take something now. Modifies nothing."""
        return bool(self._unwritten) and self.disk_takes_more

    def holds(self, block: Block) -> bool:
        """Whether its tokens can be had, from it or a longer one. Modifies nothing."""
        if block.key in self._blocks:
            return True
        if self.whole or len(block.tokens) == self.block_tokens:
            return False
        length = len(block.tokens)
        return any(other.tokens[:length] == block.tokens for other in self._behind(block.parent))

    def wants(self, block: Block, start: int) -> bool:
        """Whether it is worth to store: it is not there, and what it follows, at position `start`,
        is. Modifies nothing."""
        is_led_to = self.whole or start == 0 or block.parent in self._blocks
        return is_led_to and not self.holds(block)

    def find(self, tokens: Sequence[int], owner: str, chain: list[Block]) -> list[Piece]:
        """What brings an empty sequence furthest towards `tokens`. Extends `chain`, the whole
        blocks of them."""
        if self.whole:
            return self._find_whole(tokens, owner)
        size = self.block_tokens
        extend(chain, tokens, owner, size)
        pieces: list[Piece] = []
        parent = root_key(owner)
        for block in chain:
            if block.key not in self._blocks:
                break
            pieces.append(Piece(self._blocks[block.key], size))
            parent = block.key
        start = len(pieces) * size
        rest = array("i", tokens[start : start + size])
        best = max(
            (Piece(other, common_prefix(other.tokens, rest, 0)) for other in self._behind(parent)),
            key=lambda piece: piece.length,
            default=None,
        )
        if best is not None and best.length >= min(PART_TOKENS_MIN, len(best.block.tokens)):
            pieces.append(best)
        return pieces

    def fits(self, size: int) -> bool:
        """Whether a block of so many bytes can be stored at all."""
        return size <= max(self.ram_bytes_max, self.disk_bytes_max)

    def put(self, block: Block, data: bytes) -> bool:
        """Store a block. Modifies what is stored: the least recently used may go. False if it is
        not stored: it fits nowhere, or only on the disk, and that is busy."""
        if self.holds(block):
            return True
        fits_in_ram = len(data) <= self.ram_bytes_max
        fits_on_disk = len(data) <= self.disk_bytes_max  # which is 0 without one
        if not fits_in_ram and not (fits_on_disk and self.disk_takes_more):
            return False
        self._replace_shorter(block)
        self._know(block)
        if fits_in_ram:
            self._keep(block.key, data)
            if fits_on_disk:
                self._unwritten[block.key] = None
                self.write_waiting()
        else:
            self._write(block, data)
        self._touch_ancestors(block)
        self._shrink_ram()
        self._shrink_disk()
        return True

    def get(self, block: Block) -> bytes | None:
        """The bytes of a block, None if it is gone. Modifies where it is stored."""
        data = self._in_ram.get(block.key)
        if data is None and block.key in self._on_disk:
            assert self._disk is not None
            data = self._disk.read(block)
            if data is None:
                self._drop_from_disk(block.key)
            elif len(data) <= self.ram_bytes_max:
                self._keep(block.key, data)
                self._touch_ancestors(block)
                self._shrink_ram()
        return data

    def forget(self, block: Block) -> None:
        """It is not what it should be. Modifies what is stored."""
        self._drop_from_ram(block.key)
        self._drop_from_disk(block.key)

    def touch(self, blocks: Sequence[Block]) -> None:
        """They were wanted: the first of them last, since nothing behind it is found without it.
        Modifies what was used last."""
        for block in reversed(blocks):
            if block.key in self._in_ram:
                self._in_ram.move_to_end(block.key)
            if block.key in self._on_disk:
                self._on_disk.move_to_end(block.key)

    def pin(self, blocks: Iterable[Block], until: float) -> None:
        """Keep these in memory until then, before others, as far as half of it goes. Modifies the
        order of eviction."""
        for block in blocks:
            self._pinned[block.key] = max(until, self._pinned.get(block.key, until))
            self._first_to_expire = min(self._first_to_expire, until)

    def expire(self, now: float) -> None:
        if now >= self._first_to_expire:
            self._pinned = {key: until for key, until in self._pinned.items() if until > now}
            self._first_to_expire = min(self._pinned.values(), default=inf)

    def write_waiting(self) -> None:
        """Hand the disk as much as it takes. Modifies what is on it."""
        for key in () if self._disk is None else self._disk.failed():
            self._drop_from_disk(key)
        while self.has_to_write:
            key, _ = self._unwritten.popitem(last=False)
            self._write(self._blocks[key], self._in_ram[key])
        self._shrink_disk()

    def check(self) -> None:
        """Recount everything. Modifies nothing; for tests."""
        assert self.ram_bytes == sum(map(len, self._in_ram.values())) <= max(self.ram_bytes_max, 0)
        assert self.disk_bytes == sum(self._on_disk.values()) <= self.disk_bytes_max
        assert self._blocks.keys() == self._in_ram.keys() | self._on_disk.keys()
        assert self._unwritten.keys() <= self._in_ram.keys() - self._on_disk.keys()
        assert sum(map(len, self._children.values())) == len(self._blocks)
        assert all(self._children.values())
        if self.whole:
            lengths = [len(block.tokens) for block in self._blocks.values()]
            assert Counter(lengths) == sum(self._lengths.values(), Counter())
            assert all(self._lengths.values())

    def _find_whole(self, tokens: Sequence[int], owner: str) -> list[Piece]:
        root = root_key(owner)
        lengths = sorted(length for length in self._lengths.get(root, ()) if length <= len(tokens))
        for key in reversed(list(keys_behind(root, tokens, lengths))):
            if (state := self._blocks.get(key)) is not None:
                return [Piece(state, len(state.tokens))]
        return []

    def _replace_shorter(self, block: Block) -> None:
        """The end of a conversation is part of a longer block when that has gone on."""
        if self.whole:
            return
        for other in list(self._behind(block.parent)):
            if other.tokens == block.tokens[: len(other.tokens)]:
                if (until := self._pinned.pop(other.key, None)) is not None:
                    self._pinned[block.key] = until
                self.forget(other)

    def _behind(self, parent: Key) -> Iterator[Block]:
        """Blocks that follow another, the latest of them: thousands of conversations may begin
        alike."""
        return islice(reversed(self._children.get(parent, {}).values()), SIBLINGS_MAX)

    def _keep(self, key: Key, data: bytes) -> None:
        self._in_ram[key] = data
        self.ram_bytes += len(data)

    def _write(self, block: Block, data: bytes) -> None:
        assert self._disk is not None
        self._disk.write(block, data)
        self._on_disk[block.key] = len(data)
        self.disk_bytes += len(data)

    def _touch_ancestors(self, block: Block) -> None:
        """What a block follows was used as well, and goes after it."""
        above = self._blocks.get(block.parent)
        while above is not None:
            self.touch([above])
            above = self._blocks.get(above.parent)

    def _shrink_ram(self) -> None:
        while self.ram_bytes > self.ram_bytes_max or len(self._in_ram) > BLOCKS_MAX:
            self._drop_from_ram(self._first_to_go())

    def _first_to_go(self) -> Key:
        """The least recently used that is not pinned, or pinned beyond the share of pins."""
        pinned = 0
        for key, data in self._in_ram.items():
            pinned += len(data)
            if key not in self._pinned or pinned > PINNED_SHARE * self.ram_bytes_max:
                return key
        return next(iter(self._in_ram))

    def _shrink_disk(self) -> None:
        while self.disk_bytes > self.disk_bytes_max or len(self._on_disk) > BLOCKS_MAX:
            self._drop_from_disk(next(iter(self._on_disk)))

    def _drop_from_ram(self, key: Key) -> None:
        if (data := self._in_ram.pop(key, None)) is not None:
            self.ram_bytes -= len(data)
            self.freed_bytes += len(data)
            self._unwritten.pop(key, None)
            self._forget_if_gone(key)

    def _drop_from_disk(self, key: Key) -> None:
        if (size := self._on_disk.pop(key, None)) is not None:
            assert self._disk is not None
            self.disk_bytes -= size
            self._disk.delete(key)
            self._forget_if_gone(key)

    def _know(self, block: Block) -> None:
        if block.key not in self._blocks:
            self._blocks[block.key] = block
            self._children[block.parent][block.key] = block
            if self.whole:
                self._lengths[block.parent][len(block.tokens)] += 1

    def _forget_if_gone(self, key: Key) -> None:
        if key in self._in_ram or key in self._on_disk:
            return
        block = self._blocks.pop(key)
        siblings = self._children[block.parent]
        del siblings[key]
        if not siblings:
            del self._children[block.parent]
        if self.whole:
            lengths, length = self._lengths[block.parent], len(block.tokens)
            lengths[length] -= 1
            if not lengths[length]:
                del lengths[length]
            if not lengths:
                del self._lengths[block.parent]
