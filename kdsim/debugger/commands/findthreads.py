"""`!findthreads`: the threads whose kernel stacks refer to something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.devices import object_named
from kdsim.debugger.commands.registry import Option, command
from kdsim.debugger.commands.stacktext import FrameLine, frame_lines
from kdsim.debugger.commands.threadreport import FRAMES, check_object
from kdsim.debugger.inspect import devices, irps, processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.threads import thread_registers
from kdsim.errors import ArgumentError, KdsimError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

POINTER_SIZE = 8
EVERYWHERE = frozenset(("nt", "hal"))
"""Modules that are on every stack, and so tell nothing."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """A range of addresses, and what lies there."""

    what: str
    start: int
    end: int
    depth: int = 0

    def __str__(self) -> str:
        return f"{'  ' * self.depth}Added criterion for {self.what}"


@dataclass(frozen=True, slots=True)
class ThreadMatch:
    """A thread, and the places of its stack that refer to a criterion.

    Attributes:
        references: (place on the stack, what it refers to).
    """

    thread: int
    process: int
    references: tuple[tuple[int, str], ...]
    frames: tuple[FrameLine, ...]

    def lines(self, *, verbose: bool) -> Iterator[str]:
        yield (
            f"Found {len(self.references)} criteria matches for "
            f"THREAD 0x{self.thread:x}, PROCESS 0x{self.process:x}"
        )
        if verbose:
            for place, what in self.references:
                yield f"  Kernel stack location 0x{place:016x} references {what}"
            yield ""
        yield ""
        for frame in self.frames:
            yield f"    {frame.child_sp:016x} {frame.symbol.replace('+0x', '+')}"
        yield ""


@dataclass(frozen=True, slots=True)
class ThreadMatches:
    """What `!findthreads` found."""

    criteria: tuple[Criterion, ...]
    threads: tuple[ThreadMatch, ...]
    verbose: bool

    def lines(self) -> Iterator[str]:
        yield ""
        yield from map(str, self.criteria)
        yield ""
        yield f"Found {len(self.threads)} threads matching the search criteria"
        yield ""
        for thread in self.threads:
            yield from thread.lines(verbose=self.verbose)


@command(
    "!findthreads",
    summary="The threads whose kernel stacks refer to an object, a driver or a range.",
    group="processes",
    options=(
        Option("-v", "tell each place that matches"),
        Option("-t", "what the thread waits for and runs, and its IRPs", "<thread>"),
        Option("-i", "the IRP, its devices and their drivers", "<irp>"),
        Option("-d", "the device (or its name), its stack, its driver and its IRPs", "<device>"),
        Option("-a", "an address", "<address>"),
        Option("-e", "the range from -a to this", "<end>"),
        Option("-l", "the range at -a of this length", "<length>"),
    ),
    needs=Caps.READ,
    see_also=("!stacks", "!findstack", "!irpfind"),
)
def find_threads(session: Session, args: Arguments, name: str) -> ThreadMatches:
    """Reads every kernel stack from its pointer to its base."""
    given = args.switches("v", "t:", "i:", "d:", "a:", "e:", "l:")
    args.at_end()
    if any(text == "" for key, text in given.items() if key != "v"):
        raise args.error()
    values = {key: session.evaluate(text) for key, text in given.items() if key in "tiael"}
    criteria = _Criteria(session)
    if "t" in values:
        criteria.thread(values["t"])
    if "i" in values:
        criteria.irp(values["i"])
    if "d" in given:
        criteria.device(_device(session, given["d"]))
    if "a" in values:
        start = values["a"]
        end = values.get("e", start + values.get("l", 1) - 1)
        if end < start:
            raise ArgumentError("the range of !findthreads ends before it begins")
        criteria.add("RANGE" if end > start else "ADDRESS", start, end - start + 1, 0)
    if not criteria.found:
        raise ArgumentError("!findthreads needs -t, -i, -d or -a and an address")
    wanted = tuple(criteria.found)
    return ThreadMatches(wanted, tuple(_matches(session, wanted)), "v" in given)


def _device(session: Session, text: str) -> int:
    nt = Nt(session.symbols, session.memory)
    return object_named(nt, text, "Device", "device", lambda: session.evaluate(text))


class _Criteria:
    """Collects what the stacks are searched for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._nt = Nt(session.symbols, session.memory)
        self.found: list[Criterion] = []

    def add(self, what: str, start: int, size: int, depth: int) -> None:
        """Once each: a device leads to its IRP and the IRP back to the device."""
        if start and all(item.start != start for item in self.found):
            self.found.append(Criterion(f"{what} 0x{start:016x}", start, start + size - 1, depth))

    def thread(self, address: int) -> None:
        nt = self._nt
        check_object(nt, address, "thread", "Thread")
        view = nt.view("_ETHREAD", address)
        self.add("THREAD", address, view.record.size, 0)
        if view.Tcb.State == processes.WAITING:
            for target in processes.wait_objects(nt, view):
                self.add("WAIT OBJECT", target.address, 1, 1)
        head = view.at("IrpList")
        for irp in nt.list_entries(head, "_IRP", "ThreadListEntry"):
            self.irp(irp.address, 1)
        for frame in _frames(self._session, address):
            self.module(frame.return_address, 1)

    def irp(self, address: int, depth: int = 0) -> None:
        try:
            irp = irps.irp_at(self._nt, address)
        except MemoryFault as error:
            raise ArgumentError(f"{address:016x} is no IRP: {error}") from error
        self.add("IRP", address, 1, depth)
        for location in irp.stack:
            if location.device:
                self.device(location.device, depth + 1, alone=True)

    def device(self, address: int, depth: int = 0, *, alone: bool = False) -> None:
        nt = self._nt
        view = nt.view("_DEVICE_OBJECT", address)
        if any(item.start == address for item in self.found):
            return
        self.add("DEVICE", address, view.record.size, depth)
        self.add("DEVICE EXTENSION", view.DeviceExtension, 1, depth + 1)
        self.module(nt.view("_DRIVER_OBJECT", view.DriverObject).DriverStart, depth + 1)
        if alone:
            return
        for other in devices.stack_of(nt, address):
            self.device(other, depth + 1, alone=True)
        for irp in filter(None, (view.CurrentIrp, *devices.pending_irps(nt, view))):
            self.irp(irp, depth + 1)

    def module(self, va: int, depth: int) -> None:
        module = self._session.symbols.module_at(va)
        if module is not None and module.name not in EVERYWHERE:
            what = f"MODULE {module.name}(0x{module.base:x})"
            if all(item.start != module.base for item in self.found):
                end = module.base + module.size - 1
                self.found.append(Criterion(what, module.base, end, depth))


def _matches(session: Session, criteria: tuple[Criterion, ...]) -> Iterator[ThreadMatch]:
    nt = Nt(session.symbols, session.memory)
    for process in processes.processes(nt):
        with suppress(MemoryFault):
            for thread in processes.threads(nt, process.address):
                session.check_interrupt()
                references = tuple(_references(session, nt, thread.address, criteria))
                if references:
                    frames = tuple(_frames(session, thread.address))
                    yield ThreadMatch(thread.address, process.address, references, frames)


def _references(
    session: Session, nt: Nt, thread: int, criteria: tuple[Criterion, ...]
) -> Iterator[tuple[int, str]]:
    """Each pointer of the stack that is in use and meets a criterion."""
    tcb = nt.view("_KTHREAD", thread)
    if not tcb.KernelStackResident:
        return
    registers = thread_registers(session, thread) or session.live_registers
    first = registers["rsp"]
    if not tcb.StackLimit <= first < tcb.StackBase:
        # It runs on the stack of a DPC or an interrupt.
        first = tcb.KernelStack
    data = session.memory.read_some(first, tcb.StackBase - first)
    for offset in range(0, len(data) - POINTER_SIZE + 1, POINTER_SIZE):
        value = int.from_bytes(data[offset : offset + POINTER_SIZE], "little")
        for item in criteria:
            if item.start <= value <= item.end:
                yield first + offset, item.what
                break


def _frames(session: Session, thread: int) -> list[FrameLine]:
    try:
        registers = thread_registers(session, thread) or session.live_registers
        return list(frame_lines(session, session.stack(registers, FRAMES)))
    except KdsimError:
        return []
