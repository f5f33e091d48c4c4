"""What a crash dump of the kernel at hand says about it, and which of its pages are in use."""

from __future__ import annotations

from collections.abc import Iterator

from kdsim.debugger.inspect.nt import Nt
from kdsim.dump.header import Run
from kdsim.errors import SymbolError
from kdsim.symbols.types import Enum

UNUSED_LISTS = ("ZeroedPageList", "FreePageList", "StandbyPageList", "BadPageList")
"""_MMLISTS whose pages `.dump /ka` leaves out: their contents may vanish at any moment."""

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


def active_pages(nt: Nt, runs: tuple[Run, ...]) -> Iterator[int]:
    """Numbers of the pages that are in use, from nt!MmPfnDatabase."""
    lists = nt.type("_MMLISTS")
    if not isinstance(lists, Enum):
        raise SymbolError("nt!_MMLISTS is not an enumeration")
    unused = {lists.values[name] for name in UNUSED_LISTS}
    size = nt.record("_MMPFN").size
    location = nt.bits("_MMPFNENTRY1", "PageLocation")
    byte = nt.view("_MMPFN", 0).at("u3.e1")
    table = nt.pointer("MmPfnDatabase")
    for run in runs:
        for first in range(run.base_page, run.base_page + run.pages, PFN_BATCH):
            count = min(PFN_BATCH, run.base_page + run.pages - first)
            raw = nt.memory.read(table + first * size, count * size)
            for index in range(count):
                if location.of(raw[index * size + byte]) not in unused:
                    yield first + index
