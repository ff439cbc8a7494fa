"""What leaves the cells for the other tiers, and what comes back from them. Pure.

Retired sequences are stored block by block while there is time. Of one that is evicted before, what
a step still has time for is stored; the rest is computed again. What comes back is a run of blocks
behind what the cells hold.
"""

from antiphon.engines.llamacpp.blocks import Block, Piece, block_behind, extend, root_key
from antiphon.engines.llamacpp.sequence import Sequence
from antiphon.engines.llamacpp.step import Save
from antiphon.engines.llamacpp.tiers import Tiers

STORED_TOKENS_MIN = 16  # what is shorter is computed again as soon as it is read


class Spill:
    """`tiers` None stores nothing."""

    def __init__(self, tiers: Tiers | None) -> None:
        self._tiers = tiers
        self._blocks: dict[int, list[Block]] = {}  # of retired ids: all that they hold
        self._unsaved: dict[int, list[Save]] = {}  # first last
        self._refused: dict[int, list[Save]] = {}  # by a busy disk, the same way

    @property
    def has_to_save(self) -> bool:
        return bool(self._unsaved or self._refused)

    @property
    def can_save(self) -> bool:
        """Whether something of it would be taken now."""
        return self.takes_more and bool(self._unsaved or (self._refused and self.reaches_disk))

    def retire(self, seq_id: int, sequence: Sequence, length: int) -> None:
        """An id that holds the first `length` tokens of a sequence may leave the cells from now
        on."""
        tiers = self._tiers
        if tiers is None:
            return
        blocks: list[Block] = []
        root = root_key(sequence.owner)
        if tiers.whole and length >= STORED_TOKENS_MIN:
            blocks = [block_behind(root, sequence.tokens[:length])]
        elif length >= STORED_TOKENS_MIN:
            blocks = self._whole_blocks(sequence, length)
            if rest := sequence.tokens[len(blocks) * tiers.block_tokens : length]:
                blocks.append(block_behind(blocks[-1].key if blocks else root, rest))
        self._blocks[seq_id] = blocks
        self._list(seq_id, blocks)

    def known_blocks(self, seq_id: int | None, length: int) -> list[Block]:
        """The whole blocks of the first tokens that a retired id holds, if it is one."""
        if self._tiers is None or self._tiers.whole or seq_id not in self._blocks:
            return []
        return self._blocks[seq_id][: length // self._tiers.block_tokens]

    def ahead(self, sequence: Sequence) -> None:
        """It runs, but may soon have to leave the cells: what is whole of it can be stored now."""
        if self._tiers is None or self._tiers.whole or sequence.seq_id in self._unsaved:
            return
        assert sequence.seq_id is not None
        self._list(sequence.seq_id, self._whole_blocks(sequence, sequence.computed))

    def forget(self, seq_id: int) -> None:
        """It has left them, or runs again."""
        for known in (self._blocks, self._unsaved, self._refused):
            known.pop(seq_id, None)

    @property
    def takes_more(self) -> bool:
        return self._tiers is not None and self._tiers.takes_more

    @property
    def reaches_disk(self) -> bool:
        """Whether what is stored outlives the process."""
        return self._tiers is not None and self._tiers.disk_takes_more

    def take_saves(self, most: int) -> list[Save]:
        """The next blocks to store. Modifies what is left to be stored."""
        self._try_again()
        saves: list[Save] = []
        for seq_id in list(self._unsaved):
            if len(saves) >= most:
                break
            saves += self.take_saves_of(seq_id, most - len(saves))
        return saves

    def take_saves_of(self, seq_id: int, most: int) -> list[Save]:
        """The next blocks of one id to store. Modifies what is left to be stored."""
        self._try_again()
        saves: list[Save] = []
        waiting = self._unsaved.get(seq_id, [])
        while waiting and len(saves) < most:
            save = waiting.pop()
            if self._tiers is not None and not self._tiers.holds(save.block):
                saves.append(save)
        if not waiting:
            self._unsaved.pop(seq_id, None)
        return saves

    def save_again(self, refused: list[Save]) -> None:
        """A busy disk did not take these: they, and what follows them, wait until it takes more. Of
        a sequence that runs all is listed anew. Modifies what is left to be stored."""
        for save in reversed(refused):
            behind = self._unsaved.pop(save.seq_id, [])
            if save.block in self._blocks.get(save.seq_id, ()):
                self._refused.setdefault(save.seq_id, []).extend([*behind, save])

    def is_stored(self, seq_id: int) -> bool:
        """Whether a retired sequence can leave the cells without a loss. What stands between the
        first and the last of its blocks goes before the first and after the last."""
        if self._tiers is None or seq_id not in self._blocks:
            return False
        if seq_id in self._unsaved or seq_id in self._refused:
            return False
        blocks = self._blocks[seq_id]
        return not blocks or (self._tiers.holds(blocks[-1]) and self._tiers.holds(blocks[0]))

    def pin(self, seq_id: int, until: float) -> None:
        """Keep what is stored of a retired sequence until then."""
        if self._tiers is not None:
            self._tiers.pin(self._blocks.get(seq_id, ()), until)

    def pieces(self, sequence: Sequence, cached: int) -> list[Piece]:
        """What brings a sequence further than the `cached` tokens in cells, from the block on that
        these end in; none if that is not worth it. The last token is never among it."""
        if self._tiers is None or len(sequence.tokens) - 1 - cached < STORED_TOKENS_MIN:
            return []
        pieces = self._tiers.find(sequence.tokens[:-1], sequence.owner, sequence.chain)
        self._tiers.touch([piece.block for piece in pieces])
        gained = sum(piece.length for piece in pieces) - cached
        if gained < STORED_TOKENS_MIN:
            return []
        return pieces if self._tiers.whole else pieces[cached // self._tiers.block_tokens :]

    def data(self, piece: Piece) -> bytes | None:
        return None if self._tiers is None else self._tiers.get(piece.block)

    def _try_again(self) -> None:
        if self.reaches_disk:
            for seq_id, saves in self._refused.items():
                self._unsaved.setdefault(seq_id, []).extend(saves)
            self._refused.clear()

    def _whole_blocks(self, sequence: Sequence, length: int) -> list[Block]:
        assert self._tiers is not None
        size = self._tiers.block_tokens
        extend(sequence.chain, sequence.tokens[:length], sequence.owner, size)
        return sequence.chain[: length // size]

    def _list(self, seq_id: int, blocks: list[Block]) -> None:
        assert self._tiers is not None
        self._tiers.touch(blocks)
        saves, start = [], 0
        for block in blocks:
            if not self._tiers.holds(block):
                saves.append(Save(seq_id, start, block))
            start += len(block.tokens)
        if saves:
            self._unsaved[seq_id] = saves[::-1]
