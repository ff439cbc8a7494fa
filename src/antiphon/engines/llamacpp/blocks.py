"""Pieces of computed prompts that can be stored, and how they are found again. Pure.

A block is what the cells of a few tokens hold. It is found by everything up to its end and by its
owner, so a beginning that a thousand conversations share is stored once. What the bytes mean is the
runner's business.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

BLOCK_TOKENS_MAX = 64
BLOCK_BYTES_MAX = 8 << 20  # saving holds the interpreter's lock for 19 ms then

type Key = bytes


@dataclass(frozen=True, slots=True)
class Block:
    """`tokens` behind what `parent` stands for. The last block of a prompt may be a short one."""

    key: Key
    parent: Key
    tokens: "array[int]"


@dataclass(frozen=True, slots=True)
class Piece:
    """The first `length` tokens of a stored block."""

    block: Block
    length: int


def block_tokens(bytes_per_cell: int, window: int = 0) -> int:
    """How many tokens a block has, for a model whose cells are of that size. Of more than a sliding
    window, where there is one, llama.cpp saves the end only."""
    tokens = min(BLOCK_TOKENS_MAX, window or BLOCK_TOKENS_MAX)
    while tokens > 1 and tokens * bytes_per_cell > BLOCK_BYTES_MAX:
        tokens //= 2
    return tokens


def root_key(owner: str) -> Key:
    """What the first block of an owner's prompts follows."""
    return blake2b(owner.encode(), digest_size=16).digest()


def block_behind(parent: Key, tokens: Sequence[int]) -> Block:
    run = array("i", tokens)
    return Block(blake2b(parent + run.tobytes(), digest_size=16).digest(), parent, run)


def keys_behind(parent: Key, tokens: Sequence[int], lengths: Iterable[int]) -> Iterator[Key]:
    """Of the blocks that the first tokens would be, as many as each of the ascending `lengths`."""
    digest, run, start = blake2b(parent, digest_size=16), array("i", tokens), 0
    for length in lengths:
        digest.update(run[start:length].tobytes())
        start = length
        yield digest.digest()


def extend(chain: list[Block], tokens: Sequence[int], owner: str, size: int) -> None:
    """Append the whole blocks of `tokens` that `chain` lacks; it holds those in front of them.
    Modifies `chain`."""
    for start in range(len(chain) * size, len(tokens) - size + 1, size):
        parent = chain[-1].key if chain else root_key(owner)
        chain.append(block_behind(parent, tokens[start : start + size]))
