"""Handle tables of every depth, laid out in memory as the kernel does it."""

from __future__ import annotations

import struct

import pytest

from kdsim.debugger.inspect import handles
from kdsim.errors import MemoryFault
from kdsim.symbols.types import BitField, Field, Record
from tests.debugger.debugger_symbols import U32, U64, record

PAGE = 0x1000
TABLE = 0xFFFF_8000_0000_0000
PAGES = 0xFFFF_8000_0001_0000
OBJECT = 0xFFFF_8000_1234_5670
PER_PAGE = 256

ENTRY = Record(
    "_HANDLE_TABLE_ENTRY",
    16,
    "union",
    (
        Field("Unlocked", 0, BitField(U64, 0, 1)),
        Field("Attributes", 0, BitField(U64, 17, 3)),
        Field("ObjectPointerBits", 0, BitField(U64, 20, 44)),
        Field("GrantedAccessBits", 8, BitField(U32, 0, 25)),
        Field("NextFreeHandleEntry", 8, U64),
    ),
)
OLD_ENTRY = record(
    "_HANDLE_TABLE_ENTRY", 16, Object=(0, U64), GrantedAccess=(8, U32), NextFreeHandleEntry=(8, U64)
)
TABLE_RECORD = record("_HANDLE_TABLE", 0x80, NextHandleNeedingPool=(0, U32), TableCode=(8, U64))


class Pages:
    """Memory that is some pages; what is between them cannot be read."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.reads = 0

    def read(self, va: int, size: int) -> bytes:
        self.reads += 1
        page, offset = va & ~(PAGE - 1), va % PAGE
        if page not in self.pages or offset + size > PAGE:
            raise MemoryFault(va, size)
        return bytes(self.pages[page][offset : offset + size])

    def write(self, va: int, data: bytes) -> None:
        page = self.pages.setdefault(va & ~(PAGE - 1), bytearray(PAGE))
        page[va % PAGE : va % PAGE + len(data)] = data


class Kernel:
    """As much of Nt as a handle table needs."""

    def __init__(self, entry: Record = ENTRY) -> None:
        self.memory = Pages()
        self.records = {"_HANDLE_TABLE": TABLE_RECORD, "_HANDLE_TABLE_ENTRY": entry}

    def record(self, name: str) -> Record:
        return self.records[name]

    def view(self, name: str, va: int):
        from kdsim.symbols.views import View

        return View(self.memory, self.records[name], va)

    def read_integer(self, va: int, size: int) -> int:
        return int.from_bytes(self.memory.read(va, size), "little")


def table(kernel: Kernel, level: int, leaves: int, *open_handles: int) -> None:
    """A table of `level` with that many pages of entries; some handles are open."""
    leaf = [PAGES + 0x10_0000 + n * PAGE for n in range(leaves)]
    for page in leaf:
        kernel.memory.write(page, bytes(PAGE))
    top = leaf[0]
    if level >= 1:
        top = PAGES
        kernel.memory.write(top, struct.pack(f"<{leaves}Q", *leaf))
    if level == 2:
        top = PAGES + PAGE
        kernel.memory.write(top, struct.pack("<Q", PAGES))
    head = struct.pack("<IIQ", leaves * PER_PAGE * 4, 0, top | level)
    kernel.memory.write(TABLE, head)
    for handle in open_handles:
        page, index = divmod(handle // 4, PER_PAGE)
        low = OBJECT >> 4 << 20 & (1 << 64) - 1 | handles.INHERIT << 17 | 1
        kernel.memory.write(leaf[page] + 16 * index, struct.pack("<QQ", low, 0x1F0003))


@pytest.mark.parametrize(
    ("level", "leaves", "opened"),
    [
        pytest.param(0, 1, (4, 0x3FC), id="one page"),
        pytest.param(1, 3, (8, 0x404, 0xBFC), id="pages of pages"),
        pytest.param(2, 2, (0x10, 0x7FC), id="three levels"),
    ],
)
def test_every_depth(level: int, leaves: int, opened: tuple[int, ...]) -> None:
    kernel = Kernel()
    table(kernel, level, leaves, *opened)
    found = list(handles.entries(kernel, TABLE))
    # The first entry of each page stands for no handle.
    assert len(found) == leaves * (PER_PAGE - 1)
    in_use = [handle for handle in found if handle.header]
    assert [handle.value for handle in in_use] == list(opened)
    assert {(h.header, h.access, h.attributes) for h in in_use} == {
        (OBJECT, 0x1F0003, handles.INHERIT)
    }


def test_a_page_of_entries_is_read_once() -> None:
    kernel = Kernel()
    table(kernel, 0, 1, 4)
    kernel.memory.reads = 0
    list(handles.entries(kernel, TABLE))
    assert kernel.memory.reads == 3


def test_entries_of_older_kernels_are_pointers_with_flags() -> None:
    kernel = Kernel(OLD_ENTRY)
    table(kernel, 0, 1)
    kernel.memory.write(PAGES + 0x10_0010, struct.pack("<QQ", OBJECT | 2, 0x1F0003))
    (found,) = [h for h in handles.entries(kernel, TABLE) if h.header]
    assert (found.value, found.header, found.attributes) == (4, OBJECT, handles.INHERIT)


def test_a_missing_page_is_a_fault() -> None:
    kernel = Kernel()
    table(kernel, 1, 2, 4)
    del kernel.memory.pages[PAGES + 0x10_0000 + PAGE]
    with pytest.raises(MemoryFault):
        list(handles.entries(kernel, TABLE))
