"""A crash dump (`-z`): a machine that stands still for ever, at the moment it was saved."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from kdsim.debugger.backends.base import (
    Caps,
    CrashFacts,
    Event,
    ListedModule,
    StopEvent,
    TargetVersion,
)
from kdsim.debugger.backends.passive import PassiveBackend
from kdsim.debugger.paging import PAGE_SIZE, PageTables
from kdsim.dump.debugger_data import DebuggerData
from kdsim.dump.header import HEADER_SIZE, DumpHeader, DumpType
from kdsim.dump.pages import CrashDump
from kdsim.dump.triage import SmallDump
from kdsim.errors import FormatError, MemoryFault, TargetGone, UserError
from kdsim.wire.context import CONTEXT_SIZE, SPECIAL_REGISTERS_SIZE, Context

_REFUSALS = {
    Caps.RUN: "A crash dump cannot run.",
    Caps.WRITE: "A crash dump cannot be changed.",
    Caps.BREAKPOINTS: "A crash dump cannot run, so breakpoints have no use.",
    Caps.REGISTERS: "The registers in a crash dump cannot be changed.",
    Caps.MSR: "A crash dump holds no model-specific registers.",
    Caps.IO: "A crash dump has no I/O ports.",
    Caps.PHYSICAL: "A small dump holds no physical memory.",
}

_COMPLETE = "Kernel Complete Dump File: Full address space is available"
_ACTIVE = "Kernel Bitmap Dump File: Full address space is available, as far as it was in use"
_KERNEL = (
    "Kernel Bitmap Dump File: Kernel address space is available,"
    " User address space may not be available."
)
_CONTENTS = {
    DumpType.FULL: _COMPLETE,
    DumpType.SMALL: "Mini Kernel Dump File: Only registers and stack trace are available",
    DumpType.BITMAP: _ACTIVE,
    DumpType.KERNEL_BITMAP: _KERNEL,
    DumpType.KERNEL_RUNS: _KERNEL,
    DumpType.ACTIVE_RUNS: _ACTIVE,
    DumpType.COMPLETE_RUNS: _COMPLETE,
}

_DLL_BASE = 0x30
"""In KLDR_DATA_TABLE_ENTRY, the same in all builds for x64."""

_SPECIAL_REGISTERS = 2
"""Control space selector of KSPECIAL_REGISTERS; the others are not needed for a dump."""

_VERSION_FLAGS = 0x1 | 0x4
"""DBGKD_VERS_FLAG_MP and PTR64."""

_PROTOCOL = 6


class _Pages:
    """A dump of physical pages: virtual memory is what the page tables in it say."""

    def __init__(self, dump: CrashDump) -> None:
        self.header = dump.header
        self.close = dump.close
        self.read_physical = dump.read_prefix
        self._tables = PageTables(dump.read_physical, dump.header.directory_table_base)

    def read_virtual(self, va: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                pa = self._tables.translate(va + len(data)).pa
            except MemoryFault:
                break
            part = min(size - len(data), PAGE_SIZE - pa % PAGE_SIZE)
            piece = self.read_physical(pa, part)
            data += piece
            if len(piece) < part:
                break
        return data


def _open(path: Path) -> _Pages | SmallDump:
    with path.open("rb") as stream:
        kind = DumpHeader.unpack(stream.read(HEADER_SIZE)).dump_type
    return SmallDump(path) if kind is DumpType.SMALL else _Pages(CrashDump(path))


class DumpBackend(PassiveBackend):
    """Implements `kdsim.debugger.backends.base.Backend` over a file."""

    def __init__(self, path: Path) -> None:
        self.caps = Caps.READ | Caps.REGISTERS
        self.refusals = dict(_REFUSALS)
        self.description = f"dump:{path}"
        self.path = path
        self._stop: StopEvent | None = None

    def connect(self, timeout: float | None) -> None:
        """Open the file; UserError when there is none, TargetGone for one that is no dump."""
        try:
            self._dump = _open(self.path)
        except OSError as error:
            raise UserError(f"cannot open {self.path}: {error.strerror}") from error
        except FormatError as error:
            raise TargetGone(f"cannot open {self.path}: {error}") from error
        self._header = self._dump.header
        if isinstance(self._dump, _Pages):
            self.caps |= Caps.PHYSICAL
        self._data = DebuggerData(self._header.data_block, self._need)
        try:
            self._kernel = self._find_kernel()
        except MemoryFault as error:
            self._dump.close()
            raise TargetGone(f"cannot open {self.path}: no kernel in it ({error})") from error
        self._processor = self._find_processor()
        self._stop = self._standing_at(self._processor)

    def close(self) -> None:
        if self._stop is not None:
            self._dump.close()

    def banner(self) -> list[str]:
        """What kind of dump it is, in WinDbg's words."""
        lines = ["", f"Loading Dump File [{self.path}]", _CONTENTS[self._header.dump_type]]
        if self._header.comment:
            lines.append(f"Comment: '{self._header.comment}'")
        return [*lines, ""]

    def version(self) -> TargetVersion:
        header = self._header
        head = 0
        with suppress(MemoryFault):
            head = self._data.list_head
        return TargetVersion(
            major=header.major,
            minor=header.minor,
            protocol=_PROTOCOL,
            flags=_VERSION_FLAGS if header.processors > 1 else _VERSION_FLAGS & ~1,
            machine=0x8664,
            kernel_base=self._kernel,
            module_list=header.module_list,
            data_list=head,
        )

    def crash_facts(self) -> CrashFacts:
        header = self._header
        return CrashFacts(
            header.bugcheck, header.system_time, header.uptime, header.product, header.suite
        )

    def _find_kernel(self) -> int:
        """The first of its own modules; the debugger data name it, too."""
        if modules := self.listed_modules():
            return modules[0].base
        with suppress(MemoryFault):
            return self._pointer(self._pointer(self._header.module_list) + _DLL_BASE)
        return self._data["KernBase"]

    def listed_modules(self) -> list[ListedModule]:
        """What a small dump has instead of the kernel's list."""
        if isinstance(self._dump, _Pages):
            return []
        return [ListedModule(*driver) for driver in self._dump.drivers]

    def wait(self, timeout: float | None) -> Event | None:
        """The one stop there is."""
        return self._stop

    def switch_processor(self, number: int) -> None:
        self._stop = self._standing_at(number)

    # -- memory --------------------------------------------------------------------------------

    def read_virtual(self, va: int, size: int) -> bytes:
        return self._dump.read_virtual(va, size)

    def read_physical(self, pa: int, size: int) -> bytes:
        if isinstance(self._dump, SmallDump):
            self._refuse(Caps.PHYSICAL)
        return self._dump.read_physical(pa, size)

    def write_virtual(self, va: int, data: bytes) -> int:
        self._refuse(Caps.WRITE)

    def write_physical(self, pa: int, data: bytes) -> int:
        self._refuse(Caps.WRITE)

    def _need(self, va: int, size: int) -> bytes:
        data = self.read_virtual(va, size)
        if len(data) < size:
            raise MemoryFault(va + len(data), size - len(data), "it is not in the dump")
        return data

    def _pointer(self, va: int) -> int:
        return int.from_bytes(self._need(va, 8), "little")

    # -- processors ----------------------------------------------------------------------------

    def read_context(self, processor: int) -> bytes:
        if processor == self._processor:
            return self._header.context
        return self._need(self._prcb_part(processor, "ProcStateContext"), CONTEXT_SIZE)

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes:
        if selector != _SPECIAL_REGISTERS:
            self._refuse(Caps.MSR)
        size = min(size, SPECIAL_REGISTERS_SIZE)
        return self._need(self._prcb_part(processor, "ProcStateSpecialReg"), size)

    def _prcb_part(self, processor: int, name: str) -> int:
        """Address of a part of the KPRCB whose offset the kernel tells in its data block."""
        prcb = self._pointer(self._data["KiProcessorBlock"] + 8 * processor)
        return prcb + self._data[f"OffsetPrcb{name}"]

    def _find_processor(self) -> int:
        """The processor the header's context belongs to: its saved stack pointer is the same."""
        ours = Context(self._header.context).get("rsp")
        for number in range(self._header.processors):
            with suppress(MemoryFault):
                place = self._prcb_part(number, "ProcStateContext")
                if Context(self._need(place, CONTEXT_SIZE)).get("rsp") == ours:
                    return number
        return 0

    def _standing_at(self, processor: int) -> StopEvent:
        header = self._header
        exception = header.exception
        pc = Context(self.read_context(processor)).get("rip")
        thread = 0
        with suppress(MemoryFault):
            thread = self._pointer(self._prcb_part(processor, "CurrentThread"))
        return StopEvent(
            processor=processor,
            processors=header.processors,
            thread=thread,
            pc=pc,
            code=exception.code,
            flags=exception.flags,
            address=exception.address,
            parameters=exception.parameters,
            instructions=self.read_virtual(pc, 16),
        )
