"""Kernel pool by tag: the tables of totals, the table of big blocks, searches, one page.

Reads: nt!ExPoolTagTables, nt!PoolTrackTableSize, nt!PoolTrackTableExpansion(Size),
nt!ExpSessionPoolTrackTable(Size), nt!PoolBigPageTable(Size); the heaps through `heaps`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from kdsim.debugger.inspect import heaps
from kdsim.debugger.inspect.heaps import NONPAGED, NONPAGED_NX, PAGE, PAGED, Heap, PoolBlock
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault

SPECIAL = -1
"""Stands for a heap index: special pool."""


PROTECTED = 1 << 31
"""Set in the tag of a block that must be freed with its tag."""


def unprotected(tag: int) -> int:
    return tag & ~PROTECTED


def tag_text(tag: int) -> str:
    """A tag as four characters, dots for what cannot be printed."""
    raw = unprotected(tag).to_bytes(4, "little")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in raw)


@dataclass(frozen=True, slots=True)
class TagUse:
    """Totals of one tag over all processors' tables."""

    tag: int
    nonpaged_allocs: int = 0
    nonpaged_frees: int = 0
    nonpaged_bytes: int = 0
    paged_allocs: int = 0
    paged_frees: int = 0
    paged_bytes: int = 0

    @property
    def text(self) -> str:
        return tag_text(self.tag)

    @property
    def nonpaged_count(self) -> int:
        return self.nonpaged_allocs - self.nonpaged_frees

    @property
    def paged_count(self) -> int:
        return self.paged_allocs - self.paged_frees


def usage_by_tag(nt: Nt, *, session: bool = False) -> list[TagUse]:
    """Every tag with its totals, in tag order; those of the session's pool when asked for.

    A single processor's counters may be negative (a block is freed where the thread runs), so
    only the sums over all tables mean anything.
    """
    totals: dict[int, list[int]] = {}
    for base, count in _session_tables(nt) if session else _tracker_tables(nt):
        _add_table(nt, base, count, totals)
    mask = (1 << 64) - 1
    uses = [TagUse(tag, *(_signed(value & mask) for value in sums)) for tag, sums in totals.items()]
    return sorted((use for use in uses if any(_counters(use))), key=lambda use: use.text)


def _counters(use: TagUse) -> tuple[int, ...]:
    return (use.nonpaged_allocs, use.nonpaged_frees, use.paged_allocs, use.paged_frees)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _tracker_tables(nt: Nt) -> Iterator[tuple[int, int]]:
    """(address, entries) of each processor's table and of the expansion table."""
    size = nt.pointer("PoolTrackTableSize")
    tables = nt.address("ExPoolTagTables")
    for index in range(nt.u32("KeNumberProcessors")):
        table = nt.read_integer(tables + 8 * index, 8)
        if table:
            yield table, size
    expansion = nt.pointer("PoolTrackTableExpansion")
    if expansion:
        yield expansion, nt.pointer("PoolTrackTableExpansionSize")


def _session_tables(nt: Nt) -> Iterator[tuple[int, int]]:
    table = nt.pointer("ExpSessionPoolTrackTable")
    if table:
        yield table, nt.pointer("ExpSessionPoolTrackTableSize")


def has_session_pool(nt: Nt) -> bool:
    """Whether the kernel keeps a pool for each session."""
    return nt.has("ExpSessionPoolTrackTable") and bool(nt.pointer("ExpSessionPoolTrackTable"))


def _add_table(nt: Nt, base: int, count: int, totals: dict[int, list[int]]) -> None:
    layout = nt.record("_POOL_TRACKER_TABLE")
    key = layout.offset("Key")
    columns = [layout.offset(name) for name in COLUMNS]
    data = nt.memory.read(base, count * layout.size)
    for start in range(0, len(data), layout.size):
        tag = int.from_bytes(data[start + key : start + key + 4], "little")
        if tag:
            sums = totals.setdefault(tag, [0] * len(columns))
            for column, offset in enumerate(columns):
                place = start + offset
                sums[column] += int.from_bytes(data[place : place + 8], "little")


COLUMNS = (
    "NonPagedAllocs",
    "NonPagedFrees",
    "NonPagedBytes",
    "PagedAllocs",
    "PagedFrees",
    "PagedBytes",
)


class TagMatcher(dict[int, bool]):
    """Whether a tag is the wanted one, or its text matches a pattern; answers are kept."""

    def __init__(self, wanted: str | int) -> None:
        super().__init__()
        self._wanted = wanted

    def __missing__(self, tag: int) -> bool:
        wanted = self._wanted
        found = tag_matches(tag, wanted) if isinstance(wanted, str) else unprotected(tag) == wanted
        self[tag] = found
        return found


def tag_bytes(wanted: str | int) -> tuple[bytes, ...]:
    """What is in memory wherever a wanted tag is: the longest piece of it without wildcards.

    The last byte of a tag may have the bit of a protected block. Nothing for a pattern that says
    too little to be worth looking for.
    """
    if isinstance(wanted, int):
        piece = wanted.to_bytes(TAG_SIZE, "little")
    else:
        text = wanted if "*" in wanted else wanted.ljust(TAG_SIZE)
        piece = max(re.split(r"[*?]+", text), key=len).encode("latin-1", "replace")
    if len(piece) < WORTHWHILE:
        return ()
    return piece, piece[:-1] + bytes([piece[-1] | 0x80])


TAG_SIZE, WORTHWHILE = 4, 3


def tag_matches(tag: int, pattern: str) -> bool:
    """Match of a tag's four characters; `?` is one character, `*` any number, case counts."""
    text = unprotected(tag).to_bytes(4, "little").decode("latin-1")
    if "*" not in pattern:
        wanted = pattern.ljust(4)
        return len(wanted) == 4 and all(w in ("?", c) for w, c in zip(wanted, text, strict=True))
    parts = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


def big_table(nt: Nt) -> tuple[int, int]:
    """First byte of nt!PoolBigPageTable and the one after its last."""
    table = nt.pointer("PoolBigPageTable")
    size: int = nt.record("_POOL_TRACKER_BIG_PAGES").size
    return table, table + nt.pointer("PoolBigPageTableSize") * size


def big_blocks(nt: Nt) -> Iterator[PoolBlock]:
    """Allocations of a page and more, from nt!PoolBigPageTable."""
    layout = nt.record("_POOL_TRACKER_BIG_PAGES")
    va, key, size, kind = (
        nt.bits("_POOL_TRACKER_BIG_PAGES", name)
        for name in ("Va", "Key", "NumberOfBytes", "PoolType")
    )
    table, end = big_table(nt)
    data = nt.memory.read(table, end - table)
    empty = bytes(layout.size)
    for offset in range(0, len(data), layout.size):
        raw = data[offset : offset + layout.size]
        if raw == empty:
            continue
        entry = int.from_bytes(raw, "little")
        address = va.of(entry)
        if address & 1 or not address:
            continue
        heap = heap_of_type(kind.of(entry))
        yield PoolBlock(address, size.of(entry), 0, key.of(entry), True, heap, big=True)


def heap_of_type(pool_type: int) -> int:
    """Index of the heap that serves a POOL_TYPE: paged is bit 0, no-execute 0x200."""
    return PAGED if pool_type & 1 else NONPAGED_NX if pool_type & 0x200 else NONPAGED


class Region(NamedTuple):
    """Consecutive runs of one heap's blocks."""

    start: int
    end: int
    walker: heaps.HeapWalker
    pieces: tuple[heaps.Range, ...]


def regions(nt: Nt, indexes: tuple[int, ...]) -> Iterator[Region]:
    """The small blocks of some heaps: stretches of their address space, in order.

    Runs less than a segment apart belong together; between them lie big blocks and headers.
    """
    layout = heaps.Layout(nt)
    found = heaps.special_heaps(nt) if indexes == (SPECIAL,) else heaps.heaps(nt)
    for heap in found:
        if heap.index not in indexes and indexes != (SPECIAL,):
            continue
        walker = heaps.HeapWalker(nt, heap, layout)
        pieces: list[heaps.Range] = []
        for piece in walker.ranges():
            if pieces and piece.start - pieces[-1].start >= GAP:
                yield _region(walker, pieces)
                pieces = []
            pieces.append(piece)
        if pieces:
            yield _region(walker, pieces)


GAP = 1 << 20
"""Bytes between two runs that separate regions: the size of a segment."""


def _region(walker: heaps.HeapWalker, pieces: list[heaps.Range]) -> Region:
    end = pieces[-1].start + pieces[-1].size
    return Region(pieces[0].start, end, walker, tuple(pieces))


@dataclass(frozen=True, slots=True)
class PoolPage:
    """What `!pool` shows of the page around an address.

    Attributes:
        damaged: the header from which on the page's run cannot be told apart, 0 for none.
    """

    address: int
    heap: Heap
    blocks: tuple[PoolBlock, ...]
    wanted: PoolBlock | None
    damaged: int = 0


def page_of(nt: Nt, address: int) -> PoolPage | None:
    """The blocks that touch the page of `address`; None when it is not pool."""
    page = address & -PAGE
    big = big_block_at(nt, address)
    if big is not None:
        heap = next((h for h in heaps.heaps(nt) if h.index == big.heap), Heap(big.heap, 0))
        return PoolPage(page, heap, (big,), big)
    found = run_of(nt, address)
    if found is None:
        return None
    walker, piece = found
    blocks: list[PoolBlock] = []
    damaged = 0
    try:
        blocks.extend(block for block in walker.blocks(piece) if _touches(block, page))
    except MemoryFault as error:
        damaged = error.address
    if blocks:
        blocks[0] = replace(blocks[0], previous=0)
    wanted = next((b for b in blocks if b.address <= address < b.end), None)
    return PoolPage(page, walker.heap, tuple(blocks), wanted, damaged)


def big_block_at(nt: Nt, address: int) -> PoolBlock | None:
    """The big block whose pages hold an address."""
    for block in big_blocks(nt):
        if block.address <= address < block.address + -(-block.size // PAGE) * PAGE:
            return block
    return None


def run_of(nt: Nt, address: int) -> tuple[heaps.HeapWalker, heaps.Range] | None:
    """The run of small blocks that holds an address, and the walker of its heap."""
    layout = heaps.Layout(nt)
    for heap in heaps.heaps(nt) + heaps.special_heaps(nt):
        walker = heaps.HeapWalker(nt, heap, layout)
        piece = walker.range_of(address)
        if piece is not None:
            return walker, piece
    return None


def _touches(block: PoolBlock, page: int) -> bool:
    return block.address < page + PAGE and block.end > page
