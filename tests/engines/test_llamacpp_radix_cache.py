"""The radix cache knows who holds what, and counts every cell once."""

import random

import pytest

from antiphon.engines.llamacpp.radix_cache import Match, RadixCache, common_prefix


def running(cache: RadixCache, seq_id: int, tokens: list[int]) -> None:
    cache.lock(seq_id)
    cache.insert(seq_id, tokens)


def retired(cache: RadixCache, seq_id: int, tokens: list[int]) -> None:
    running(cache, seq_id, tokens)
    cache.unlock(seq_id)


def test_common_prefix_equals_a_plain_loop() -> None:
    draw = random.Random(7)
    for _ in range(500):
        run = [draw.randrange(2) for _ in range(draw.randrange(12))]
        tokens = [draw.randrange(2) for _ in range(draw.randrange(12))]
        start = draw.randrange(4)
        expected = 0
        for left, right in zip(run, tokens[start:], strict=False):
            if left != right:
                break
            expected += 1
        assert common_prefix(run, tokens, start) == expected


def test_match_finds_the_longest_prefix_of_anyone() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3])
    running(cache, 1, [1, 2, 4, 5])

    assert cache.match([9]) == Match(0, None)
    assert cache.match([1, 2, 3, 9]) == Match(3, 0)
    assert cache.match([1, 2, 4, 5, 6]) == Match(4, 1)
    assert cache.match([1, 2, 4]) == Match(3, 1)
    assert cache.cells == 7  # computed apart from each other, so nothing is shared


def test_owners_do_not_find_each_others() -> None:
    cache = RadixCache()
    cache.lock(0, "ann")
    cache.insert(0, [1, 2, 3])
    cache.unlock(0)

    assert cache.match([1, 2, 3], "ann") == Match(3, 0)
    assert cache.match([1, 2, 3], "bob") == Match(0, None)
    cache.lock(1, "bob")
    cache.insert(1, [1, 2, 3])
    cache.check()
    assert cache.cells == 6
    assert cache.twin(1) is None


def test_match_modifies_nothing() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3])
    retired(cache, 1, [5])

    for tokens in ([1], [1, 2, 3, 4], [7]):
        cache.match(tokens)

    assert cache.evict() == 0  # still the one that was unused for longest


def test_whole_matches_only_end_where_a_retired_sequence_ends() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3])
    running(cache, 1, [4, 5])

    assert cache.match([1, 2, 9], whole=True) == Match(0, None)
    assert cache.match([1, 2, 3, 9], whole=True) == Match(3, 0)
    assert cache.match([4, 5, 6], whole=True) == Match(0, None)


def test_a_fork_shares_cells() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3, 4])

    cache.fork(0, 1, 2)
    cache.lock(1)
    cache.insert(1, [7, 8])

    cache.check()
    assert cache.cells == 6
    assert cache.cells_locked == 4
    assert cache.tokens(0) == [1, 2, 3, 4]
    assert cache.tokens(1) == [1, 2, 7, 8]
    assert not cache.is_redundant(0)


def test_dropping_frees_only_what_nobody_else_holds() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3, 4])
    cache.fork(0, 1, 2)

    cache.drop(0)

    cache.check()
    assert cache.cells == 2
    assert cache.match([1, 2, 3, 4]) == Match(2, 1)
    cache.drop(1)
    assert cache.cells == 0
    assert cache.match([1, 2]) == Match(0, None)


def test_running_sequences_are_not_evicted() -> None:
    cache = RadixCache()
    running(cache, 0, [1, 2])
    retired(cache, 1, [3, 4])
    retired(cache, 2, [5, 6])
    cache.touch(1)

    assert [cache.evict(), cache.evict(), cache.evict()] == [2, 1, None]
    assert cache.cells == cache.cells_locked == 2


def test_cells_to_lock() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3, 4])
    assert cache.cells_to_lock(0, 3) == 3

    cache.fork(0, 1, 2)
    cache.lock(1)

    assert cache.cells_to_lock(0, 3) == 1
    assert cache.cells_locked == 2


def test_a_prefix_of_another_sequence_is_redundant() -> None:
    cache = RadixCache()
    retired(cache, 0, [1, 2, 3])
    cache.fork(0, 1, 3)

    assert cache.is_redundant(0)
    cache.drop(1)
    assert not cache.is_redundant(0)


def test_only_who_holds_its_last_token_alone_can_be_shortened() -> None:
    cache = RadixCache()
    for seq_id, tokens in enumerate([[1, 2, 3], [1, 2, 4]]):
        cache.lock(seq_id)
        cache.insert(seq_id, tokens)
    assert not cache.can_shorten(0, [1, 2, 3], 2), "it runs"
    cache.unlock(0)
    assert cache.can_shorten(0, [1, 2, 3], 2)
    assert not cache.can_shorten(0, [1, 2, 4], 2), "another token"
    assert not cache.can_shorten(0, [1, 2, 3], 1), "it is longer"
    cache.fork(0, 2, 3)
    assert not cache.can_shorten(0, [1, 2, 3], 2), "another one holds it too"


def test_shortening_frees_one_cell() -> None:
    cache = RadixCache()
    cache.lock(0)
    cache.insert(0, [1, 2])
    cache.fork(0, 1, 2)
    cache.insert(0, [3])
    cache.unlock(0)
    assert cache.can_shorten(0, [1, 2, 3], 2)

    cache.shorten(0)

    cache.check()
    assert cache.tokens(0) == cache.tokens(1) == [1, 2]
    assert cache.cells == 2


@pytest.mark.parametrize("seed", range(10))
def test_random_operations_against_plain_lists_of_cells(seed: int) -> None:
    """The model: every sequence is a list of cell numbers, and sharing means equal numbers."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    cache = RadixCache()
    model: dict[int, list[tuple[int, int]]] = {}  # sequence id -> (cell, token)
    locked: set[int] = set()
    next_cell = 0
    actions = ["new", "grow", "grow", "grow", "fork", "drop", "shorten", "evict", "swap"]
    for _ in range(400):
        free = [i for i in range(8) if i not in model]
        action = draw.choice(actions)
        if action == "new" and free:
            cache.lock(free[0])
            locked.add(free[0])
            model[free[0]] = []
            action, grown = "grow", free[0]
        elif locked:
            grown = draw.choice(sorted(locked))
        if action == "grow" and locked:
            tokens = [draw.randrange(3) for _ in range(draw.randint(1, 4))]
            cache.insert(grown, tokens)
            model[grown] += [(next_cell + n, token) for n, token in enumerate(tokens)]
            next_cell += len(tokens)
        elif action == "fork" and free and model:
            source = draw.choice(sorted(model))
            length = draw.randint(1, len(model[source]))
            cache.fork(source, free[0], length)
            model[free[0]] = model[source][:length]
        elif action == "drop" and model:
            seq_id = draw.choice(sorted(model))
            cache.drop(seq_id)
            del model[seq_id]
            locked.discard(seq_id)
        elif action == "shorten" and model:
            seq_id = draw.choice(sorted(model))
            tokens = cache.tokens(seq_id)
            if len(tokens) > 1 and cache.can_shorten(seq_id, tokens, len(tokens) - 1):
                cache.shorten(seq_id)
                model[seq_id].pop()
        elif action == "evict":
            evicted = cache.evict()
            assert (evicted is None) == (set(model) == locked)
            if evicted is not None:
                assert evicted not in locked
                del model[evicted]
        elif action == "swap" and model:
            seq_id = draw.choice(sorted(model))
            (cache.unlock if seq_id in locked else cache.lock)(seq_id)
            locked ^= {seq_id}

        cache.check()
        assert cache.cells == len({cell for cells in model.values() for cell, _ in cells})
        assert cache.cells_locked == len({cell for i in locked for cell, _ in model[i]})
        for seq_id, cells in model.items():
            assert cache.tokens(seq_id) == [token for _, token in cells]
        wanted = [draw.randrange(3) for _ in range(6)]
        longest = max(
            (common_prefix([t for _, t in cells], wanted, 0) for cells in model.values()),
            default=0,
        )
        assert cache.match(wanted).length == longest
