"""Blocks of computed prompts in memory and on disk."""

import random
from array import array
from collections.abc import Sequence

import pytest

from antiphon.engines.llamacpp.blocks import (
    BLOCK_BYTES_MAX,
    BLOCK_TOKENS_MAX,
    Block,
    Key,
    block_behind,
    block_tokens,
    extend,
    root_key,
)
from antiphon.engines.llamacpp.tiers import SIBLINGS_MAX, Tiers

SIZE = 4
TOKENS = list(range(1000, 1014))  # three whole blocks and a short one


def chain_of(tokens: Sequence[int], owner: str = "ann") -> list[Block]:
    """All blocks of a prompt, the last one short."""
    chain: list[Block] = []
    extend(chain, tokens, owner, SIZE)
    if rest := tokens[len(chain) * SIZE :]:
        chain.append(block_behind(chain[-1].key if chain else root_key(owner), rest))
    return chain


class Files(dict[Key, bytes]):
    """A disk that takes what it is told to."""

    is_busy = False
    lost: Sequence[Key] = ()

    def failed(self) -> list[Key]:
        lost, self.lost = list(self.lost), ()
        return lost

    def write(self, block: Block, data: bytes) -> None:
        self[block.key] = data

    def read(self, block: Block) -> bytes | None:
        return self.get(block.key)

    def delete(self, key: Key) -> None:
        self.pop(key, None)


def new_tiers(ram: int = 1000, disk: Files | None = None, **options: object) -> Tiers:
    return Tiers(block_tokens=SIZE, ram_bytes_max=ram, disk=disk, disk_bytes_max=1000, **options)  # type: ignore[arg-type]


def store(tiers: Tiers, tokens: Sequence[int], owner: str = "ann") -> list[Block]:
    chain = chain_of(tokens, owner)
    for number, block in enumerate(chain):
        if tiers.wants(block, number * SIZE):
            tiers.put(block, block.tokens.tobytes())
    tiers.check()
    return chain


def found(tiers: Tiers, tokens: Sequence[int], owner: str = "ann") -> int:
    """How many tokens of a prompt are stored."""
    return sum(piece.length for piece in tiers.find(tokens, owner, []))


def test_a_block_is_found_by_everything_up_to_its_end_and_its_owner() -> None:
    tiers = new_tiers()
    store(tiers, TOKENS)

    assert found(tiers, TOKENS) == 14
    assert found(tiers, [*TOKENS, 1, 2, 3]) == 14
    assert found(tiers, TOKENS[:9]) == 8
    assert found(tiers, [*TOKENS[:6], 1, 2, 3]) == 4, "two tokens of a block are not worth it"
    assert found(tiers, [7, *TOKENS[1:]]) == 0
    assert found(tiers, TOKENS, "bob") == 0


def test_what_is_shared_is_stored_once() -> None:
    tiers = new_tiers()
    for last in range(10):
        store(tiers, [*TOKENS[:12], last])

    assert tiers.num_blocks == 3 + 10


def test_of_thousands_that_begin_alike_the_latest_are_looked_at() -> None:
    tiers = new_tiers(ram=100_000)
    for number in range(SIBLINGS_MAX + 100):
        store(tiers, [7, 8, number, number])

    tiers.put(block_behind(root_key("ann"), [7, 8, 9]), bytes(12))
    for number in range(SIBLINGS_MAX - 1):
        store(tiers, [7, 8, 1000 + number, 0])

    assert found(tiers, [7, 8, 9]) == 3
    store(tiers, [7, 8, 3000, 0])
    assert found(tiers, [7, 8, 9]) == 0
    assert found(tiers, [7, 8, 3, 3]) == 4, "a whole block is found among any number"


def test_a_short_block_makes_way_for_the_longer_one() -> None:
    tiers = new_tiers()
    short = store(tiers, TOKENS[:10])[-1]
    store(tiers, TOKENS)
    store(tiers, TOKENS[:9])

    assert tiers.num_blocks == 4
    assert tiers.holds(short), "its tokens can be had from the longer one"


def test_the_least_recently_used_leave_memory_first_and_the_beginning_of_a_prompt_last() -> None:
    tiers = new_tiers(ram=4 * 12)
    one, two = list(range(12)), list(range(100, 112))
    store(tiers, one)
    blocks = [piece.block for piece in tiers.find(one, "ann", [])]
    tiers.touch(blocks)
    store(tiers, two[:4])

    assert found(tiers, one) == 8
    store(tiers, two[:8])
    assert found(tiers, one) == 4
    store(tiers, list(range(200, 208)))
    assert found(tiers, one) == 0


def test_of_a_prompt_larger_than_the_budget_the_beginning_is_kept() -> None:
    files = Files()
    for tiers in (new_tiers(ram=160), Tiers(
        block_tokens=SIZE, ram_bytes_max=0, disk=files, disk_bytes_max=160
    )):  # fmt: skip
        store(tiers, list(range(60)))
        assert found(tiers, list(range(60))) == 40
        for piece in tiers.find(list(range(60)), "ann", []):
            tiers.get(piece.block)
        store(tiers, list(range(100, 108)))
        assert found(tiers, list(range(60))) >= 28


def test_part_of_a_block_is_worth_it_from_sixteen_tokens_on() -> None:
    tiers = Tiers(block_tokens=64, ram_bytes_max=1000)
    tiers.put(block_behind(root_key("ann"), range(64)), bytes(8))

    assert found(tiers, [*range(15), 999]) == 0
    assert found(tiers, [*range(16), 999]) == 16


def test_what_could_not_be_written_is_forgotten() -> None:
    files = Files()
    tiers = new_tiers(ram=0, disk=files)
    files.lost = [store(tiers, TOKENS)[0].key]
    tiers.write_waiting()

    tiers.check()
    assert found(tiers, TOKENS) == 0


def test_a_longer_block_inherits_the_pin_of_the_shorter() -> None:
    tiers = new_tiers(ram=4 * 16)
    tiers.pin(store(tiers, [5, 6, 7]), until=5)
    store(tiers, [5, 6, 7, 8])
    for start in range(0, 400, 100):
        store(tiers, list(range(start, start + 8)))

    assert found(tiers, [5, 6, 7, 8]) == 4


def test_what_is_pinned_stays_in_memory_until_its_time_is_over() -> None:
    tiers = new_tiers(ram=4 * 16)
    tiers.pin(store(tiers, TOKENS[:8]), until=5)
    for start in range(0, 400, 100):
        store(tiers, list(range(start, start + 8)))
    assert found(tiers, TOKENS) == 8

    tiers.expire(5)
    store(tiers, list(range(500, 516)))
    assert found(tiers, TOKENS) == 0


def test_pins_take_half_of_the_memory_at_most() -> None:
    tiers = new_tiers(ram=4 * 16)
    tiers.pin(store(tiers, list(range(12))), until=5)
    store(tiers, list(range(100, 108)))

    assert found(tiers, list(range(100, 108))) == 8


def test_what_leaves_memory_is_read_from_disk() -> None:
    files = Files()
    tiers = new_tiers(ram=4 * 12, disk=files)
    first = store(tiers, TOKENS)
    store(tiers, list(range(12)))

    assert found(tiers, TOKENS) == 14
    assert [tiers.get(block) for block in first] == [block.tokens.tobytes() for block in first]
    tiers.check()


def test_a_block_that_the_disk_has_lost_is_forgotten() -> None:
    files = Files()
    tiers = new_tiers(ram=0, disk=files)
    first = store(tiers, TOKENS)
    del files[first[1].key]

    assert tiers.get(first[1]) is None
    tiers.check()
    assert found(tiers, TOKENS) == 4


def test_a_busy_disk_gets_it_later() -> None:
    files = Files()
    files.is_busy = True
    tiers = new_tiers(disk=files)
    store(tiers, TOKENS)
    assert not files
    assert not tiers.has_to_write
    assert tiers.num_unwritten == 4

    files.is_busy = False
    tiers.write_waiting()
    assert len(files) == 4


def test_a_block_that_nothing_takes_is_given_back() -> None:
    files = Files()
    tiers = new_tiers(ram=0, disk=files)
    one, two, *_ = chain_of(TOKENS)
    assert tiers.put(one, bytes(16))
    files.is_busy = True
    assert not tiers.put(two, bytes(16))
    assert not tiers.holds(two)
    files.is_busy = False
    assert tiers.put(two, bytes(16))
    assert tiers.put(two, bytes(16)), "it is there"
    assert tiers.fits(16)
    assert not tiers.put(block_behind(two.key, [1]), bytes(2000))
    assert not tiers.fits(2000), "no use to try it again"
    tiers.check()


def test_the_disk_has_a_budget_of_its_own() -> None:
    files = Files()
    tiers = Tiers(block_tokens=SIZE, ram_bytes_max=0, disk=files, disk_bytes_max=40)
    for start in range(0, 1000, 100):
        store(tiers, list(range(start, start + 10)))
        assert tiers.disk_bytes == sum(map(len, files.values())) <= 40


def test_what_is_found_at_the_start_is_there_and_the_oldest_is_deleted() -> None:
    files = Files()
    blocks = [(block, 16) for block in chain_of(list(range(12)))]
    files.update({block.key: block.tokens.tobytes() for block, _ in blocks})
    tiers = Tiers(block_tokens=SIZE, ram_bytes_max=0, disk=files, disk_bytes_max=40, found=blocks)

    assert len(files) == 2
    assert tiers.disk_bytes == 32


def test_whole_states_are_found_whole() -> None:
    tiers = new_tiers(whole=True)
    for length in (5, 9, 12):
        tiers.put(block_behind(root_key("ann"), TOKENS[:length]), bytes(8))
    tiers.check()

    assert tiers.num_blocks == 3, "none is part of another"
    assert [found(tiers, TOKENS[:length]) for length in (4, 5, 8, 11, 14)] == [0, 5, 5, 9, 12]


def test_a_whole_state_is_found_among_any_number_of_later_ones() -> None:
    tiers = new_tiers(ram=100_000, whole=True)
    pinned = block_behind(root_key("ann"), TOKENS[:9])
    for tokens in (TOKENS[:9], TOKENS[:5]):
        tiers.put(block_behind(root_key("ann"), tokens), bytes(8))
    for number in range(3 * SIBLINGS_MAX):
        tiers.put(block_behind(root_key("ann"), [7, 8, number]), bytes(8))

    assert found(tiers, TOKENS) == 9
    assert found(tiers, [7, 8, 3, 9]) == 3
    assert found(tiers, TOKENS, "bob") == 0
    tiers.forget(pinned)
    assert found(tiers, TOKENS) == 5, "the longest that is left"
    tiers.check()


def test_blocks_of_large_models_are_shorter() -> None:
    assert block_tokens(4096) == BLOCK_TOKENS_MAX
    assert block_tokens(114_688) == 64  # 0.6B
    assert block_tokens(327_680) == 16  # 70B
    assert block_tokens(1 << 30) == 1
    for size in (1, 1000, 200_000, 1 << 22):
        assert block_tokens(size) * size <= BLOCK_BYTES_MAX


@pytest.mark.parametrize("seed", range(20))
def test_the_books_are_right_whatever_happens(seed: int) -> None:
    draw = random.Random(seed)
    files = Files()
    tiers = new_tiers(ram=draw.choice([0, 50, 300]), disk=draw.choice([None, files]))
    for _ in range(400):
        files.is_busy = draw.random() < 0.3
        tokens = [draw.randrange(2) for _ in range(draw.randint(1, 14))]
        kept = store(tiers, tokens, draw.choice(["ann", "bob"]))
        if draw.random() < 0.2:
            tiers.pin(kept, draw.random())
        if draw.random() < 0.1 and files:
            del files[draw.choice(list(files))]
        tiers.expire(draw.random())
        tiers.write_waiting()
        for piece in tiers.find(tokens, "ann", []):
            data = tiers.get(piece.block)
            assert data is None or array("i", data) == piece.block.tokens
            assert list(piece.block.tokens[: piece.length]) == tokens[: piece.length]
            tokens = tokens[piece.length :]
        tiers.check()
