"""Which sequence id holds which prefix, and how many cells that takes. Pure bookkeeping.

A radix tree over token ids that mirrors what is physically in the unified KV cache: a node is a
run of cells, and its `holders` are the sequence ids those cells are tagged with. A prefix that
many sequences share is one node and counts once. Two sequences that computed the same tokens
apart from each other are two nodes, since they are two runs of cells; so a node may have several
children that begin with the same token. Every owner has a tree of its own: how soon an answer
begins must not tell one of them what another has said.

Nothing reports how many cells are in use (the binding does not), so this count is the truth that
admission lives by. Running sequences are locked and cannot be evicted; all others are retired.

Which retired sequence goes first: the one that was unused for longest, where what its cells would
cost to be had again counts as later uses. So what is dear stays longer than what is cheap, but not
for ever.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import count
from typing import NamedTuple

DEPTH_TOKENS = 4096  # of context cost about as much as a token itself


class Match(NamedTuple):
    """The longest cached prefix of some tokens, and a sequence id that holds it."""

    length: int
    seq_id: int | None


class RadixCache:
    def __init__(self) -> None:
        self._roots: defaultdict[str, _Node] = defaultdict(lambda: _Node([], None, 0))  # by owner
        self._ends: dict[int, _Node] = {}  # sequence id -> the node where its tokens end
        self._last_used: dict[int, int] = {}  # retired sequence ids only
        self._ticks = count()
        self._locked: set[int] = set()
        self.cells = 0  # in use
        self.cells_locked = 0  # of these, held by at least one locked sequence

    @property
    def retired(self) -> int:
        """How many sequences can be evicted."""
        return len(self._last_used)

    def holds(self, seq_id: int) -> bool:
        """Whether a sequence id is in use. Modifies nothing."""
        return seq_id in self._ends

    def length(self, seq_id: int) -> int:
        """How many tokens a sequence holds. Modifies nothing."""
        return self._ends[seq_id].end

    def is_locked(self, seq_id: int) -> bool:
        """Whether a sequence is running. Modifies nothing."""
        return seq_id in self._locked

    def match(self, tokens: Sequence[int], owner: str = "", *, whole: bool = False) -> Match:
        """Find the longest prefix of `tokens` that any sequence of the owner holds. Modifies
        nothing.

        Prefers a retired sequence that ends there: it can be taken over without a copy. `whole`
        accepts nothing else.
        """
        best = Match(0, None)
        stack = [(child, 0) for child in self._roots[owner].children]
        while stack:
            node, start = stack.pop()
            length = common_prefix(node.tokens, tokens, start)
            if length == 0:
                continue
            if whole:
                ends_here = [i for i in node.holders if self._is_retired_at(node, i)]
                holder = min(ends_here, default=None) if length == len(node.tokens) else None
            else:
                holder = min(node.holders, key=lambda i: (not self._is_retired_at(node, i), i))
            if holder is not None and start + length > best.length:
                best = Match(start + length, holder)
            if length == len(node.tokens):
                stack += [(child, start + length) for child in node.children]
        return best

    def cells_to_lock(self, seq_id: int, length: int) -> int:
        """Cells that locking the first `length` tokens of a sequence would newly lock. Modifies
        nothing."""
        cells = 0
        for node in self._ends[seq_id].path():
            if node.num_locks == 0:
                cells += max(0, min(node.end, length) - node.start)
        return cells

    def lock(self, seq_id: int, owner: str = "") -> None:
        """Keep a sequence from being evicted: it runs. Modifies who may be evicted. `owner`: whose
        it is, if its id was not in use."""
        assert seq_id not in self._locked
        self._locked.add(seq_id)
        self._last_used.pop(seq_id, None)
        if seq_id not in self._ends:
            self._ends[seq_id] = self._roots[owner]
        for node in self._ends[seq_id].path():
            node.num_locks += 1
            if node.num_locks == 1:
                self.cells_locked += len(node.tokens)

    def unlock(self, seq_id: int) -> None:
        """Let a sequence be evicted: it is retired. Modifies who may be evicted."""
        self._locked.remove(seq_id)
        self._last_used[seq_id] = next(self._ticks)
        for node in self._ends[seq_id].path():
            node.num_locks -= 1
            if node.num_locks == 0:
                self.cells_locked -= len(node.tokens)

    def insert(self, seq_id: int, tokens: Sequence[int]) -> None:
        """Append tokens that a locked sequence has just computed. Modifies the tree and takes
        `len(tokens)` cells."""
        assert seq_id in self._locked
        assert tokens
        node = self._ends[seq_id]
        if node.parent is None or len(node.holders) > 1:
            node = node.add_child()
            node.holders.add(seq_id)
            node.num_locks = 1
            self._ends[seq_id] = node
        assert not node.children, "only the holders of a node can go on behind it"
        node.tokens.extend(tokens)
        self.cells += len(tokens)
        self.cells_locked += len(tokens)

    def fork(self, source: int, target: int, length: int) -> None:
        """Let an unused sequence id hold the first `length` tokens of another. Modifies the tree;
        takes no cells."""
        assert target not in self._ends
        assert 0 < length <= self.length(source)
        node = self._ends[source]
        while node.start >= length:
            assert node.parent is not None
            node = node.parent
        if node.end > length:
            node = self._split(node, length)
        for shared in node.path():
            shared.holders.add(target)
        self._ends[target] = node
        self._last_used[target] = next(self._ticks)

    def can_shorten(self, seq_id: int, tokens: Sequence[int], length: int) -> bool:
        """Whether a retired sequence holds the first `length` of these tokens, and the next one,
        which nobody else holds. Modifies nothing."""
        node = self._ends[seq_id]
        is_its_own = seq_id in self._last_used and node.holders == {seq_id}
        return is_its_own and node.end == length + 1 and node.tokens[-1] == tokens[length]

    def shorten(self, seq_id: int) -> None:
        """Take the last token off a sequence that alone holds it and is retired. Modifies the tree
        and frees its cell."""
        node = self._ends[seq_id]
        assert seq_id in self._last_used
        assert node.holders == {seq_id}
        assert node.parent is not None
        node.tokens.pop()
        self.cells -= 1
        if not node.tokens:
            node.parent.children.remove(node)
            self._ends[seq_id] = node.parent

    def touch(self, seq_id: int) -> None:
        """Make a retired sequence the most recently used. Modifies the order of eviction."""
        if seq_id in self._last_used:
            self._last_used[seq_id] = next(self._ticks)

    def drop(self, seq_id: int) -> None:
        """Forget a sequence. Modifies the tree; frees the cells that nobody else holds."""
        if seq_id in self._locked:
            self.unlock(seq_id)
        del self._last_used[seq_id]
        for node in self._ends.pop(seq_id).path():
            node.holders.remove(seq_id)
            if not node.holders:
                assert node.parent is not None
                self.cells -= len(node.tokens)
                node.parent.children.remove(node)
            elif len(node.children) == 1 and node.children[0].holders == node.holders:
                self._join(node)

    def by_last_use(self) -> list[int]:
        """Retired ids, the one that was unused for longest first. Modifies nothing."""
        return sorted(self._last_used, key=self._last_used.__getitem__)

    def evict(
        self, keep: Container[int] = (), factor: Callable[[int], float] = lambda _: 1.0
    ) -> int | None:
        """Drop the retired sequence that is worth least, if it is not in `keep`; return its id,
        None if there is none. `factor` says what share of its cost a sequence has. Modifies as
        `drop` does."""
        scale = len(self._last_used)  # twice the cost is worth a turn of all

        def worth(seq_id: int) -> float:
            return self._last_used[seq_id] + scale * factor(seq_id) * self._cost(seq_id)

        retired = (seq_id for seq_id in self._last_used if seq_id not in keep)
        first = min(retired, key=worth, default=None)
        if first is not None:
            self.drop(first)
        return first

    def is_redundant(self, seq_id: int) -> bool:
        """Whether other sequences hold every cell of this one too. Modifies nothing."""
        node = self._ends[seq_id]
        return node.parent is None or len(node.holders) > 1

    def twin(self, seq_id: int) -> int | None:
        """Another sequence that holds the same tokens, and perhaps more, in cells of its own: the
        same request came again, and its last token was computed again. Modifies nothing."""
        node = self._ends[seq_id]
        if node.parent is None or node.children or len(node.holders) > 1:
            return None
        for other in node.parent.children:
            if other is not node and other.tokens[: len(node.tokens)] == node.tokens:
                return min(other.holders, key=lambda i: (i not in self._last_used, i))
        return None

    def tokens(self, seq_id: int) -> list[int]:
        """What a sequence holds, in order. Modifies nothing."""
        runs = [node.tokens for node in self._ends[seq_id].path()]
        return [token for run in reversed(runs) for token in run]

    def check(self) -> None:
        """Recount everything. Modifies nothing; for tests and idle moments."""
        nodes = [node for root in self._roots.values() for node in root.descendants()]
        assert self.cells == sum(len(node.tokens) for node in nodes)
        assert self.cells_locked == sum(len(node.tokens) for node in nodes if node.num_locks)
        assert self._locked.isdisjoint(self._last_used)
        assert self._ends.keys() == self._locked | self._last_used.keys()
        for node in nodes:
            assert node.tokens
            assert node.holders
            assert node.num_locks == len(node.holders & self._locked)
            ends_here = {i for i in node.holders if self._ends[i] is node}
            below = [i for child in node.children for i in child.holders]
            assert len(below) == len(set(below)), "a sequence is one path"
            assert node.holders == ends_here | set(below)
            assert ends_here.isdisjoint(below)

    def _cost(self, seq_id: int) -> float:
        """Of computing the cells again that a sequence alone holds, for each of them: a token far
        from the beginning looks back on more."""
        node = self._ends[seq_id]
        return 1.0 + (node.start + node.end) / 2 / DEPTH_TOKENS

    def _is_retired_at(self, node: "_Node", seq_id: int) -> bool:
        return self._ends[seq_id] is node and seq_id in self._last_used

    def _split(self, node: "_Node", at: int) -> "_Node":
        """Cut a node in two at position `at`; return the upper half."""
        assert node.start < at < node.end
        assert node.parent is not None
        upper = _Node(node.tokens[: at - node.start], node.parent, node.start)
        upper.holders = set(node.holders)
        upper.num_locks = node.num_locks
        upper.children = [node]
        siblings = node.parent.children
        siblings[siblings.index(node)] = upper
        del node.tokens[: at - node.start]
        node.start, node.parent = at, upper
        return upper

    def _join(self, node: "_Node") -> None:
        """Undo a split that serves nobody any more: a node and its only child become one."""
        (child,) = node.children
        node.tokens += child.tokens
        node.children = child.children
        for grandchild in node.children:
            grandchild.parent = node
        for seq_id in node.holders:
            if self._ends[seq_id] is child:
                self._ends[seq_id] = node


class _Node:
    """A run of cells that the same sequences hold."""

    __slots__ = ("children", "holders", "num_locks", "parent", "start", "tokens")

    def __init__(self, tokens: list[int], parent: "_Node | None", start: int) -> None:
        self.tokens = tokens
        self.parent = parent
        self.start = start  # position of the first token
        self.children: list[_Node] = []
        self.holders: set[int] = set()
        self.num_locks = 0  # holders that are locked

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    def add_child(self) -> "_Node":
        child = _Node([], self, self.end)
        self.children.append(child)
        return child

    def path(self) -> Iterator["_Node"]:
        """This node and those above it, without the root."""
        node = self
        while node.parent is not None:
            parent = node.parent
            yield node
            node = parent

    def descendants(self) -> Iterator["_Node"]:
        stack = list(self.children)
        while stack:
            node = stack.pop()
            yield node
            stack += node.children


def common_prefix(run: Sequence[int], tokens: Sequence[int], start: int) -> int:
    """How many tokens at the beginning of `run` equal `tokens[start:]`.

    Halving slices compares in C: 16 µs for 10,000 equal tokens where a loop takes 600.
    """
    longest = min(len(run), len(tokens) - start)
    if longest <= 0 or run[0] != tokens[start]:
        return 0
    if run[:longest] == tokens[start : start + longest]:
        return longest
    low, high = 1, longest  # the first `low` are equal, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if run[low:middle] == tokens[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low
