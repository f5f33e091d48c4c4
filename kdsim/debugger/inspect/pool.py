"""Kernel pool: what the tag tables say, and what the heaps hold, block by block.

Reads: nt!ExPoolTagTables, nt!PoolTrackTableSize, nt!PoolTrackTableExpansion(Size),
nt!PoolBigPageTable(Size), nt!ExPoolState, nt!RtlpHpHeapGlobals.
The segment-heap encodings are those of section 10 of Windows 10 19041's structures: a VS chunk
header is XORed with its own address and the heap key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault

PAGE = 0x1000
NONPAGED, NONPAGED_NX, PAGED = 0, 1, 2
HEAP_NAMES = {NONPAGED: "NonPaged", NONPAGED_NX: "NonPagedNx", PAGED: "Paged"}


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


@dataclass(frozen=True, slots=True)
class PoolBlock:
    """One block, allocated or free.

    Attributes:
        address: of the POOL_HEADER, or of the first byte of a big allocation.
        size: bytes, header included.
        previous: bytes of the block before it in the same page run, 0 for the first.
        heap: index of its heap (0 nonpaged, 1 nonpaged NX, 2 paged).
        big: a page-aligned allocation without POOL_HEADER.
    """

    address: int
    size: int
    previous: int
    tag: int
    allocated: bool
    heap: int
    big: bool = False

    @property
    def end(self) -> int:
        return self.address + self.size

    @property
    def paged(self) -> bool:
        return self.heap == PAGED


def usage_by_tag(nt: Nt) -> list[TagUse]:
    """Every tag with its totals, in tag order.

    A single processor's counters may be negative (a block is freed where the thread runs), so
    only the sums over all tables mean anything.
    """
    totals: dict[int, list[int]] = {}
    for base, count in _tracker_tables(nt):
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


def _add_table(nt: Nt, base: int, count: int, totals: dict[int, list[int]]) -> None:
    layout = nt.record("_POOL_TRACKER_TABLE")
    key = nt.bits("_POOL_TRACKER_TABLE", "Key")
    columns = [
        nt.bits("_POOL_TRACKER_TABLE", name)
        for name in (
            "NonPagedAllocs",
            "NonPagedFrees",
            "NonPagedBytes",
            "PagedAllocs",
            "PagedFrees",
            "PagedBytes",
        )
    ]
    data = nt.memory.read(base, count * layout.size)
    for offset in range(0, len(data), layout.size):
        entry = int.from_bytes(data[offset : offset + layout.size], "little")
        tag = key.of(entry)
        if tag:
            sums = totals.setdefault(tag, [0] * len(columns))
            for column, place in enumerate(columns):
                sums[column] += place.of(entry)


def big_blocks(nt: Nt) -> Iterator[PoolBlock]:
    """Allocations of a page and more, from nt!PoolBigPageTable."""
    layout = nt.record("_POOL_TRACKER_BIG_PAGES")
    va, key, size, kind = (
        nt.bits("_POOL_TRACKER_BIG_PAGES", name)
        for name in ("Va", "Key", "NumberOfBytes", "PoolType")
    )
    table = nt.pointer("PoolBigPageTable")
    data = nt.memory.read(table, nt.pointer("PoolBigPageTableSize") * layout.size)
    for offset in range(0, len(data), layout.size):
        raw = data[offset : offset + layout.size]
        if not any(raw):
            continue
        entry = int.from_bytes(raw, "little")
        address = va.of(entry)
        if address & 1 or not address:
            continue
        pool_type = kind.of(entry)
        heap = PAGED if pool_type & 1 else NONPAGED_NX if pool_type & 0x200 else NONPAGED
        yield PoolBlock(address, size.of(entry), 0, key.of(entry), True, heap, big=True)


@dataclass(frozen=True, slots=True)
class Heap:
    """One pool heap: its index in EX_HEAP_POOL_NODE.Heaps and its SEGMENT_HEAP."""

    index: int
    address: int

    @property
    def name(self) -> str:
        return HEAP_NAMES.get(self.index, f"heap {self.index}")


def heaps(nt: Nt) -> list[Heap]:
    """The pool heaps of node 0."""
    state = nt.view("_EX_POOL_HEAP_MANAGER_STATE", nt.address("ExPoolState"))
    pointers = state.PoolNode[0].Heaps
    found = ((index, pointers[index]) for index in (NONPAGED, NONPAGED_NX, PAGED))
    return [Heap(index, address) for index, address in found if address]


class VsWalker:
    """Walks the variable-size chunks of one heap's subsegments."""

    def __init__(self, nt: Nt, heap: Heap) -> None:
        self._nt = nt
        self._heap = heap
        self._key = nt.view("_RTLP_HP_HEAP_GLOBALS", nt.address("RtlpHpHeapGlobals")).HeapKey
        size = "_HEAP_VS_CHUNK_HEADER_SIZE"
        self._size = nt.bits(size, "UnsafeSize")
        self._previous = nt.bits(size, "UnsafePrevSize")
        self._allocated = nt.bits(size, "Allocated")
        self._chunk_header = nt.record("_HEAP_VS_CHUNK_HEADER").size
        self._subsegment_header = -(-nt.record("_HEAP_VS_SUBSEGMENT").size // 16) * 16
        self._pool_header = nt.record("_POOL_HEADER").size
        self._tag = nt.bits("_POOL_HEADER", "PoolTag")

    def subsegments(self) -> Iterator[tuple[int, int]]:
        """(first byte, size in bytes) of each subsegment."""
        heap = self._nt.view("_SEGMENT_HEAP", self._heap.address)
        head = heap.VsContext.at("SubsegmentList")
        for view in self._nt.list_entries(head, "_HEAP_VS_SUBSEGMENT", "ListEntry"):
            yield view.address, 16 * view.Size

    def blocks(self, subsegment: int, size: int) -> Iterator[PoolBlock]:
        """The blocks of one subsegment, in address order. MemoryFault when a header is damaged."""
        data = self._nt.memory.read(subsegment, size)
        offset, previous = self._subsegment_header, 0
        while offset + self._chunk_header <= size:
            chunk = subsegment + offset
            raw = int.from_bytes(data[offset : offset + 8], "little")
            decoded = raw ^ chunk ^ self._key
            length = 16 * self._size.of(decoded)
            if not length or offset + length > size:
                raise MemoryFault(chunk, 16, "damaged heap chunk header")
            header = offset + self._chunk_header
            allocated = bool(self._allocated.of(decoded))
            fields = int.from_bytes(data[header : header + self._pool_header], "little")
            yield PoolBlock(
                address=chunk + self._chunk_header,
                size=length - self._chunk_header,
                previous=previous,
                tag=self._tag.of(fields) if allocated else 0,
                allocated=allocated,
                heap=self._heap.index,
            )
            previous = length - self._chunk_header
            offset += length

    def all_blocks(self) -> Iterator[PoolBlock]:
        for subsegment, size in self.subsegments():
            yield from self.blocks(subsegment, size)


def small_blocks(nt: Nt, heap: Heap) -> Iterator[PoolBlock]:
    """Every block of a heap's VS subsegments, free ones included."""
    return VsWalker(nt, heap).all_blocks()


def find_tag(nt: Nt, pattern: str, heap_indexes: tuple[int, ...]) -> Iterator[PoolBlock]:
    """Allocated blocks whose tag matches; `?` is one character, `*` any, case counts."""
    for block in big_blocks(nt):
        if block.heap in heap_indexes and tag_matches(block.tag, pattern):
            yield block
    for heap in heaps(nt):
        if heap.index in heap_indexes:
            for block in small_blocks(nt, heap):
                if block.allocated and tag_matches(block.tag, pattern):
                    yield block


def tag_matches(tag: int, pattern: str) -> bool:
    """Case-sensitive match of a tag's four characters against `!poolfind`'s pattern."""
    text = unprotected(tag).to_bytes(4, "little").decode("latin-1")
    prefix, star, _ = pattern.partition("*")
    wanted = prefix if star else prefix.ljust(4)[:4]
    if star and len(wanted) > 4:
        return False
    return all(w in ("?", c) for w, c in zip(wanted, text, strict=False))


@dataclass(frozen=True, slots=True)
class PoolPage:
    """What `!pool` shows of the page around an address."""

    address: int
    heap: Heap
    blocks: tuple[PoolBlock, ...]
    wanted: PoolBlock | None


def page_of(nt: Nt, address: int) -> PoolPage:
    """The blocks that touch the page of `address`; MemoryFault when it is not pool."""
    page = address & -PAGE
    by_index = {heap.index: heap for heap in heaps(nt)}
    for block in big_blocks(nt):
        if block.address <= address < block.address + -(-block.size // PAGE) * PAGE:
            return PoolPage(page, by_index[block.heap], (block,), block)
    for heap in by_index.values():
        walker = VsWalker(nt, heap)
        for subsegment, size in walker.subsegments():
            if subsegment <= address < subsegment + size:
                blocks = [b for b in walker.blocks(subsegment, size) if _touches(b, page)]
                if blocks:
                    blocks[0] = replace(blocks[0], previous=0)
                wanted = next((b for b in blocks if b.address <= address < b.end), None)
                return PoolPage(page, heap, tuple(blocks), wanted)
    raise MemoryFault(address, 1, "not in a pool heap")


def _touches(block: PoolBlock, page: int) -> bool:
    return block.address < page + PAGE and block.end > page
