"""A thread as `!thread`, `!process`, `!ready` and `!for_each_thread` show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.stacktext import HEADER, FrameLine, frame_lines
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.kernel import SHARED_USER_DATA
from kdsim.debugger.text import address as tick
from kdsim.debugger.threads import thread_registers
from kdsim.errors import ArgumentError, KdsimError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

WAITS, STACKS, RETURN_ADDRESSES, SET_CONTEXT = 0x2, 0x4, 0x8, 0x10
FRAMES = 32
SHORT_HEADER = f"{'Child-SP':17} {'RetAddr':21} Call Site"
TICKS_PER_SECOND = 10_000_000
DAY = 86_400 * TICKS_PER_SECOND

Number = int | Unreadable
Text = str | Unreadable


def clock(interval: int) -> str:
    """100 ns units as `00:00:00.000`."""
    seconds, rest = divmod(interval, TICKS_PER_SECOND)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}.{rest // 10_000:03}"


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long a tick is, and what time it is."""

    tick: int
    ticks_now: int
    system_time: int

    @classmethod
    def read(cls, nt: Nt) -> Clocks:
        shared = nt.view("_KUSER_SHARED_DATA", SHARED_USER_DATA)
        time = shared.SystemTime
        return cls(
            tick=nt.u32("KeMaximumIncrement"),
            ticks_now=int(shared.TickCountQuad) & 0xFFFF_FFFF,
            system_time=int(time.High1Time << 32 | time.LowPart),
        )


@dataclass(frozen=True, slots=True)
class IrpLine:
    """A request the thread has under way."""

    address: int
    type: int
    size: int
    flags: int
    mdl: int

    def __str__(self) -> str:
        return (
            f"    {self.address:016x}: ({self.type:04x},{self.size:04x})"
            f" Flags: {self.flags:08x}  Mdl: {self.mdl:08x}"
        )


@dataclass(frozen=True, slots=True)
class ThreadDetails:
    """What flag 4 adds to flag 2, in front of the stack."""

    irps: tuple[IrpLine, ...] | Unreadable
    impersonation: Text
    device_map: Number
    owner: Number
    owner_image: Text
    attached: Number
    attached_image: Text
    wait_start: Number
    waited: Text
    switches: Number
    ideal_processor: Number
    user_time: Text
    kernel_time: Text
    start: Text
    initial_stack: Number
    current_stack: Number
    stack_base: Number
    stack_limit: Number
    priority: Number
    base_priority: Number
    decrement: Number
    io_priority: Number
    page_priority: Number

    def lines(self) -> Iterator[str]:
        if isinstance(self.irps, Unreadable):
            yield f"IRP List: {self.irps}"
        elif self.irps:
            yield "IRP List:"
            yield from map(str, self.irps)
        yield f"{self.impersonation}"
        yield f"DeviceMap                 {self.device_map:016x}"
        yield f"Owning Process            {self.owner:016x}       Image:         {self.owner_image}"
        if self.attached:
            yield (
                f"Attached Process          {self.attached:016x}"
                f"       Image:         {self.attached_image}"
            )
        else:
            yield "Attached Process          N/A            Image:         N/A"
        yield f"Wait Start TickCount      {self.wait_start:<14} Ticks: {self.waited}"
        yield (
            f"Context Switch Count      {self.switches:<14} IdealProcessor: {self.ideal_processor}"
            "             "
        )
        yield f"UserTime                  {self.user_time}"
        yield f"KernelTime                {self.kernel_time}"
        yield f"Win32 Start Address {self.start}"
        yield f"Stack Init {self.initial_stack:016x} Current {self.current_stack:016x}"
        yield f"Base {self.stack_base:016x} Limit {self.stack_limit:016x} Call {0:016x}"
        yield (
            f"Priority {self.priority} BasePriority {self.base_priority}"
            f" PriorityDecrement {self.decrement} IoPriority {self.io_priority}"
            f" PagePriority {self.page_priority}"
        )


@dataclass(frozen=True, slots=True)
class Stack:
    """The thread's frames, or why there are none."""

    frames: tuple[FrameLine, ...]
    problem: str
    arguments: bool

    def lines(self) -> Iterator[str]:
        if self.problem:
            yield f"Stack not available: {self.problem}"
            return
        if self.arguments:
            yield HEADER
            yield from map(str, self.frames)
            return
        yield SHORT_HEADER
        for frame in self.frames:
            yield f"{tick(frame.child_sp)} {tick(frame.return_address)}     {frame.symbol}"


@dataclass(frozen=True, slots=True)
class ThreadReport:
    """One thread; how much of it depends on the flags."""

    address: int
    pid: Number
    tid: Number
    teb: Number
    win32_thread: Number
    state: Text
    waits: tuple[processes.WaitObject, ...] | Unreadable
    details: ThreadDetails | None
    stack: Stack | None

    def lines(self) -> Iterator[str]:
        yield (
            f"THREAD {self.address:016x}  Cid {self.pid:04x}.{self.tid:04x}"
            f"  Teb: {self.teb:016x} Win32Thread: {self.win32_thread:016x} {self.state}"
        )
        if isinstance(self.waits, Unreadable):
            yield f"    Wait objects {self.waits}"
        else:
            yield from (f"    {wait.address:016x}  {wait.kind}" for wait in self.waits)
        if self.details:
            yield from self.details.lines()
        if self.stack:
            yield from self.stack.lines()


def check_object(nt: Nt, address: int, word: str, kind: str) -> None:
    """ArgumentError when no dispatcher object of that kind begins there."""
    try:
        header = nt.view("_DISPATCHER_HEADER", address)
        fits = processes.object_kind(nt, header.Type) == kind
    except MemoryFault as error:
        raise ArgumentError(f"{address:016x} is no {word} object: {error}") from error
    if not fits:
        raise ArgumentError(f"TYPE mismatch for {word} object at {address:016x}")


class ThreadReader:
    """Reads threads of one stop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.nt = Nt(session.symbols, session.memory)
        self.clocks = Clocks.read(self.nt)
        self._running: dict[int, int] | None = None
        self._images: dict[int, Text] = {}

    def report(self, address: int, flags: int) -> ThreadReport:
        """ArgumentError when there is no thread at `address`."""
        self.session.check_interrupt()
        check_object(self.nt, address, "thread", "Thread")
        view = self._snapshot(address)
        in_full = flags & WAITS and flags & STACKS
        return ThreadReport(
            address=address,
            pid=attempt(lambda: int(view.Cid.UniqueProcess)),
            tid=attempt(lambda: int(view.Cid.UniqueThread)),
            teb=attempt(lambda: int(view.Tcb.Teb)),
            win32_thread=attempt(lambda: int(view.Tcb.Win32Thread)),
            state=attempt(lambda: self.state(view)),
            waits=attempt(lambda: tuple(self._waits(view))) if flags & WAITS else (),
            details=self._details(view) if in_full else None,
            stack=self.stack(address, flags) if in_full else None,
        )

    def _snapshot(self, address: int) -> View:
        """The ETHREAD in one piece; field by field where a part of it is not readable."""
        view = self.nt.view("_ETHREAD", address)
        try:
            return view.snapshot()
        except MemoryFault:
            return view

    def running_on(self, thread: int) -> int | None:
        if self._running is None:
            self._running = {}
            for number in range(processes.processor_count(self.nt)):
                # A small dump holds one processor.
                with suppress(MemoryFault):
                    self._running[processes.current_thread(self.nt, number)] = number
        return self._running.get(thread)

    def state(self, view: View) -> str:
        tcb = view.Tcb
        processor = self.running_on(view.address)
        if processor is not None:
            return f"RUNNING on processor {processor}"
        name = self.nt.enum_name("_KTHREAD_STATE", tcb.State)
        if name in ("Ready", "Standby"):
            return f"{name.upper()} on processor {tcb.NextProcessor & 0x7FFF_FFFF}"
        if tcb.State != processes.WAITING:
            return name.upper()
        reason = self.nt.enum_name("_KWAIT_REASON", tcb.WaitReason)
        mode = "UserMode" if tcb.WaitMode else "KernelMode"
        alertable = "Alertable" if tcb.Alertable else "Non-Alertable"
        return f"WAIT: ({reason}) {mode} {alertable}"

    def stack(self, address: int, flags: int) -> Stack:
        """What cannot be unwound is said, not hidden."""
        arguments = not flags & RETURN_ADDRESSES
        try:
            registers = thread_registers(self.session, address) or self.session.live_registers
            frames = frame_lines(self.session, self.session.stack(registers, FRAMES))
        except KdsimError as error:
            return Stack((), str(error), arguments)
        return Stack(frames, "", arguments)

    def image(self, process: int) -> Text:
        if process not in self._images:
            self._images[process] = attempt(
                lambda: processes.image_name(self.nt.view("_EPROCESS", process))
            )
        return self._images[process]

    def _details(self, view: View) -> ThreadDetails:
        tcb, clocks = view.Tcb, self.clocks
        owner = attempt(lambda: int(tcb.Process))
        attached = attempt(lambda: int(tcb.ApcState.Process))
        attached = 0 if attached == owner else attached
        return ThreadDetails(
            irps=attempt(lambda: tuple(self._irps(view))),
            impersonation=attempt(lambda: self._impersonation(view)),
            device_map=attempt(lambda: int(self.nt.view("_EPROCESS", int(tcb.Process)).DeviceMap)),
            owner=owner,
            owner_image=owner if isinstance(owner, Unreadable) else self.image(owner),
            attached=attached,
            attached_image=attached if isinstance(attached, Unreadable) else self.image(attached),
            wait_start=attempt(lambda: int(tcb.WaitTime)),
            waited=attempt(lambda: self._waited(tcb.WaitTime)),
            switches=attempt(lambda: int(tcb.ContextSwitches)),
            ideal_processor=attempt(lambda: int(tcb.IdealProcessor)),
            user_time=attempt(lambda: clock(tcb.UserTime * clocks.tick)),
            kernel_time=attempt(lambda: clock(tcb.KernelTime * clocks.tick)),
            start=attempt(lambda: self._start(view.Win32StartAddress or view.StartAddress)),
            initial_stack=attempt(lambda: int(tcb.InitialStack)),
            current_stack=attempt(lambda: int(tcb.KernelStack)),
            stack_base=attempt(lambda: int(tcb.StackBase)),
            stack_limit=attempt(lambda: int(tcb.StackLimit)),
            priority=attempt(lambda: int(tcb.Priority)),
            base_priority=attempt(lambda: int(tcb.BasePriority)),
            decrement=attempt(lambda: int(tcb.PriorityDecrement)),
            io_priority=attempt(lambda: int(view.ThreadIoPriority)),
            page_priority=attempt(lambda: int(view.ThreadPagePriority)),
        )

    def _waits(self, view: View) -> list[processes.WaitObject]:
        if view.Tcb.State != processes.WAITING:
            return []
        # Wait blocks refer to their thread by address: the copy will not do.
        return processes.wait_objects(self.nt, self.nt.view("_ETHREAD", view.address))

    def _irps(self, view: View) -> Iterator[IrpLine]:
        head = view.address + view.record.offset("IrpList")
        for irp in self.nt.list_entries(head, "_IRP", "ThreadListEntry"):
            mdl = irp.MdlAddress
            yield IrpLine(irp.address, irp.Type, irp.Size, irp.Flags, mdl)

    def _impersonation(self, view: View) -> str:
        if not view.ActiveImpersonationInfo:
            return "Not impersonating"
        security = view.ClientSecurity
        token = security.ImpersonationToken & ~processes.CLIENT_SECURITY_MASK
        level = self.nt.enum_name("_SECURITY_IMPERSONATION_LEVEL", security.ImpersonationLevel)
        return f"Impersonation token:  {token:016x} (Level {level.removeprefix('Security')})"

    def _waited(self, since: int) -> str:
        ticks = (self.clocks.ticks_now - since) & 0xFFFF_FFFF
        if ticks >> 31 or not ticks:
            return "0"
        days, rest = divmod(ticks * self.clocks.tick, DAY)
        return f"{ticks} ({days}:{clock(rest)})"

    def _start(self, address: int) -> str:
        located = self.session.symbols.format(address)
        return f"0x{address:016x}" if located.startswith("0x") else f"{located} (0x{address:016x})"
