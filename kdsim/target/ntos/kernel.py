"""What the guest kernel's own structures say, read from bytes through its PDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kdsim.errors import FormatError, MemoryFault, SymbolError
from kdsim.resources import resource_path
from kdsim.symbols.memory import Memory
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import CodeView, PeImage
from kdsim.symbols.types import Enum, Record
from kdsim.symbols.views import View, containing_record, list_entries

PAGE = 0x1000
MAX_PROCESSORS = 1280
"""Slots of nt!KiProcessorBlock in build 19041 (0x2800 bytes of pointers)."""


class LoadedImage(NamedTuple):
    """One entry of PsLoadedModuleList."""

    name: str
    path: str
    base: int
    size: int
    entry: int
    """Address of its _KLDR_DATA_TABLE_ENTRY."""


class TagTotals(NamedTuple):
    """One pool tag, summed over every tracker table."""

    tag: int
    nonpaged_allocations: int
    nonpaged_frees: int
    nonpaged_bytes: int
    paged_allocations: int
    paged_frees: int
    paged_bytes: int


class Kernel:
    """nt in `memory`: names, types and the lists every debugger walks."""

    def __init__(self, memory: Memory, base: int, pdb: Pdb) -> None:
        self.memory = memory
        self.base = base
        self.pdb = pdb
        self._addresses: dict[str, int] = {}
        self._records: dict[str, Record] = {}

    @classmethod
    def find(cls, memory: Memory, inside: int, store: Path | None = None) -> Kernel:
        """The kernel whose image holds the address `inside`, for instance an IDT handler's."""
        base = _image_base(memory, inside)
        code = PeImage.from_memory(memory, base).codeview
        if code is None:
            raise FormatError(f"the image at {base:#x} names no PDB")
        return cls(memory, base, open_pdb(code, store))

    def address(self, name: str) -> int:
        """Address of one of nt's symbols.

        Raises:
            SymbolError: nt has none of that name.
        """
        if name not in self._addresses:
            found = self.pdb.symbols(name)
            if not found:
                raise SymbolError(f"nt has no symbol {name}")
            self._addresses[name] = self.base + found[0].rva
        return self._addresses[name]

    def record(self, name: str) -> Record:
        if name not in self._records:
            found = self.pdb.type(name)
            if not isinstance(found, Record):
                raise SymbolError(f"nt!{name} is no structure")
            self._records[name] = found
        return self._records[name]

    def enum(self, name: str) -> dict[str, int]:
        """The values of one of nt's enumerations."""
        found = self.pdb.type(name)
        if not isinstance(found, Enum):
            raise SymbolError(f"nt!{name} is no enumeration")
        return found.values

    def view(self, type_name: str, va: int) -> View:
        return View(self.memory, self.record(type_name), va)

    def read(self, name: str, size: int = 8) -> int:
        """The unsigned integer of `size` bytes at a global."""
        return int.from_bytes(self.memory.read(self.address(name), size), "little")

    def write(self, name: str, value: int, size: int = 8) -> None:
        self.memory.write(self.address(name), value.to_bytes(size, "little"))

    @property
    def started(self) -> bool:
        """Whether the kernel has set up its first processor's control region."""
        return self.read("KiProcessorBlock") != 0

    @property
    def described(self) -> bool:
        """Whether the kernel has filled in the block that tells debuggers where it is."""
        return bool(self.view("_DBGKD_GET_VERSION64", self.address("KdVersionBlock")).KernBase)

    def processors(self) -> Iterator[View]:
        """The _KPRCB of every started processor. Walks: nt!KiProcessorBlock."""
        table = self.address("KiProcessorBlock")
        for number in range(MAX_PROCESSORS):
            prcb = int.from_bytes(self.memory.read(table + 8 * number, 8), "little")
            if not prcb:
                return
            yield self.view("_KPRCB", prcb)

    def modules(self, head: int | None = None) -> Iterator[LoadedImage]:
        """Walks: nt!PsLoadedModuleList, or the list at `head`."""
        head = head or self.address("PsLoadedModuleList")
        record = self.record("_KLDR_DATA_TABLE_ENTRY")
        for entry in list_entries(self.memory, head, record, "InLoadOrderLinks"):
            yield LoadedImage(
                name=self.unicode(entry.BaseDllName),
                path=self.unicode(entry.FullDllName),
                base=entry.DllBase,
                size=entry.SizeOfImage,
                entry=entry.address,
            )

    def processes(self) -> Iterator[View]:
        """The _EPROCESS of every process but Idle. Walks: nt!PsActiveProcessHead."""
        head = self.address("PsActiveProcessHead")
        return list_entries(self.memory, head, self.record("_EPROCESS"), "ActiveProcessLinks")

    def threads(self, process: View) -> Iterator[View]:
        """The _ETHREAD of each thread. Walks: EPROCESS.ThreadListHead."""
        head = process.at("ThreadListHead")
        return list_entries(self.memory, head, self.record("_ETHREAD"), "ThreadListEntry")

    def tag_totals(self) -> dict[int, TagTotals]:
        """Pool use by tag. Walks: nt!ExPoolTagTables, nt!PoolTrackTableExpansion."""
        size = self.read("PoolTrackTableSize")
        tables = [
            (int.from_bytes(self.memory.read(self.address("ExPoolTagTables") + 8 * n, 8), "little"))
            for n in range(len(list(self.processors())))
        ]
        spans = [(table, size) for table in tables if table]
        expansion = self.read("PoolTrackTableExpansion")
        if expansion:
            spans.append((expansion, self.read("PoolTrackTableExpansionSize")))
        record = self.record("_POOL_TRACKER_TABLE")
        sums: dict[int, list[int]] = {}
        for table, count in spans:
            for index in range(count):
                entry = View(self.memory, record, table + index * record.size)
                tag = entry.Key & 0xFFFF_FFFF
                if not tag:
                    continue
                counts = (
                    entry.NonPagedAllocs,
                    entry.NonPagedFrees,
                    entry.NonPagedBytes,
                    entry.PagedAllocs,
                    entry.PagedFrees,
                    entry.PagedBytes,
                )
                total = sums.setdefault(tag, [0] * len(counts))
                for place, count_ in enumerate(counts):
                    # One processor's counter may wrap below zero; only the sum means something.
                    total[place] = (total[place] + count_) & 0xFFFF_FFFF_FFFF_FFFF
        return {tag: TagTotals(tag, *total) for tag, total in sums.items()}

    def unicode(self, string: View) -> str:
        """Text of a _UNICODE_STRING."""
        return self.memory.read(string.Buffer, string.Length).decode("utf-16-le", "replace")

    def containing(self, type_name: str, field: str, va: int) -> View:
        return containing_record(self.memory, self.record(type_name), field, va)


def open_pdb(code: CodeView, store: Path | None = None) -> Pdb:
    """The shipped PDB with that name, GUID and age."""
    folder = store or resource_path("targets", "images")
    path = folder / code.pdb_name / code.key / code.pdb_name
    if not path.is_file():
        raise SymbolError(f"{code.pdb_name} {code.key} is not in {folder}")
    return Pdb.open(path)


def handler_of(memory: Memory, idt: int, vector: int) -> int:
    """The handler in a gate of the interrupt descriptor table; Intel SDM volume 3, 6.14.1."""
    gate = memory.read(idt + vector * 16, 12)
    return int.from_bytes(gate[:2] + gate[6:12], "little")


def _image_base(memory: Memory, inside: int) -> int:
    # Kernel images are page-aligned and below 64 MiB.
    for page in range(inside // PAGE, inside // PAGE - (64 << 20) // PAGE, -1):
        try:
            if memory.read(page * PAGE, 2) == b"MZ":
                return page * PAGE
        except MemoryFault:
            break
    raise FormatError(f"no image holds {inside:#x}")
