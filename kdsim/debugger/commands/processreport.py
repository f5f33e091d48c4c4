"""A process as `!process`, `!sprocess` and `!handle` show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.threadreport import (
    DAY,
    SET_CONTEXT,
    STACKS,
    WAITS,
    Clocks,
    Number,
    Text,
    ThreadReader,
    ThreadReport,
    check_object,
    clock,
)
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.fields import attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.threads import directory_base
from kdsim.errors import ArgumentError, KdsimError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

TIMES = 0x1
PAGE_KB = 4
LABEL = 33
WORKING_SET = "Working Set Sizes (now,min,max)"
"""What follows this label stands a column further left than all others."""


@dataclass(frozen=True, slots=True)
class ProcessHead:
    """The four lines that every listing of processes begins an entry with."""

    address: int
    session: Text
    pid: Number
    peb: Number
    parent_pid: Number
    directory_base: Number
    object_table: Number
    handle_count: Number
    image: Text

    def lines(self) -> Iterator[str]:
        yield f"PROCESS {self.address:016x}"
        yield (
            f"    SessionId: {self.session}  Cid: {self.pid:04x}    Peb: {self.peb:08x}"
            f"  ParentCid: {self.parent_pid:04x}"
        )
        yield (
            f"    DirBase: {self.directory_base:08x}  ObjectTable: {self.object_table:08x}"
            f"  HandleCount: {self.handle_count:3}."
        )
        yield f"    Image: {self.image}"


@dataclass(frozen=True, slots=True)
class ProcessDetails:
    """What flag 1 adds: the line of counts, then labelled values in their order."""

    vad_root: Number
    vads: Number
    clone: Number
    private: Number
    modified: Number
    locked: Number
    device_map: Number
    values: dict[str, Text]

    def lines(self) -> Iterator[str]:
        yield (
            f"    VadRoot {self.vad_root:016x} Vads {self.vads} Clone {self.clone:x}"
            f" Private {self.private}. Modified {self.modified}. Locked {self.locked}."
        )
        yield f"    DeviceMap {self.device_map:016x}"
        for label, value in self.values.items():
            width = LABEL - (label == WORKING_SET)
            yield f"    {label:{width}} {value}"


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process; how much of it depends on the flags."""

    head: ProcessHead
    details: ProcessDetails | None
    threads: tuple[ThreadReport, ...] | None
    thread_lines: bool
    problem: str = ""

    def lines(self) -> Iterator[str]:
        yield from self.head.lines()
        if self.details:
            yield from self.details.lines()
        if self.threads is not None:
            yield ""
            yield from self._threads()
        yield ""

    def _threads(self) -> Iterator[str]:
        for thread in self.threads or ():
            yield from (f"        {line}" for line in thread.lines())
            if not self.thread_lines:
                yield ""
        if self.problem:
            yield f"        The list of threads is damaged: {self.problem}"
        elif not self.threads:
            yield "No active threads"


class ProcessReader:
    """Reads processes of one stop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.threads = ThreadReader(session)
        self.nt: Nt = self.threads.nt
        self.clocks: Clocks = self.threads.clocks

    def report(self, address: int, flags: int) -> ProcessReport:
        """ArgumentError when there is no process at `address`."""
        self.session.check_interrupt()
        check_object(self.nt, address, "process", "ProcessObject")
        view = self.nt.view("_EPROCESS", address)
        with suppress(MemoryFault):  # then field by field: those on the missing page say so
            view = view.snapshot()
        if flags & SET_CONTEXT and flags & TIMES:
            with process_context(self.session, address):
                return self._report(view, flags)
        return self._report(view, flags)

    def _report(self, view: View, flags: int) -> ProcessReport:
        threads: list[ThreadReport] | None = None
        problem = ""
        if flags & (WAITS | STACKS):
            threads = []
            try:
                for thread in processes.threads(self.nt, view.address):
                    threads.append(self.threads.report(thread.address, flags))
            except (ArgumentError, MemoryFault) as error:
                problem = str(error)
        return ProcessReport(
            head=head_of(self.nt, view),
            details=self._details(view) if flags & TIMES else None,
            threads=None if threads is None else tuple(threads),
            thread_lines=not flags & WAITS,
            problem=problem,
        )

    def _details(self, view: View) -> ProcessDetails:
        return ProcessDetails(
            vad_root=attempt(lambda: int(view.VadRoot.Root)),
            vads=attempt(lambda: int(view.VadCount)),
            clone=attempt(lambda: int(view.CloneRoot.Root)),
            private=attempt(lambda: int(view.NumberOfPrivatePages)),
            modified=attempt(lambda: int(view.ModifiedPageCount)),
            locked=attempt(lambda: int(view.NumberOfLockedPages)),
            device_map=attempt(lambda: int(view.DeviceMap)),
            values=self._values(view),
        )

    def _values(self, view: View) -> dict[str, Text]:
        clocks, pcb, vm = self.clocks, view.Pcb, _working_set_of(view)
        rows: dict[str, Callable[[], str]] = {
            "Token": lambda: f"{processes.fast_reference(view.Token):016x}",
            "ElapsedTime": lambda: _elapsed(clocks.system_time - view.CreateTime.QuadPart),
            "UserTime": lambda: clock(pcb.UserTime * clocks.tick),
            "KernelTime": lambda: clock(pcb.KernelTime * clocks.tick),
            "QuotaPoolUsage[PagedPool]": lambda: f"{view.ProcessQuotaUsage[1]}",
            "QuotaPoolUsage[NonPagedPool]": lambda: f"{view.ProcessQuotaUsage[0]}",
            WORKING_SET: lambda: _working_set(vm),
            "PeakWorkingSetSize": lambda: f"{vm.PeakWorkingSetSize}",
            "VirtualSize": lambda: f"{view.VirtualSize >> 20} Mb",
            "PeakVirtualSize": lambda: f"{view.PeakVirtualSize >> 20} Mb",
            "PageFaultCount": lambda: f"{vm.PageFaultCount}",
            "MemoryPriority": lambda: "FOREGROUND" if vm.Flags.MemoryPriority else "BACKGROUND",
            "BasePriority": lambda: f"{pcb.BasePriority}",
            "CommitCharge": lambda: f"{view.CommitCharge}",
        }
        values: dict[str, Text] = {label: attempt(read) for label, read in rows.items()}
        job = attempt(lambda: int(view.Job))
        if job:
            values["Job"] = f"{job:016x}"
        return values


def head_of(nt: Nt, view: View) -> ProcessHead:
    """The header of a process whose EPROCESS is `view`."""

    def session() -> str:
        space = view.Session
        return str(nt.view("_MM_SESSION_SPACE", space).SessionId) if space else "none"

    table = attempt(lambda: int(view.ObjectTable))

    def handles() -> int:
        return processes.handle_count(nt, view.ObjectTable) if view.ObjectTable else 0

    return ProcessHead(
        address=view.address,
        session=attempt(session),
        pid=attempt(lambda: int(view.UniqueProcessId)),
        peb=attempt(lambda: int(view.Peb)),
        parent_pid=attempt(lambda: int(view.InheritedFromUniqueProcessId)),
        directory_base=attempt(lambda: int(view.Pcb.DirectoryTableBase)),
        object_table=table,
        handle_count=attempt(handles),
        image=attempt(lambda: processes.image_name(view)),
    )


@contextmanager
def process_context(session: Session, process: int) -> Iterator[None]:
    """User addresses are those of `process`, for as long as this lasts."""
    memory = session.memory
    before = memory.process_cr3
    with suppress(KdsimError):  # without page tables of its own, what can be read is printed
        memory.select_process(directory_base(session, process))
    try:
        yield
    finally:
        memory.select_process(before)


def _elapsed(interval: int) -> str:
    days, rest = divmod(max(interval, 0), DAY)
    return f"{days} Days {clock(rest)}" if days else clock(rest)


def _working_set_of(view: View) -> View:
    """MMSUPPORT: inside Vm.Instance since Windows 10 1703, Vm itself before."""
    vm: View = view.Vm
    return vm.Instance if vm.has("Instance") else vm


def _working_set(vm: View) -> str:
    sizes = (vm.WorkingSetSize, vm.MinimumWorkingSetSize, vm.MaximumWorkingSetSize)
    pages = ", ".join(str(size) for size in sizes)
    kilobytes = ", ".join(f"{size * PAGE_KB}KB" for size in sizes)
    return f"({pages}) ({kilobytes})"
