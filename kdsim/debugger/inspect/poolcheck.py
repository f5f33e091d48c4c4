"""Whether the headers of a pool page fit together.

A chunk's size leads to the next one, which must name that size as its previous; the POOL_HEADER of
a block in use must be of the block's size. A region is bad from the first header that does not
fit to the next place from which the chain reaches the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdsim.debugger.inspect import heaps, pool
from kdsim.debugger.inspect.heaps import PAGE, UNIT, Heap, HeapWalker, PoolBlock
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import MemoryFault


@dataclass(frozen=True, slots=True)
class BadRegion:
    """A stretch of a page that is not what its headers say."""

    start: int
    end: int
    problem: str


@dataclass(frozen=True, slots=True)
class PageCheck:
    """A page's blocks as far as they can be told apart, and what is wrong."""

    heap: Heap
    blocks: tuple[PoolBlock, ...]
    regions: tuple[BadRegion, ...]


def check_page(nt: Nt, address: int) -> PageCheck | None:
    """Check the page of an address; None when it is not pool."""
    page = address & -PAGE
    big = pool.big_block_at(nt, address)
    if big is not None:
        return PageCheck(Heap(big.heap, 0), (big,), ())
    found = pool.run_of(nt, address)
    if found is None:
        return None
    walker, piece = found
    blocks, regions = check_run(nt, walker, piece)
    return PageCheck(
        walker.heap,
        tuple(b for b in blocks if b.address < page + PAGE and b.end > page),
        tuple(r for r in regions if r.start < page + PAGE and r.end > page),
    )


def check_run(
    nt: Nt, walker: HeapWalker, piece: heaps.Range
) -> tuple[list[PoolBlock], list[BadRegion]]:
    """Blocks and bad regions of a run."""
    if piece.type != heaps.VS_RANGE:
        return list(walker.blocks(piece)), []
    data = heaps.read_sparse(nt.memory, piece.start, piece.size)
    blocks: list[PoolBlock] = []
    regions: list[BadRegion] = []
    offset, previous = walker.first_chunk, 0
    while offset < len(data):
        try:
            for chunk in walker.chunks(piece.start, data, offset):
                if previous and chunk.previous != previous:
                    raise MemoryFault(piece.start + chunk.offset, UNIT)
                block = walker.block(piece.start, data, chunk, previous)
                blocks.append(block)
                if block.allocated and not _header_fits(nt, block):
                    regions.append(BadRegion(block.address, block.end, "Corrupt pool header"))
                offset, previous = chunk.offset + chunk.size, chunk.size
            break
        except MemoryFault:
            following = _next_sound(walker, piece.start, data, offset + UNIT)
            start, end = piece.start + offset, piece.start + following
            regions.append(BadRegion(start, end, "Corrupt region"))
            offset, previous = following, 0
    return blocks, regions


def _header_fits(nt: Nt, block: PoolBlock) -> bool:
    """A POOL_HEADER's size is its block's; one that was moved for alignment is smaller."""
    units: int = nt.view("_POOL_HEADER", block.address).BlockSize
    return 0 < UNIT * units <= block.size


def _next_sound(walker: HeapWalker, start: int, data: bytearray, offset: int) -> int:
    """Where a chain begins that reaches the end of the run."""
    for candidate in range(offset, len(data), UNIT):
        try:
            end = candidate
            for chunk in walker.chunks(start, data, candidate):
                end = chunk.offset + chunk.size
        except MemoryFault:
            continue
        if end == len(data) and end > candidate:
            return candidate
    return len(data)
