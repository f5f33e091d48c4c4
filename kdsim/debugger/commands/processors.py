"""Processor state: `!pcr`, `!prcb`, `!irql`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

# wdm.h for AMD64.
IRQL_NAMES = {
    0: "LOW_LEVEL",
    1: "APC_LEVEL",
    2: "DISPATCH_LEVEL",
    13: "CLOCK_LEVEL",
    14: "IPI_LEVEL",
    15: "HIGH_LEVEL",
}


def irql_name(irql: int) -> str:
    return IRQL_NAMES.get(irql, f"DEVICE_LEVEL {irql}" if irql < 13 else str(irql))


def _processor(session: Session, args: Arguments, nt: Nt, default: int) -> int:
    """The processor argument, in range."""
    number = args.optional_expression(default)
    args.at_end()
    if number is None or number >= processes.processor_count(nt):
        raise ArgumentError("Cannot get PRCB address")
    return number


def _pcr(nt: Nt, prcb: View) -> View:
    """The KPCR that holds a PRCB."""
    return nt.view("_KPCR", prcb.address - nt.record("_KPCR").offset("Prcb"))


@dataclass(frozen=True, slots=True)
class PcrReport:
    """The fields of one KPCR."""

    processor: int
    address: int
    major: int
    minor: int
    rows: tuple[tuple[str, int], ...]
    dpcs: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"KPCR for Processor {self.processor} at {self.address:016x}:"
        yield f"    Major {self.major} Minor {self.minor}"
        for label, value in self.rows:
            if label in ("SelfPcr", "CurrentThread"):
                yield ""
            yield f"\t{label:>19}: {value:016x}"
        yield ""
        yield f"\t{'DpcQueue':>19}: {' '.join(self.dpcs)}".rstrip()
        yield ""


@command(
    "!pcr",
    summary="A processor's control region.",
    group="processors",
    params=(Param("processor", "processor", optional=True),),
    needs=Caps.READ,
    see_also=("!prcb", "!irql", "!running"),
)
def pcr(session: Session, args: Arguments, name: str) -> PcrReport:
    """Reads the KPCR around nt!KiProcessorBlock[n]."""
    nt = Nt(session.symbols, session.memory)
    number = _processor(session, args, nt, session.processor)
    prcb = processes.prcb(nt, number)
    view = _pcr(nt, prcb)
    tib = view.NtTib
    rows = (
        ("NtTib.ExceptionList", tib.ExceptionList),
        ("NtTib.StackBase", tib.StackBase),
        ("NtTib.StackLimit", tib.StackLimit),
        ("NtTib.SubSystemTib", tib.SubSystemTib),
        ("NtTib.Version", tib.Version),
        ("NtTib.UserPointer", tib.ArbitraryUserPointer),
        ("NtTib.SelfTib", tib.Self),
        ("SelfPcr", view.Self),
        ("Prcb", view.CurrentPrcb),
        ("Irql", view.Irql),
        ("IDT", view.IdtBase),
        ("GDT", view.GdtBase),
        ("TSS", view.TssBase),
        ("CurrentThread", prcb.CurrentThread),
        ("NextThread", prcb.NextThread),
        ("IdleThread", prcb.IdleThread),
    )
    return PcrReport(
        processor=number,
        address=view.address,
        major=view.MajorVersion,
        minor=view.MinorVersion,
        rows=rows,
        dpcs=tuple(_queued_dpcs(session, nt, prcb)),
    )


def _queued_dpcs(session: Session, nt: Nt, prcb: View) -> Iterator[str]:
    """`address routine` of the DPCs waiting in the normal queue."""
    link = prcb.DpcData[0].DpcList.ListHead.Next
    offset = nt.record("_KDPC").offset("DpcListEntry")
    while link:
        dpc = nt.view("_KDPC", link - offset)
        yield f"0x{dpc.address:016x} {session.symbols.format(dpc.DeferredRoutine)}"
        link = nt.view("_SINGLE_LIST_ENTRY", link).Next


@dataclass(frozen=True, slots=True)
class PrcbReport:
    """One KPRCB."""

    processor: int
    address: int
    irql: int
    current: int
    next: int
    idle: int
    group_member: int
    interrupts: int
    dpc_time: int
    interrupt_time: int
    kernel_time: int
    user_time: int

    def lines(self) -> Iterator[str]:
        yield f"PRCB for Processor {self.processor} at {self.address:016x}:"
        yield f"Current IRQL -- {self.irql}"
        yield f"Threads--  Current {self.current:016x} Next {self.next:016x} Idle {self.idle:016x}"
        yield (
            f"Processor Index {self.processor} Number (0, {self.processor})"
            f" GroupSetMember {self.group_member}"
        )
        yield f"Interrupt Count -- {self.interrupts:08x}"
        yield f"Times -- Dpc    {self.dpc_time:08x} Interrupt {self.interrupt_time:08x} "
        yield f"         Kernel {self.kernel_time:08x} User      {self.user_time:08x} "


@command(
    "!prcb",
    summary="A processor's control block.",
    group="processors",
    params=(Param("processor", "processor", optional=True),),
    needs=Caps.READ,
    see_also=("!pcr", "!irql"),
)
def show_prcb(session: Session, args: Arguments, name: str) -> PrcbReport:
    """Reads nt!KiProcessorBlock[n]."""
    nt = Nt(session.symbols, session.memory)
    number = _processor(session, args, nt, 0)
    view = processes.prcb(nt, number)
    return PrcbReport(
        processor=number,
        address=view.address,
        irql=view.DebuggerSavedIRQL,
        current=view.CurrentThread,
        next=view.NextThread,
        idle=view.IdleThread,
        group_member=view.GroupSetMember,
        interrupts=view.InterruptCount,
        dpc_time=view.DpcTime,
        interrupt_time=view.InterruptTime,
        kernel_time=view.KernelTime,
        user_time=view.UserTime,
    )


@dataclass(frozen=True, slots=True)
class SavedIrql:
    """The IRQL that a processor ran at."""

    processor: int
    irql: int
    name: str

    def lines(self) -> Iterator[str]:
        yield (
            f"Debugger saved IRQL for processor 0x{self.processor:x} -- {self.irql} ({self.name})"
        )


@command(
    "!irql",
    summary="IRQL of a processor when the target stopped.",
    group="processors",
    params=(Param("processor", "processor", optional=True),),
    needs=Caps.READ | Caps.REGISTERS,
    see_also=("!pcr",),
)
def show_irql(session: Session, args: Arguments, name: str) -> SavedIrql:
    """Reads KPRCB.DebuggerSavedIRQL."""
    nt = Nt(session.symbols, session.memory)
    number = _processor(session, args, nt, session.processor)
    irql = processes.prcb(nt, number).DebuggerSavedIRQL
    return SavedIrql(number, irql, irql_name(irql))
