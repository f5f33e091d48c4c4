"""Looking for bytes in an address space, as fast as RAM can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kdsim.target.machine.paging import LARGE, PRESENT, AddressSpace
from kdsim.target.machine.ram import PAGE_SHIFT, PAGE_SIZE

FRAME = 0x000F_FFFF_FFFF_F000
ENTRIES = 512
TABLE_SPAN = ENTRIES << PAGE_SHIFT
"""Virtual bytes that one page table maps."""
LEVEL_SHIFTS = (39, 30, 21)
USER_END, KERNEL_START = 1 << 47, (1 << 64) - (1 << 47)

BLOCK = 1 << 18
"""Bytes copied out of RAM at once: the cache still holds them when they are searched."""


class Run(NamedTuple):
    """Virtual memory that lies in RAM in one piece."""

    va: int
    pa: int
    size: int


def runs(space: AddressSpace, start: int, end: int) -> Iterator[Run]:
    """What is mapped between two addresses, merged as far as it is contiguous in RAM."""
    held: Run | None = None
    for run in _mapped(space, start, end):
        if held is None:
            held = run
        elif (held.va + held.size, held.pa + held.size) == (run.va, run.pa):
            held = held._replace(size=held.size + run.size)
        else:
            yield held
            held = run
    if held is not None:
        yield held


def _mapped(space: AddressSpace, start: int, end: int) -> Iterator[Run]:
    va = start
    while va < end:
        if USER_END <= va < KERNEL_START:
            va = KERNEL_START
            continue
        value, shift = _directory_entry(space, va)
        border = (va >> shift) + 1 << shift
        stop = min(border, end)
        if value & PRESENT:
            if value & LARGE:
                pa = (value & FRAME & -1 << shift) + va % (1 << shift)
                yield from _inside(space, Run(va, pa, stop - va))
            else:
                yield from _pages(space, value & FRAME, va, stop)
        va = border


def _directory_entry(space: AddressSpace, va: int) -> tuple[int, int]:
    """The entry that names a page table or maps a large page, or the first that is absent.

    With it comes the binary logarithm of how much it speaks for.
    """
    table = space.cr3 & FRAME
    for shift in LEVEL_SHIFTS:
        try:
            value = space.ram.qwords[table + (va >> shift & 0x1FF) * 8 >> 3]
        except IndexError:
            return 0, shift
        if shift == LEVEL_SHIFTS[0]:
            value &= ~LARGE
        if not value & PRESENT or value & LARGE:
            break
        table = value & FRAME
    return value, shift


def _pages(space: AddressSpace, table: int, va: int, end: int) -> Iterator[Run]:
    """Runs of 4 KiB pages of one page table."""
    first = va >> PAGE_SHIFT & ENTRIES - 1
    count = (end - 1 >> PAGE_SHIFT) - (va >> PAGE_SHIFT) + 1
    begin = (table >> 3) + first
    entries = space.ram.qwords[begin : begin + count].tolist()
    index = 0
    while index < len(entries):
        entry = entries[index]
        length = 1
        if entry & PRESENT:
            frame = entry & FRAME
            # Memory that was mapped in one piece is the common case, and one comparison.
            if entries[index:] == list(
                range(entry, entry + (len(entries) - index) * PAGE_SIZE, PAGE_SIZE)
            ):
                length = len(entries) - index
            page = (va >> PAGE_SHIFT) + index << PAGE_SHIFT
            low, high = max(page, va), min(page + length * PAGE_SIZE, end)
            yield from _inside(space, Run(low, frame + low - page, high - low))
        index += length


def _inside(space: AddressSpace, run: Run) -> Iterator[Run]:
    """As much of a run as there is RAM for."""
    size = min(run.size, space.ram.size - run.pa)
    if size > 0:
        yield run._replace(size=size)


class Searched(NamedTuple):
    """The end of a search: where the pattern begins, if it was found; bytes looked at."""

    place: int | None
    looked_at: int


def search(space: AddressSpace, start: int, end: int, pattern: bytes, most: int) -> Searched:
    """The first place of a pattern in the memory there is between two addresses.

    What is not mapped is passed over, and nothing is found across it. After `most` bytes the
    search is given up.
    """
    looked_at = 0
    kept, kept_end = b"", -1
    for va, pa, size in runs(space, start, end):
        if va != kept_end:
            kept = b""
        for offset in range(0, size, BLOCK):
            block = space.ram.view[pa + offset : pa + min(offset + BLOCK, size)]
            window = kept + block if kept else bytes(block)
            found = window.find(pattern)
            if found >= 0:
                return Searched(va + offset - len(kept) + found, looked_at)
            looked_at += len(block)
            if looked_at >= most:
                return Searched(None, looked_at)
            kept = window[max(len(window) - len(pattern) + 1, 0) :]
        kept_end = va + size
    return Searched(None, looked_at)
