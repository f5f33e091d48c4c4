"""Processes and threads: `!process`, `!thread`, `!running`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.commands.stacktext import thread_stack
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.kernel import SHARED_USER_DATA
from kdsim.errors import ArgumentError, MemoryFault, TargetError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

TIMES, THREADS, STACKS, SHORT_STACKS = 0x1, 0x2, 0x4, 0x8
ALL_PROCESSES_DEFAULT, ONE_PROCESS_DEFAULT = 0x3, 0xF
THREAD_DEFAULT = 0x6
# A pid is small; a process object lies in kernel space.
LARGEST_PID = 0xFFFF_FFFF
TICKS_PER_SECOND = 10_000_000
PAGE_KB = 4


def _clock(interval: int) -> str:
    """100 ns units as `00:00:00.000`."""
    milliseconds = interval // 10_000
    seconds, millisecond = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}.{millisecond:03}"


class _Reporter:
    """Prints processes and threads of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.nt = Nt(session.symbols, session.memory)
        self.line = session.out.line
        self.shared = self.nt.view("_KUSER_SHARED_DATA", SHARED_USER_DATA)
        self.tick = self.nt.u32("KeMaximumIncrement")

    def _check(self, address: int, word: str, kind: str) -> None:
        """ArgumentError when no object of that kind begins there."""
        try:
            header = self.nt.view("_DISPATCHER_HEADER", address)
            fits = processes.object_kind(self.nt, header.Type) == kind
        except MemoryFault as error:
            raise ArgumentError(f"{address:016x} is no {word} object: {error}") from error
        if not fits:
            raise ArgumentError(f"TYPE mismatch for {word} object at {address:016x}")

    def process(self, address: int, flags: int) -> None:
        self._check(address, "process", "ProcessObject")
        view = self.nt.view("_EPROCESS", address)
        info = processes.process(self.nt, view)
        session = str(info.session) if view.Session else "none"
        self.line(f"PROCESS {address:016x}")
        self.line(
            f"    SessionId: {session}  Cid: {info.pid:04x}    Peb: {info.peb:08x}"
            f"  ParentCid: {info.parent_pid:04x}"
        )
        self.line(
            f"    DirBase: {info.directory_base:08x}  ObjectTable: {info.object_table:016x}"
            f"  HandleCount: {info.handle_count:3}."
        )
        self.line(f"    Image: {info.image}")
        if flags & TIMES:
            self._details(view)
        if flags & THREADS:
            self.line()
            self._threads(address, flags)
        self.line()

    def _details(self, view: View) -> None:
        vm = view.Vm.Instance
        now = self._system_time()
        token = view.Token.Value & ~processes.FAST_REF_MASK
        line = self.line
        line(
            f"    VadRoot {view.VadRoot.Root:016x} Vads {view.VadCount} Clone"
            f" {view.CloneRoot.Root:x} Private {vm.WorkingSetPrivateSize}."
            f" Modified 0. Locked {view.NumberOfLockedPages}."
        )
        line(f"    DeviceMap {view.DeviceMap:016x}")
        rows = (
            ("Token", f"{token:016x}"),
            ("ElapsedTime", _clock(max(now - view.CreateTime.QuadPart, 0))),
            ("UserTime", _clock(view.Pcb.UserTime * self.tick)),
            ("KernelTime", _clock(view.Pcb.KernelTime * self.tick)),
            ("QuotaPoolUsage[PagedPool]", f"{view.ProcessQuotaUsage[1]}"),
            ("QuotaPoolUsage[NonPagedPool]", f"{view.ProcessQuotaUsage[0]}"),
            ("Working Set Sizes (now,min,max)", _working_set(vm)),
            ("PeakWorkingSetSize", f"{vm.PeakWorkingSetSize}"),
            ("VirtualSize", f"{view.VirtualSize >> 20} Mb"),
            ("PeakVirtualSize", f"{view.PeakVirtualSize >> 20} Mb"),
            ("PageFaultCount", f"{vm.PageFaultCount}"),
            ("MemoryPriority", "FOREGROUND" if vm.Flags.MemoryPriority else "BACKGROUND"),
            ("BasePriority", f"{view.Pcb.BasePriority}"),
            ("CommitCharge", f"{view.CommitCharge}"),
        )
        for label, value in rows:
            line(f"    {label:33} {value}")

    def _threads(self, process: int, flags: int) -> None:
        found = False
        for thread in processes.threads(self.nt, process):
            found = True
            self._indent(thread.address, flags)
        if not found:
            self.line("No active threads")

    def _indent(self, address: int, flags: int) -> None:
        """Threads inside `!process` stand eight columns in."""
        with self.session.out.capture() as pieces:
            self.thread(address, flags)
        for line in "".join(pieces).splitlines():
            self.line(f"        {line}" if line else "")
        self.line()

    def thread(self, address: int, flags: int) -> None:
        self._check(address, "thread", "Thread")
        view = self.nt.view("_ETHREAD", address)
        tcb = view.Tcb
        cid = f"{view.Cid.UniqueProcess:04x}.{view.Cid.UniqueThread:04x}"
        self.line(
            f"THREAD {address:016x}  Cid {cid}  Teb: {tcb.Teb:016x} Win32Thread:"
            f" {tcb.Win32Thread:016x} {self._state(view)}"
        )
        if flags & ~STACKS == 0:
            return
        if tcb.State == processes.WAITING:
            for target in processes.wait_objects(self.nt, view):
                self.line(f"    {target.address:016x}  {target.kind}")
        self._thread_details(view)
        if flags & STACKS:
            self._stack(view)

    def _state(self, view: View) -> str:
        tcb = view.Tcb
        processor = processes.running_on(self.nt, view.address)
        if processor is not None:
            return f"RUNNING on processor {processor}"
        if tcb.State != processes.WAITING:
            return self.nt.enum_name("_KTHREAD_STATE", tcb.State).upper()
        reason = self.nt.enum_name("_KWAIT_REASON", tcb.WaitReason)
        mode = "UserMode" if tcb.WaitMode else "KernelMode"
        alertable = "Alertable" if tcb.Alertable else "Non-Alertable"
        return f"WAIT: ({reason}) {mode} {alertable}"

    def _thread_details(self, view: View) -> None:
        tcb = view.Tcb
        owner = tcb.Process
        image = processes.image_name(self.nt.view("_EPROCESS", owner))
        attached = tcb.ApcState.Process
        other = "N/A       Image:         N/A"
        if attached != owner:
            guest = processes.image_name(self.nt.view("_EPROCESS", attached))
            other = f"{attached:016x}       Image:         {guest}"
        line = self.line
        line("Not impersonating")
        line(f"DeviceMap                 {self.nt.view('_EPROCESS', owner).DeviceMap:016x}")
        line(f"Owning Process            {owner:016x}       Image:         {image}")
        line(f"Attached Process          {other}")
        waited = max(self._tick_count() - tcb.WaitTime, 0)
        days, rest = divmod(waited * self.tick, 86400 * TICKS_PER_SECOND)
        day_text = f"{days}:" if days else ""
        line(
            f"Wait Start TickCount      {tcb.WaitTime:<14} Ticks: {waited}"
            f" ({day_text}{_clock(rest).removeprefix('0')})"
        )
        line(
            f"Context Switch Count      {tcb.ContextSwitches:<14}"
            f" IdealProcessor: {tcb.IdealProcessor}"
        )
        line(f"UserTime                  {_clock(tcb.UserTime * self.tick)}")
        line(f"KernelTime                {_clock(tcb.KernelTime * self.tick)}")
        start = view.Win32StartAddress or view.StartAddress
        line(f"Win32 Start Address {self.session.symbols.format(start)} (0x{start:016x})")
        line(f"Stack Init {tcb.InitialStack:016x} Current {tcb.KernelStack:016x}")
        line(f"Base {tcb.StackBase:016x} Limit {tcb.StackLimit:016x} Call {0:016x}")
        line(
            f"Priority {tcb.Priority} BasePriority {tcb.BasePriority}"
            f" PriorityDecrement {tcb.PriorityDecrement} IoPriority {view.ThreadIoPriority}"
            f" PagePriority {view.ThreadPagePriority}"
        )

    def _stack(self, view: View) -> None:
        """The thread's stack; what cannot be unwound is said, not hidden."""
        try:
            for text in thread_stack(self.session, view.address):
                self.line(text)
        except TargetError as error:
            self.line(f"Stack not available: {error}")

    def _system_time(self) -> int:
        time = self.shared.SystemTime
        return int(time.High1Time << 32 | time.LowPart)

    def _tick_count(self) -> int:
        return int(self.shared.TickCountQuad) & 0xFFFF_FFFF


def _working_set(vm: View) -> str:
    sizes = (vm.WorkingSetSize, vm.MinimumWorkingSetSize, vm.MaximumWorkingSetSize)
    pages = ", ".join(str(size) for size in sizes)
    kilobytes = ", ".join(f"{size * PAGE_KB}KB" for size in sizes)
    return f"({pages}) ({kilobytes})"


@command(
    "!process",
    summary="A process, or all of them.",
    group="processes",
    params=(
        Param("process", "process", "EPROCESS address or pid; 0 all, -1 current", optional=True),
        Param("flags", "flags", "1 times, 2 threads, 4 with stacks", optional=True),
        Param("image", "text", "with 0: only processes of this image name", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!thread", ".process", "!running"),
)
def show_process(session: Session, args: Arguments, name: str) -> None:
    """Walks nt!PsActiveProcessHead."""
    which = args.optional_expression()
    flags = args.optional_expression()
    image = (args.word() or "").lower()
    args.at_end()
    report = _Reporter(session)
    if which == 0:
        report.line("**** NT ACTIVE PROCESS DUMP ****")
    elif which is None or which == (1 << 64) - 1:
        chosen = flags if flags is not None else ALL_PROCESSES_DEFAULT
        report.process(session.current_process(), chosen)
        return
    if which and which > LARGEST_PID:
        report.process(which, flags if flags is not None else ONE_PROCESS_DEFAULT)
        return
    if which:
        report.line(f"Searching for Process with Cid == {which:x}")
    default = ONE_PROCESS_DEFAULT if which else ALL_PROCESSES_DEFAULT
    found = False
    for process in processes.processes(report.nt):
        if which and process.pid != which:
            continue
        if image and not process.image.lower().startswith(image[:15]):
            continue
        found = True
        report.process(process.address, flags if flags is not None else default)
    if not found:
        raise ArgumentError(f"no process with {f'Cid {which:x}' if which else f'image {image}'}")


@command(
    "!thread",
    summary="A thread: state, waits, times, stack.",
    group="processes",
    params=(
        Param("thread", "thread", "ETHREAD address; with -t a thread id", optional=True),
        Param("flags", "flags", "2 wait state, 4 stack", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!process", ".thread", "k"),
)
def show_thread(session: Session, args: Arguments, name: str) -> None:
    """Reads the ETHREAD and, with flag 4, unwinds its stack."""
    switches = args.switches("p", "t")
    which = args.optional_expression()
    flags = args.optional_expression()
    args.at_end()
    report = _Reporter(session)
    if "t" in switches:
        if which is None:
            raise ArgumentError("!thread -t needs a thread id")
        which = _thread_with_id(report.nt, which)
    address = which
    if not address or address == (1 << 64) - 1:
        address = processes.current_thread(report.nt, session.processor)
    report.thread(address, THREAD_DEFAULT if flags is None else flags)


def _thread_with_id(nt: Nt, tid: int) -> int:
    for process in processes.processes(nt):
        for thread in processes.threads(nt, process.address):
            if thread.Cid.UniqueThread == tid:
                return int(thread.address)
    raise ArgumentError(f"no thread with id {tid:x}")


@dataclass(frozen=True, slots=True)
class RunningRow:
    """One processor that does not idle (or any, with -i)."""

    processor: int
    prcb: int
    current: int
    current_priority: int
    next: int
    next_priority: int
    idle: int
    idles: bool
    stack: tuple[str, ...]

    def __str__(self) -> str:
        following = f"{self.next:016x} ({self.next_priority:2})" if self.next else " " * 21
        return (
            f"{self.processor:3}    {self.prcb:016x}  {self.current:016x}"
            f" ({self.current_priority:2})  {following}  {self.idle:016x}  ................"
        )


@dataclass(frozen=True, slots=True)
class Running:
    """What each processor runs."""

    active: int
    idle: int
    rows: tuple[RunningRow, ...]

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"System Processors:  ({self.active:016x})"
        yield f"  Idle Processors:  ({self.idle:016x})"
        yield ""
        if not self.rows:
            yield "All processors idle."
            return
        yield ("       Prcbs             Current         (pri) Next            (pri) Idle")
        for row in self.rows:
            yield str(row)
            yield from (f"      {line}" for line in row.stack)
            if row.stack:
                yield ""


@command(
    "!running",
    summary="Which thread each processor runs.",
    group="processes",
    params=(Param("flags", "flags", "-i idle processors too, -t with stacks", optional=True),),
    needs=Caps.READ,
    see_also=("!process", "!thread", "!pcr"),
)
def running(session: Session, args: Arguments, name: str) -> Running:
    """Reads KPRCB.CurrentThread, NextThread and IdleThread of every processor."""
    switches = args.switches("i", "t")
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    rows = []
    idle_mask = 0
    count = processes.processor_count(nt)
    for number in range(count):
        prcb = processes.prcb(nt, number)
        idles = prcb.CurrentThread == prcb.IdleThread
        idle_mask |= idles << number
        if idles and "i" not in switches:
            continue
        rows.append(
            RunningRow(
                processor=number,
                prcb=prcb.address,
                current=prcb.CurrentThread,
                current_priority=nt.view("_KTHREAD", prcb.CurrentThread).Priority,
                next=prcb.NextThread,
                next_priority=_priority(nt, prcb.NextThread),
                idle=prcb.IdleThread,
                idles=idles,
                stack=_running_stack(session, prcb.CurrentThread) if "t" in switches else (),
            )
        )
    return Running((1 << count) - 1, idle_mask, tuple(rows))


def _priority(nt: Nt, thread: int) -> int:
    return int(nt.view("_KTHREAD", thread).Priority) if thread else 0


def _running_stack(session: Session, thread: int) -> tuple[str, ...]:
    try:
        return tuple(thread_stack(session, thread))
    except TargetError as error:
        return (f"Stack not available: {error}",)
