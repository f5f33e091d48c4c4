"""The processor's four-level page tables, walked over physical reads.

The entry format is the architecture's (AMD64 manual, volume 2, section 5.3), not a type of any PDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kdsim.errors import MemoryFault

LEVELS = ("PXE", "PPE", "PDE", "PTE")
"""The kernel's names of the levels, top first."""

PAGE_SIZE = 0x1000
USER_END, KERNEL_START = 1 << 47, (1 << 64) - (1 << 47)
"""Between them no address is canonical, with four levels."""

PRESENT = 1
WRITABLE = 1 << 1
LARGE = 1 << 7
NO_EXECUTE = 1 << 63
PROTOTYPE, TRANSITION = 1 << 10, 1 << 11
"""Of a page-table entry that is not present, as Windows uses it (MMPTE_TRANSITION)."""
FRAME = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a walk: the level's name, where the entry lies physically, what it holds."""

    level: str
    pa: int
    value: int


@dataclass(frozen=True, slots=True)
class Translation:
    """Where a virtual address lies, and the entries that say so."""

    pa: int
    page_size: int
    entries: tuple[Entry, ...]


class PageTables:
    """One address space.

    Args:
        read_physical: exactly so many bytes at a physical address, or MemoryFault.
        cr3: physical address of the top table.
        transition: pages on their way out of memory are still there.
    """

    def __init__(
        self, read_physical: Callable[[int, int], bytes], cr3: int, *, transition: bool = False
    ) -> None:
        self._transition = transition
        self._read = read_physical
        self.root = cr3 & FRAME

    def walk(self, va: int) -> list[Entry]:
        """The entries down to the first that is not present or maps a page."""
        return list(self._entries(va))

    def _entries(self, va: int) -> Iterator[Entry]:
        table = self.root
        for level, name in enumerate(LEVELS):
            shift = 39 - 9 * level
            pa = table + (va >> shift & 0x1FF) * 8
            value = int.from_bytes(self._read(pa, 8), "little")
            yield Entry(name, pa, value)
            if not value & PRESENT or (level in (1, 2) and value & LARGE):
                break
            table = value & FRAME

    def _page(self, va: int) -> tuple[int, int]:
        """What every level allows at an address (0: nothing is mapped), and for how far."""
        allowed, depth = PRESENT | WRITABLE, 0
        try:
            for entry in self._entries(va):
                allowed &= entry.value
                depth += 1
        except MemoryFault:
            if not depth:
                raise
            # The last entry names a table that is nowhere.
            allowed = 0
        following = (va | (1 << (48 - 9 * depth)) - 1) + 1
        return allowed if allowed & PRESENT else 0, following

    def next_mapped(self, va: int, end: int) -> int:
        """The first mapped page at or behind a page border; `end` when there is none before it."""
        while va < end:
            if USER_END <= va < KERNEL_START:
                va = KERNEL_START
                continue
            allowed, following = self._page(va)
            if allowed:
                return va
            va = following
        return end

    def writable(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The pieces between two addresses where every level allows writing."""
        piece = va = self.next_mapped(start, end)
        while va < end:
            allowed, following = self._page(va)
            if allowed & WRITABLE:
                va = min(following, end)
                continue
            if piece < va:
                yield piece, va
            piece = va = self.next_mapped(following, end)
        if piece < end:
            yield piece, end

    def translate(self, va: int) -> Translation:
        """MemoryFault names the level that was not present."""
        entries = self.walk(va)
        last = entries[-1]
        if not last.value & PRESENT and not (self._transition and _in_transition(last)):
            raise MemoryFault(va, reason=f"{last.level} not present")
        page_size = 1 << (48 - 9 * len(entries))
        offset = va & page_size - 1
        return Translation((last.value & FRAME & -page_size) | offset, page_size, tuple(entries))


def _in_transition(entry: Entry) -> bool:
    return entry.level == LEVELS[-1] and entry.value & (TRANSITION | PROTOTYPE) == TRANSITION
