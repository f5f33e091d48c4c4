"""Handle tables: a page of entries, or pages of pointers to such pages.

Two shapes are known: since Windows 8.1 an entry keeps the object header's address in 44 bits
(`ObjectPointerBits`) and the granted access in bits; before, a pointer whose low bits are flags.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.symbols.memory import Snapshot
from kdsim.symbols.views import View

PAGE_SIZE = 0x1000
HANDLE_STEP = 4
POINTER = 8
LEVEL_MASK = 3
# Attributes of an entry, OBJ_* of ntdef.h: what they were opened with.
PROTECTED, INHERIT, AUDIT = 1, 2, 4
KERNEL_BITS = 0xFFFF_FFFF_8000_0000


@dataclass(frozen=True, slots=True)
class Handle:
    """One entry of a table; `header` is 0 for a free one."""

    value: int
    entry: int
    header: int
    access: int
    attributes: int
    next_free: int = 0


def entries(nt: Nt, table: int) -> Iterator[Handle]:
    """Every entry of a HANDLE_TABLE, free ones included; a page at a time is read."""
    view = nt.view("_HANDLE_TABLE", table)
    code = view.TableCode
    limit = view.NextHandleNeedingPool // HANDLE_STEP
    size = nt.record("_HANDLE_TABLE_ENTRY").size
    per_page = PAGE_SIZE // size
    for number, page in enumerate(_pages(nt, code & ~LEVEL_MASK, code & LEVEL_MASK)):
        first = number * per_page
        if first >= limit:
            return
        memory = Snapshot(nt.memory, page, PAGE_SIZE)
        # The first entry of a page holds no handle.
        for index in range(1, min(per_page, limit - first)):
            entry = View(memory, nt.record("_HANDLE_TABLE_ENTRY"), page + index * size)
            yield _handle((first + index) * HANDLE_STEP, entry)


def _pages(nt: Nt, address: int, level: int) -> Iterator[int]:
    """Addresses of the pages of entries below a table of this level."""
    if level == 0:
        yield address
        return
    for index in range(PAGE_SIZE // POINTER):
        below = nt.read_integer(address + index * POINTER, POINTER)
        if not below:
            return
        yield from _pages(nt, below, level - 1)


def _handle(value: int, entry: View) -> Handle:
    if entry.has("ObjectPointerBits"):
        bits = entry.ObjectPointerBits
        header = bits << 4 | 0xFFFF << 48 if bits else 0
        access, attributes = entry.GrantedAccessBits, entry.Attributes
    else:
        raw = entry.Object
        header = raw & ~7
        access, attributes = entry.GrantedAccess, raw & 7
    next_free = 0 if header else entry.NextFreeHandleEntry
    return Handle(value, entry.address, header, access, attributes, next_free)
