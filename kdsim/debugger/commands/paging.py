"""Address translation: `!pte`, `!vtop`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.paging import FRAME, LARGE, LEVELS, NO_EXECUTE, PRESENT, Entry, PageTables
from kdsim.errors import ArgumentError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

VA_MASK = (1 << 48) - 1
PAGE_SHIFT = 12
# Letters of `!pte`, most significant first: bit, letter when set, letter when clear.
ATTRIBUTES = (
    (9, "C", "-"),
    (8, "G", "-"),
    (7, "L", "-"),
    (6, "D", "-"),
    (5, "A", "-"),
    (4, "N", "-"),
    (3, "T", "-"),
    (2, "U", "K"),
    (1, "W", "R"),
)


def attributes(value: int) -> str:
    """`---DA--KWEV`: copy-on-write, global, large, dirty, accessed, not cached, write through,
    user/kernel, write/read, executable, valid.
    """
    letters = "".join(on if value >> bit & 1 else off for bit, on, off in ATTRIBUTES)
    return f"{letters}{'-' if value & NO_EXECUTE else 'E'}{'V' if value & PRESENT else '-'}"


@dataclass(frozen=True, slots=True)
class PteReport:
    """The entries that map one address, where the kernel's self-map shows them."""

    va: int
    addresses: tuple[int, int, int, int]
    entries: tuple[Entry, ...]

    def lines(self) -> Iterator[str]:
        yield f"{'':43}VA {self.va:016x}"
        places = zip(LEVELS, self.addresses, strict=True)
        yield "    ".join(f"{level} at {address:016X}" for level, address in places)
        yield "  ".join(
            f"{'contains ' + format(e.value, '016X'):23}" for e in self.entries
        ).rstrip()
        yield "  ".join(f"{_words(e):23}" for e in self.entries).rstrip()
        yield ""


def _words(entry: Entry) -> str:
    value = entry.value
    if not value & PRESENT:
        return "not valid"
    frame = (value & FRAME) >> PAGE_SHIFT
    if entry.level in ("PPE", "PDE") and value & LARGE:
        return f"pfn {frame:<10x}{attributes(value)} LARGE PAGE pfn {frame:x}"
    return f"pfn {frame:<10x}{attributes(value)}"


def _self_map(pte_base: int, va: int) -> tuple[int, int, int, int]:
    """Virtual addresses of the PXE, PPE, PDE and PTE of `va`."""
    high = pte_base & ~VA_MASK

    def pte_of(address: int) -> int:
        return high | (pte_base & VA_MASK) + ((address & VA_MASK) >> PAGE_SHIFT) * 8

    pte = pte_of(va)
    pde = pte_of(pte)
    ppe = pte_of(pde)
    return pte_of(ppe), ppe, pde, pte


def _mapped_by(pte_base: int, pte: int) -> int:
    """The address whose PTE lies at `pte` in the self-map."""
    va = ((pte - pte_base) // 8 << PAGE_SHIFT) & VA_MASK
    return va | ~VA_MASK & (1 << 64) - 1 if va >> 47 else va


@command(
    "!pte",
    summary="Page-table entries of an address.",
    group="memory manager",
    params=(
        Param("address", "expression", "a virtual address, or the address of a PTE"),
        Param("literal", "expression", "1: the address is that of a PTE", optional=True),
    ),
    needs=Caps.READ | Caps.PHYSICAL,
    see_also=("!vtop", "!pool"),
)
def pte(session: Session, args: Arguments, name: str) -> PteReport:
    """Walks the page tables of the current process; nt!MmPteBase places the self-map."""
    nt = Nt(session.symbols, session.memory)
    address = args.expression()
    literal = args.optional_expression()
    args.at_end()
    base = nt.pointer("MmPteBase")
    if literal == 1 or base <= address < base + (1 << 39):
        address = _mapped_by(base, address)
    walk = _tables(session, nt).walk(address)
    return PteReport(address, _self_map(base, address), tuple(walk))


def _tables(session: Session, nt: Nt) -> PageTables:
    """The page tables of the process the user looks at."""
    process = nt.view("_KPROCESS", session.current_process())
    return PageTables(session.physical.read, process.DirectoryTableBase)


@dataclass(frozen=True, slots=True)
class VtopReport:
    """One translation, step by step."""

    va: int
    root: int
    entries: tuple[Entry, ...]
    pa: int | None

    def lines(self) -> Iterator[str]:
        yield f"Amd64VtoP: Virt {self.va:016x}, pagedir {self.root:016x}"
        names = {"PXE": "PML4E", "PPE": "PDPE", "PDE": "PDE", "PTE": "PTE"}
        for entry in self.entries:
            yield f"Amd64VtoP: {names[entry.level]} {entry.pa:016x}"
            if not entry.value & PRESENT:
                yield f"Amd64VtoP: {names[entry.level]} not present: {entry.value:016x}"
        if self.pa is None:
            yield f"Virtual address {self.va:x} translation fails, error 0xD0000147."
            return
        if self.entries[-1].level != "PTE":
            yield f"Amd64VtoP: Large page mapped phys {self.pa:016x}"
        else:
            yield f"Amd64VtoP: Mapped phys {self.pa:016x}"
        yield f"Virtual address {self.va:x} translates to physical address {self.pa:x}."


@command(
    "!vtop",
    summary="Virtual to physical.",
    group="memory manager",
    params=(
        Param("directory", "expression", "0 for the current process, a DirBase or its page number"),
        Param("address", "expression"),
    ),
    needs=Caps.PHYSICAL,
    see_also=("!pte",),
)
def vtop(session: Session, args: Arguments, name: str) -> VtopReport:
    """Walks page tables over physical memory."""
    root = args.expression()
    if args.done:
        raise ArgumentError("!vtop needs a directory base (0: the current one) and an address")
    va = args.expression()
    args.at_end()
    # A page-aligned number is a directory base, any other a page frame number.
    if root:
        cr3 = root if root & 0xFFF == 0 else root << PAGE_SHIFT
        tables = PageTables(session.physical.read, cr3)
    else:
        tables = _tables(session, Nt(session.symbols, session.memory))
    try:
        pa: int | None = tables.translate(va).pa
    except MemoryFault:
        pa = None
    return VtopReport(va, tables.root, tuple(tables.walk(va)), pa)
