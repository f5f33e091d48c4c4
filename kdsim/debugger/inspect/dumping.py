"""What a crash dump of the kernel at hand says about it, and which of its pages are in use."""

from __future__ import annotations

from collections.abc import Iterator

from kdsim.debugger.inspect.nt import Nt
from kdsim.dump.header import Run
from kdsim.errors import SymbolError
from kdsim.symbols.types import Enum

UNUSED_LISTS = ("ZeroedPageList", "FreePageList", "StandbyPageList", "BadPageList")
"""_MMLISTS whose pages `.dump /ka` and `/k` leave out: their contents may vanish at any moment."""

ADDRESS_BITS = (1 << 48) - 1

PFN_BATCH = 0x400
"""Page frame entries read at once."""


def memory_runs(nt: Nt) -> tuple[Run, ...]:
    """nt!MmPhysicalMemoryBlock."""
    block = nt.view("_PHYSICAL_MEMORY_DESCRIPTOR", nt.pointer("MmPhysicalMemoryBlock"))
    layout = nt.record("_PHYSICAL_MEMORY_RUN")
    first = block.at("Run")
    views = (
        nt.view("_PHYSICAL_MEMORY_RUN", first + index * layout.size)
        for index in range(block.NumberOfRuns)
    )
    return tuple(Run(view.BasePage, view.PageCount) for view in views)


def active_pages(nt: Nt, runs: tuple[Run, ...], *, kernel_only: bool = False) -> Iterator[int]:
    """Numbers of the pages that are in use, from nt!MmPfnDatabase.

    A page belongs to user mode when the entry that maps it stands in the page tables' part for
    addresses below nt!MmSystemRangeStart.
    """
    lists = nt.type("_MMLISTS")
    if not isinstance(lists, Enum):
        raise SymbolError("nt!_MMLISTS is not an enumeration")
    unused = {lists.values[name] for name in UNUSED_LISTS}
    size = nt.record("_MMPFN").size
    location = nt.bits("_MMPFNENTRY1", "PageLocation")
    byte = nt.view("_MMPFN", 0).at("u3.e1")
    table = nt.pointer("MmPfnDatabase")
    entry = nt.view("_MMPFN", 0).at("PteAddress")
    user = _user_entries(nt) if kernel_only else range(0)
    for run in runs:
        for first in range(run.base_page, run.base_page + run.pages, PFN_BATCH):
            count = min(PFN_BATCH, run.base_page + run.pages - first)
            raw = nt.memory.read(table + first * size, count * size)
            for index in range(count):
                place = index * size
                if location.of(raw[place + byte]) in unused:
                    continue
                if int.from_bytes(raw[place + entry : place + entry + 8], "little") not in user:
                    yield first + index


def _user_entries(nt: Nt) -> range:
    """Where the entries lie that map pages of user mode: 8 bytes for each page of 4 KB."""
    base = nt.pointer("MmPteBase")
    return range(base, base + ((nt.pointer("MmSystemRangeStart") & ADDRESS_BITS) >> 9))
