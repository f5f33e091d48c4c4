"""The pool's heaps, block by block.

Reads: nt!ExPoolState (the heaps and their segments), nt!RtlpHpHeapGlobals (the keys headers are
scrambled with). Windows 10 19041 keeps pool in segment heaps: a segment is an array of pages with
one descriptor each; a run of pages is a variable-size (VS) subsegment, a low-fragmentation (LFH)
one, or a large block of its own. A VS chunk header is XORed with its own address and the heap key,
an LFH subsegment's geometry with its page number and the LFH key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault
from kdsim.symbols.memory import Memory
from kdsim.symbols.views import View

PAGE = 0x1000
UNIT = 16
"""Bytes in which chunk sizes are counted."""
NONPAGED, NONPAGED_NX, PAGED = 0, 1, 2
HEAP_NAMES = {NONPAGED: "NonPaged", NONPAGED_NX: "NonPagedNx", PAGED: "Paged"}

# _HEAP_PAGE_RANGE_DESCRIPTOR.RangeFlags; the types are _HEAP_SEG_RANGE_TYPE.
RANGE_ALLOCATED, RANGE_FIRST = 0x1, 0x2
RANGE_TYPE_SHIFT, RANGE_TYPE_MASK = 2, 0x3
LFH_RANGE, VS_RANGE = 2, 3


@dataclass(frozen=True, slots=True)
class PoolBlock:
    """One block, allocated or free.

    Attributes:
        address: of the POOL_HEADER, or of the first byte of a big allocation.
        size: bytes, header included.
        previous: bytes of the block before it in the same run of pages, 0 for the first.
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


@dataclass(frozen=True, slots=True)
class Heap:
    """One pool heap: its index in EX_HEAP_POOL_NODE.Heaps and its SEGMENT_HEAP."""

    index: int
    address: int

    @property
    def name(self) -> str:
        return HEAP_NAMES.get(self.index, f"heap {self.index}")


def heaps(nt: Nt) -> list[Heap]:
    """The pool heaps of every node."""
    state = nt.view("_EX_POOL_HEAP_MANAGER_STATE", nt.address("ExPoolState"))
    found: list[Heap] = []
    for node in range(max(state.NumberOfPools, 1)):
        pointers = state.PoolNode[node].Heaps
        found += [Heap(kind, pointers[kind]) for kind in HEAP_NAMES if pointers[kind]]
    return found


def special_heaps(nt: Nt) -> list[Heap]:
    """The heaps of special pool; none when nothing asked for special pool."""
    state = nt.view("_EX_POOL_HEAP_MANAGER_STATE", nt.address("ExPoolState"))
    return [Heap(index, va) for index, va in enumerate(state.SpecialHeaps) if va]


class Range(NamedTuple):
    """A run of pages in a segment and what it is used for."""

    start: int
    size: int
    type: int


class Layout:
    """Where the fields a walk needs lie, looked up once: a pool has hundreds of thousands."""

    def __init__(self, nt: Nt) -> None:
        keys = nt.view("_RTLP_HP_HEAP_GLOBALS", nt.address("RtlpHpHeapGlobals"))
        self.heap_key: int = keys.HeapKey
        self.lfh_key: int = keys.LfhKey
        sizes = "_HEAP_VS_CHUNK_HEADER_SIZE"
        self.size = nt.bits(sizes, "UnsafeSize")
        self.previous = nt.bits(sizes, "UnsafePrevSize")
        self.allocated = nt.bits(sizes, "Allocated")
        self.chunk_header = nt.record("_HEAP_VS_CHUNK_HEADER").size
        self.first_chunk = -(-nt.record("_HEAP_VS_SUBSEGMENT").size // UNIT) * UNIT
        self.pool_header = nt.record("_POOL_HEADER").size
        self.tag_offset = nt.record("_POOL_HEADER").offset("PoolTag")
        self.descriptor = nt.record("_HEAP_PAGE_RANGE_DESCRIPTOR")


class Chunk(NamedTuple):
    """A heap chunk as its header tells: sizes in bytes."""

    offset: int
    size: int
    previous: int
    allocated: bool


class HeapWalker:
    """The segments, runs and blocks of one heap."""

    def __init__(self, nt: Nt, heap: Heap, layout: Layout | None = None) -> None:
        self._nt = nt
        self._layout = layout or Layout(nt)
        self.heap = heap

    def ranges(self) -> list[Range]:
        """The runs of VS and LFH blocks, by address."""
        return sorted(r for context in self._contexts() for r in self._context_ranges(context))

    def range_of(self, address: int) -> Range | None:
        """The run that holds an address; reads that address's segment only."""
        for context in self._contexts():
            start = address & context.SegmentMask
            if start in self._segments(context):
                found = self._segment_ranges(context, start)
                return next((r for r in found if r.start <= address < r.start + r.size), None)
        return None

    def _contexts(self) -> Iterator[View]:
        view = self._nt.view("_SEGMENT_HEAP", self.heap.address)
        yield from (context.snapshot() for context in view.SegContexts)

    def _segments(self, context: View) -> list[int]:
        head = context.at("SegmentListHead")
        offset = self._nt.record("_HEAP_PAGE_SEGMENT").offset("ListEntry")
        return [link - offset for link in self._nt.list_addresses(head)]

    def _context_ranges(self, context: View) -> Iterator[Range]:
        for segment in self._segments(context):
            yield from self._segment_ranges(context, segment)

    def _segment_ranges(self, context: View, segment: int) -> Iterator[Range]:
        layout = self._layout.descriptor
        count = self._nt.record("_HEAP_PAGE_SEGMENT").size // layout.size
        flags_at, units_at = layout.offset("RangeFlags"), layout.offset("UnitSize")
        data = self._nt.memory.read(segment, count * layout.size)
        index, shift = context.FirstDescriptorIndex, context.UnitShift
        while index < count:
            place = index * layout.size
            flags, units = data[place + flags_at], data[place + units_at] or 1
            kind = flags >> RANGE_TYPE_SHIFT & RANGE_TYPE_MASK
            in_use = RANGE_ALLOCATED | RANGE_FIRST
            if flags & in_use == in_use and kind in (VS_RANGE, LFH_RANGE):
                yield Range(segment + (index << shift), units << shift, kind)
            index += units

    # -- blocks -----------------------------------------------------------------------------------

    def blocks(self, piece: Range) -> Iterator[PoolBlock]:
        """The blocks of one run, in address order. MemoryFault when a VS header is damaged."""
        data = read_sparse(self._nt.memory, piece.start, piece.size)
        if piece.type == LFH_RANGE:
            yield from self._lfh_blocks(piece.start, data)
        else:
            yield from self._vs_blocks(piece.start, data)

    def tagged(self, piece: Range, wanted: dict[int, bool]) -> Iterator[PoolBlock]:
        """The allocated blocks of a run whose tag is `wanted`.

        `wanted` answers for a tag and is a dictionary so that each tag is matched once. This loop
        is what a search through the pool spends its time in.
        """
        if piece.type == LFH_RANGE:
            for block in self.blocks(piece):
                if block.allocated and wanted[block.tag]:
                    yield block
            return
        layout, heap = self._layout, self.heap.index
        data = read_sparse(self._nt.memory, piece.start, piece.size)
        words = memoryview(data).cast("Q")
        tags = memoryview(data).cast("I")
        size_shift, size_mask = layout.size
        allocated_shift, allocated_mask = layout.allocated
        start, key, end = piece.start, layout.heap_key, len(words)
        index, previous, header = layout.first_chunk // 8, 0, layout.chunk_header
        tag_index = (header + layout.tag_offset) // 4
        while index < end:
            raw = words[index] ^ (start + 8 * index) ^ key
            units = raw >> size_shift & size_mask
            if not units or index + 2 * units > end:
                raise _damaged(start + 8 * index)
            if raw >> allocated_shift & allocated_mask and wanted[tags[2 * index + tag_index]]:
                tag = tags[2 * index + tag_index]
                at = start + 8 * index + header
                yield PoolBlock(at, UNIT * units - header, previous, tag, True, heap)
            previous = UNIT * units - header
            index += 2 * units

    def chunks(self, start: int, data: bytes | bytearray, offset: int) -> Iterator[Chunk]:
        """The chunks of a VS subsegment from an offset on; MemoryFault at a damaged header."""
        layout = self._layout
        while offset + layout.chunk_header <= len(data):
            raw = int.from_bytes(data[offset : offset + 8], "little")
            decoded = raw ^ (start + offset) ^ layout.heap_key
            size = UNIT * layout.size.of(decoded)
            if not size or offset + size > len(data):
                raise _damaged(start + offset)
            previous = UNIT * layout.previous.of(decoded)
            yield Chunk(offset, size, previous, bool(layout.allocated.of(decoded)))
            offset += size

    def _vs_blocks(self, start: int, data: bytearray) -> Iterator[PoolBlock]:
        previous = 0
        for chunk in self.chunks(start, data, self._layout.first_chunk):
            yield self.block(start, data, chunk, previous)
            previous = chunk.size

    def block(self, start: int, data: bytearray, chunk: Chunk, previous: int) -> PoolBlock:
        """The block in a chunk; `previous` is the size of the chunk before it."""
        header = self._layout.chunk_header
        at = chunk.offset + header
        before = max(previous - header, 0)
        tag = self._tag(data, at) if chunk.allocated else 0
        size = chunk.size - header
        return PoolBlock(start + at, size, before, tag, chunk.allocated, self.heap.index)

    def _lfh_blocks(self, start: int, data: bytearray) -> Iterator[PoolBlock]:
        nt = self._nt
        view = nt.view("_HEAP_LFH_SUBSEGMENT", start)
        encoded = nt.read_integer(view.at("BlockOffsets"), 4)
        decoded = (encoded ^ self._layout.lfh_key ^ (start >> 12)) & 0xFFFFFFFF
        record = "_HEAP_LFH_SUBSEGMENT_ENCODED_OFFSETS"
        size = nt.bits(record, "BlockSize").of(decoded)
        first = nt.bits(record, "FirstBlockOffset").of(decoded)
        count = view.BlockCount
        if not size or first + count * size > len(data):
            raise MemoryFault(start, 16, "damaged heap subsegment header")
        bitmap = nt.read_integer(view.at("BlockBitmap"), -(-count // 4))
        for index in range(count):
            # Two bits a block: the lower one says that it is in use.
            busy, at = bool(bitmap >> 2 * index & 1), first + index * size
            tag = self._tag(data, at) if busy else 0
            previous = size if index else 0
            yield PoolBlock(start + at, size, previous, tag, busy, self.heap.index)

    def _tag(self, data: bytearray, header: int) -> int:
        at = header + self._layout.tag_offset
        return int.from_bytes(data[at : at + 4], "little")

    @property
    def first_chunk(self) -> int:
        """Offset of the first chunk of a VS subsegment."""
        return self._layout.first_chunk


def _damaged(chunk: int) -> MemoryFault:
    return MemoryFault(chunk, 16, "damaged heap chunk header")


def read_sparse(memory: Memory, va: int, size: int) -> bytearray:
    """A range in which some pages may be missing, which read as zeros.

    A heap gives the pages inside a large free chunk back, but never the one a header lies in.
    """
    try:
        return bytearray(memory.read(va, size))
    except MemoryFault:
        pass
    data = bytearray(size)
    for page in range(0, size, PAGE):
        length = min(PAGE, size - page)
        try:
            data[page : page + length] = memory.read(va + page, length)
        except MemoryFault:
            continue
    return data


def all_blocks(nt: Nt, heap: Heap) -> Iterator[PoolBlock]:
    """Every block of a heap, free ones included."""
    walker = HeapWalker(nt, heap)
    for piece in walker.ranges():
        yield from walker.blocks(piece)
