"""Virtual memory of one address space: 4-level page tables in RAM, walked and edited in place.

Reads and writes here are a debugger's or a boot loader's: they need a present page, but no
permission. What the processors may do is checked by the processors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kdsim.errors import MemoryFault, SimBug
from kdsim.target.machine.ram import PAGE_SIZE, PhysicalMemory

PRESENT, WRITABLE, USER = 1 << 0, 1 << 1, 1 << 2
ACCESSED, DIRTY, LARGE, GLOBAL = 1 << 5, 1 << 6, 1 << 7, 1 << 8
NO_EXECUTE = 1 << 63

_FRAME = 0x000F_FFFF_FFFF_F000
_OFFSET = PAGE_SIZE - 1
_LEVELS = ("PML4E", "PDPTE", "PDE", "PTE")
_SHIFTS = (39, 30, 21, 12)
_TOP = (1 << 64) - 1


class Walk(NamedTuple):
    """A translation: the physical address, and the entry that maps it.

    Attributes:
        pa: physical address of the byte asked for.
        page_size: 4 KiB, 2 MiB or 1 GiB.
        entry: the leaf entry.
        entry_pa: where the leaf entry lies.
        writable: allowed by every level; so are `user` and `executable`.
    """

    pa: int
    page_size: int
    entry: int
    entry_pa: int
    writable: bool
    user: bool
    executable: bool


class AddressSpace:
    """The page tables at `cr3`.

    Args:
        ram: where the tables and the pages are.
        cr3: physical address of the PML4; may be changed at any time.
        allocate: gives the physical address of a free, zeroed page for a new table (`map` only).
        on_code_write: called with (va, size) after a write to an executable page, so that
            processors forget what they translated from it.
    """

    def __init__(
        self,
        ram: PhysicalMemory,
        cr3: int,
        allocate: Callable[[], int] | None = None,
        on_code_write: Callable[[int, int], None] | None = None,
    ) -> None:
        self.ram = ram
        self.cr3 = cr3
        self.allocate = allocate
        self.on_code_write = on_code_write
        self._qwords = ram.qwords

    # -- translation -----------------------------------------------------------------------

    def physical(self, va: int) -> int:
        """Physical address of `va`, or MemoryFault naming the level that failed."""
        q = self._qwords
        try:
            entry = q[(self.cr3 & _FRAME) >> 3 | va >> 39 & 0x1FF]
            if entry & 1 and (va >> 47 in (0, 0x1FFFF)):
                entry = q[(entry & _FRAME) >> 3 | va >> 30 & 0x1FF]
                if entry & 0x81 == 1:
                    entry = q[(entry & _FRAME) >> 3 | va >> 21 & 0x1FF]
                    if entry & 0x81 == 1:
                        entry = q[(entry & _FRAME) >> 3 | va >> 12 & 0x1FF]
                        if entry & 1:
                            return entry & _FRAME | va & 0xFFF
        except IndexError:
            pass
        return self.translate(va).pa

    def translate(self, va: int) -> Walk:
        """The full walk; MemoryFault names the level that failed and its entry."""
        if va >> 47 not in (0, 0x1FFFF):
            raise MemoryFault(va, 1, "not a canonical address")
        table, allowed, executable = self.cr3 & _FRAME, WRITABLE | USER, True
        for level, shift in zip(_LEVELS, _SHIFTS, strict=True):
            entry_pa = table + (va >> shift & 0x1FF) * 8
            entry = self._entry(entry_pa, va, level)
            if not entry & PRESENT:
                raise MemoryFault(va, 1, f"{level} not present ({entry:#x} at {entry_pa:#x})")
            allowed &= entry
            executable = executable and not entry & NO_EXECUTE
            large = shift in (30, 21) and bool(entry & LARGE)
            if large or shift == 12:
                size = 1 << shift
                pa = entry & _FRAME & ~(size - 1) | va & size - 1
                writable, user = bool(allowed & WRITABLE), bool(allowed & USER)
                return Walk(pa, size, entry, entry_pa, writable, user, executable)
            table = entry & _FRAME
        raise SimBug("a page walk has four levels")

    def _entry(self, entry_pa: int, va: int, level: str) -> int:
        try:
            return self._qwords[entry_pa >> 3]
        except IndexError:
            reason = f"the table of its {level} is outside RAM ({entry_pa:#x})"
            raise MemoryFault(va, 1, reason) from None

    # -- bytes -----------------------------------------------------------------------------

    def read(self, va: int, size: int) -> bytes:
        """Exactly `size` bytes, or MemoryFault at the first bad one."""
        offset = va & _OFFSET
        if offset + size <= PAGE_SIZE:
            pa = self.physical(va)
            data = bytes(self.ram.view[pa : pa + size])
            if len(data) == size:
                return data
            raise MemoryFault(va, size, f"maps to {pa:#x}, outside RAM")
        parts = []
        while size > 0:
            chunk = min(size, PAGE_SIZE - (va & _OFFSET))
            parts.append(self.read(va, chunk))
            va, size = va + chunk & _TOP, size - chunk
        return b"".join(parts)

    def read_prefix(self, va: int, size: int) -> bytes:
        """The readable start of the range: shorter than `size`, or empty, where it ends."""
        parts = []
        while size > 0:
            chunk = min(size, PAGE_SIZE - (va & _OFFSET))
            try:
                parts.append(self.read(va, chunk))
            except MemoryFault:
                break
            va, size = va + chunk & _TOP, size - chunk
        return b"".join(parts)

    def read_u64(self, va: int) -> int:
        return int.from_bytes(self.read(va, 8), "little")

    def read_u32(self, va: int) -> int:
        return int.from_bytes(self.read(va, 4), "little")

    def write(self, va: int, data: bytes) -> None:
        """All of `data`, or MemoryFault and nothing."""
        runs = []
        for start in self._page_starts(va, len(data)):
            pa = self.physical(start)
            if pa >= self.ram.size:
                raise MemoryFault(start, 1, f"maps to {pa:#x}, outside RAM")
            runs.append((start, pa))
        for start, pa in runs:
            offset = start - va
            part = data[offset : offset + PAGE_SIZE - (start & _OFFSET)]
            self.ram.view[pa : pa + len(part)] = part
            self._written(start, len(part))

    def write_prefix(self, va: int, data: bytes) -> int:
        """Write the start of the range that is mapped; the number of bytes written."""
        done = 0
        while done < len(data):
            part = data[done : done + PAGE_SIZE - (va + done & _OFFSET)]
            try:
                self.write(va + done, part)
            except MemoryFault:
                break
            done += len(part)
        return done

    def write_u64(self, va: int, value: int) -> None:
        self.write(va, value.to_bytes(8, "little"))

    def _written(self, va: int, size: int) -> None:
        if self.on_code_write is not None and self.translate(va).executable:
            self.on_code_write(va, size)

    @staticmethod
    def _page_starts(va: int, size: int) -> list[int]:
        if size <= PAGE_SIZE - (va & _OFFSET):
            return [va] if size else []
        return [va, *range((va | _OFFSET) + 1, va + size, PAGE_SIZE)]

    # -- page tables -----------------------------------------------------------------------

    def map(self, va: int, pa: int, size: int = PAGE_SIZE, flags: int = WRITABLE) -> None:
        """Map `size` bytes at `va` to the run of RAM at `pa` in 4 KiB pages.

        `flags` are entry bits; PRESENT is implied. Missing tables are allocated. The caller
        flushes the TLBs when something else was mapped there before.
        """
        for offset in range(0, size, PAGE_SIZE):
            entry_pa = self._leaf(va + offset, create=True)
            self._qwords[entry_pa >> 3] = pa + offset | flags | PRESENT

    def unmap(self, va: int, size: int = PAGE_SIZE) -> None:
        """Clear the entries; the caller flushes the TLBs."""
        for offset in range(0, size, PAGE_SIZE):
            self._qwords[self._leaf(va + offset) >> 3] = 0

    def protect(self, va: int, size: int, *, writable: bool, executable: bool) -> None:
        """Set WRITABLE and NO_EXECUTE of present pages; the caller flushes the TLBs."""
        bits = (WRITABLE if writable else 0) | (0 if executable else NO_EXECUTE)
        for offset in range(0, size, PAGE_SIZE):
            index = self._leaf(va + offset) >> 3
            self._qwords[index] = self._qwords[index] & ~(WRITABLE | NO_EXECUTE) | bits

    def _leaf(self, va: int, create: bool = False) -> int:
        """Physical address of the PTE of `va`; with `create`, makes the tables above it."""
        table = self.cr3 & _FRAME
        for level, shift in zip(_LEVELS[:3], _SHIFTS[:3], strict=True):
            entry_pa = table + (va >> shift & 0x1FF) * 8
            entry = self._entry(entry_pa, va, level)
            if not entry & PRESENT:
                if not create:
                    raise MemoryFault(va, 1, f"{level} not present")
                entry = self._new_table() | PRESENT | WRITABLE | (USER if va >> 47 == 0 else 0)
                self._qwords[entry_pa >> 3] = entry
            elif entry & LARGE and shift != 39:
                raise MemoryFault(va, 1, f"{level} maps a large page")
            table = entry & _FRAME
        return table + (va >> 12 & 0x1FF) * 8

    def _new_table(self) -> int:
        if self.allocate is None:
            raise SimBug("this address space has no source of pages for its tables")
        return self.allocate()
