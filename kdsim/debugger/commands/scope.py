"""Choosing what to look at: `.thread .process .context .trap .cxr .exr`, `~`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from kdsim.debugger import events
from kdsim.debugger.backends.base import Caps, StopEvent
from kdsim.debugger.commands.registers import RegisterDump, register_dump
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.threadreport import check_object
from kdsim.debugger.commands.worker import SWITCH_NOTE, WorkRequest, ask_worker
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.registers import RegisterFile
from kdsim.debugger.text import address as tick
from kdsim.debugger.threads import (
    directory_base,
    record_registers,
    thread_registers,
    trap_registers,
)
from kdsim.errors import ArgumentError, MemoryFault, SymbolError, Unsupported, UserError
from kdsim.wire.context import CONTEXT_SIZE

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

MOST_IDS = 0x10000
"""Smaller numbers are no addresses of the kernel's, and process ids are seldom larger."""


@dataclass(frozen=True, slots=True)
class Implicit:
    """The thread or process that is looked at from now on."""

    kind: Literal["thread", "process"]
    address: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"Implicit {self.kind} is now {tick(self.address)}"

    def lines(self) -> Iterator[str]:
        yield str(self)
        yield from self.notes


@command(
    ".thread",
    summary="Choose a thread: its registers become the context of r, k, dv; nothing: reset.",
    group="stack",
    params=(Param("thread", "thread", "ETHREAD", optional=True),),
    options=(
        Option("/p", "read user memory through the page tables of its process"),
        Option("/P", "read all memory through them"),
        Option("/r", "with /p or /P: load the user symbols"),
    ),
    needs=Caps.REGISTERS,
    see_also=("!thread", ".process", "k"),
)
def choose_thread(session: Session, args: Arguments, name: str) -> Implicit:
    switches = args.switches("p", "r", "P", "w")
    thread = args.optional_expression(0)
    args.at_end()
    assert thread is not None
    if "w" in switches:
        raise Unsupported(".thread /w needs a thread of a WOW64 process, and x64 code runs here")
    decoding = _Decoding.of(switches)
    if not thread:
        session.scope.reset_registers()
        session.scope.thread = 0
        return Implicit("thread", session.current_thread(), decoding.end(session))
    _check(session, thread, "thread", "Thread")
    registers = thread_registers(session, thread)
    notes: tuple[str, ...] = ()
    if decoding.wanted:
        process = int(session.nt_view("_KTHREAD", thread).ApcState.Process)
        session.scope.process = process
        notes = (str(Implicit("process", process)), *decoding.begin(session, process))
    session.scope.reset_registers()
    session.scope.registers = registers
    session.scope.thread = thread
    return Implicit("thread", thread, notes)


@command(
    ".process",
    summary="Choose a process to look at.",
    group="processes",
    params=(Param("process", "process", "EPROCESS; 0 or nothing resets", optional=True),),
    options=(
        Option("/p", "read user memory through its page tables"),
        Option("/P", "read all memory through them"),
        Option("/r", "with /p or /P: load the user symbols"),
        Option("/i", "have the target switch: it must run (g) and breaks in again there"),
    ),
    needs=Caps.READ,
    see_also=("!process", ".thread", ".context"),
)
def choose_process(session: Session, args: Arguments, name: str) -> Implicit | WorkRequest:
    switches = args.switches("i", "p", "r", "P")
    process = args.optional_expression(0)
    args.at_end()
    assert process is not None
    decoding = _Decoding.of(switches)
    if "i" in switches:
        if session.dump:
            raise Unsupported("/i is not available: a crash dump cannot run")
        if process:
            _check(session, process, "process", "ProcessObject")
        return ask_worker(session, SWITCH_NOTE, process or session.current_process())
    if not process:
        session.scope.process = 0
        return Implicit("process", session.current_process(), decoding.end(session))
    _check(session, process, "process", "ProcessObject")
    session.scope.process = process
    # Nobody but the page tables can answer for a dump.
    if decoding.wanted or session.dump or session.memory.process_cr3 is not None:
        return Implicit("process", process, decoding.begin(session, process))
    return Implicit("process", process, ("WARNING: .cache forcedecodeuser is not enabled",))


def _check(session: Session, address: int, word: str, kind: str) -> None:
    """ArgumentError for an address without such an object; ids are the likeliest mistake."""
    try:
        check_object(Nt(session.symbols, session.memory), address, word, kind)
    except SymbolError:
        # Without the kernel's types nobody can tell.
        return
    except ArgumentError as error:
        if address >= MOST_IDS:
            raise
        search = {"process": f"!process {address:x} 0", "thread": f"!thread -t {address:x}"}[word]
        raise ArgumentError(f"{error} (an id? {search} tells its address)") from error


@dataclass(frozen=True, slots=True)
class _Decoding:
    """/p, /P and /r: read memory through a process' page tables, and load its symbols."""

    wanted: bool
    everything: bool
    reload: bool

    @classmethod
    def of(cls, switches: dict[str, str]) -> _Decoding:
        return cls("p" in switches or "P" in switches, "P" in switches, "r" in switches)

    def begin(self, session: Session, process: int) -> tuple[str, ...]:
        base = directory_base(session, process)
        session.memory.select_process(base, decode_all=self.everything)
        what = "ptes" if self.everything else "user"
        notes = (f".cache forcedecode{what} done",) if self.wanted else ()
        return (*notes, *self._symbols(session))

    def _symbols(self, session: Session) -> Iterable[str]:
        """What loading the user symbols has to say, if it is asked for."""
        if not self.reload:
            return ()
        with session.out.capture() as said:
            session.execute(".reload /user")
        return "".join(said).splitlines()

    def end(self, session: Session) -> tuple[str, ...]:
        session.memory.select_process(None)
        return (".cache noforcedecodeptes done",) if self.wanted else ()


@dataclass(frozen=True, slots=True)
class PageDirectory:
    """The page tables that user addresses are read through."""

    base: int

    def lines(self) -> Iterator[str]:
        yield f"User-mode page directory base is {self.base:x}"


@command(
    ".context",
    summary="Show or set the page directory that user addresses are read through.",
    group="processes",
    params=(Param("base", "expression", "physical address; 0 resets", optional=True),),
    needs=Caps.READ | Caps.PHYSICAL,
    see_also=(".process", "!vtop"),
)
def choose_directory(session: Session, args: Arguments, name: str) -> PageDirectory:
    base = args.optional_expression()
    args.at_end()
    if base is not None:
        session.memory.select_process(base or None)
    shown = session.memory.process_cr3
    if shown is None:
        shown = directory_base(session, session.current_process())
    return PageDirectory(shown)


@dataclass(frozen=True, slots=True)
class ChosenContext:
    """The registers that are looked at from now on; None: those of the processor again."""

    registers: RegisterDump | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        yield from self.notes
        if self.registers is None:
            yield "Resetting default scope"
        else:
            yield from self.registers.lines()


def _use(session: Session, registers: RegisterFile, *notes: str) -> ChosenContext:
    """Make registers the context and show them."""
    session.scope.reset_registers()
    session.scope.registers = registers
    return ChosenContext(register_dump(session, registers), notes)


@command(
    ".trap",
    summary="Show a trap frame and make it the register context; without an address: reset.",
    group="stack",
    params=(Param("address", "expression", "KTRAP_FRAME, as kv shows it", optional=True),),
    needs=Caps.REGISTERS,
    see_also=("kv", ".cxr", ".thread"),
)
def choose_trap(session: Session, args: Arguments, name: str) -> ChosenContext:
    address = args.optional_expression(0)
    args.at_end()
    if not address:
        session.scope.reset_registers()
        return ChosenContext()
    try:
        registers = trap_registers(session, address)
    except MemoryFault as error:
        raise ArgumentError(f"Unable to read trap frame at {tick(address)}") from error
    return _use(
        session,
        registers,
        "NOTE: The trap frame does not contain all registers.",
        "Some register values may be zeroed or incorrect.",
    )


@dataclass(frozen=True, slots=True)
class ContextStored:
    address: int

    def lines(self) -> Iterator[str]:
        yield f"Context stored at {tick(self.address)}"


@command(
    ".cxr",
    summary="Show a CONTEXT record and make it the register context; without an address: reset.",
    group="stack",
    params=(Param("address", "expression", "CONTEXT record", optional=True),),
    options=(
        Option("/f", "how long the record is", "<size>"),
        Option("/w", "write the present context there instead", "<address>"),
    ),
    needs=Caps.REGISTERS,
    see_also=(".trap", ".exr", "k"),
)
def choose_context(session: Session, args: Arguments, name: str) -> ChosenContext | ContextStored:
    switches = args.switches("f:", "w")
    if "f" in switches and session.evaluate(switches["f"]) != CONTEXT_SIZE:
        raise UserError("Unable to convert context to canonical form")
    if "w" in switches:
        address = args.expression()
        args.at_end()
        session.memory.write(address, session.registers.context.raw)
        return ContextStored(address)
    address_or_none = args.optional_expression(0)
    args.at_end()
    if address_or_none == (1 << 64) - 1 and not session.dump:
        raise UserError("Unable to get exception context: only a dump file holds one")
    if not address_or_none or address_or_none == (1 << 64) - 1:
        session.scope.reset_registers()
        return ChosenContext()
    try:
        registers = record_registers(session, address_or_none)
    except MemoryFault as error:
        raise ArgumentError(f"Unable to read context at {tick(address_or_none)}") from error
    return _use(session, registers)


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """An exception, from a record in memory or from the last stop."""

    address: int
    symbol: str
    code: int
    name: str
    flags: int
    parameters: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        parameters = self.parameters
        yield f"ExceptionAddress: {tick(self.address)}{self.symbol and f' ({self.symbol})'}"
        yield f"   ExceptionCode: {self.code:08x}{self.name and f' ({self.name})'}"
        yield f"  ExceptionFlags: {self.flags:08x}"
        yield f"NumberParameters: {len(parameters)}"
        yield from (f"   Parameter[{i}]: {value:016x}" for i, value in enumerate(parameters))
        if self.code == events.STATUS_ACCESS_VIOLATION and len(parameters) >= 2:
            action = {0: "read from", 1: "write to", 8: "execute non-executable"}
            what = action.get(parameters[0], "access")
            yield f"Attempt to {what} address {parameters[1]:016x}"


@command(
    ".exr",
    summary="Show an exception record; -1 is the exception of the last stop.",
    group="stack",
    params=(Param("address", "expression", "EXCEPTION_RECORD, or -1"),),
    needs=Caps.READ,
    see_also=(".cxr", ".trap", ".lastevent"),
)
def exception_record(session: Session, args: Arguments, name: str) -> ExceptionRecord:
    address = args.expression()
    args.at_end()
    if address == (1 << 64) - 1:
        event = session.stopped_by
        if not isinstance(event, StopEvent):
            raise UserError("Last event was not an exception")
        return _exception(session, event.address, event.code, event.flags, event.parameters)
    record = session.nt_view("_EXCEPTION_RECORD", address)
    try:
        record = record.snapshot()
    except MemoryFault as error:
        raise ArgumentError(f"Cannot read Exception record @ {address:016x}") from error
    count = min(int(record.NumberParameters), len(record.ExceptionInformation))
    return _exception(
        session,
        int(record.ExceptionAddress),
        int(record.ExceptionCode) & 0xFFFF_FFFF,
        int(record.ExceptionFlags),
        tuple(record.ExceptionInformation[:count]),
    )


def _exception(
    session: Session, address: int, code: int, flags: int, parameters: tuple[int, ...]
) -> ExceptionRecord:
    symbol = session.disassembler.symbol(address) or ""
    name = events.exception_name(code)
    known = name if name != "Unknown exception" else ""
    return ExceptionRecord(address, symbol, code, known, flags, parameters)


@dataclass(frozen=True, slots=True)
class Processors:
    """The thread that each processor runs."""

    current: int
    threads: tuple[int | Unreadable, ...]

    def lines(self) -> Iterator[str]:
        for number, thread in enumerate(self.threads):
            shown = f"{thread}" if isinstance(thread, Unreadable) else tick(thread)
            yield f"{'.' if number == self.current else ' '} {number}  Thread: {shown}"


@command(
    "~",
    summary="List the processors, or make one of them current: ~1s.",
    group="stack",
    params=(Param("Ns", "processor", "number of a processor and s", optional=True),),
    needs=Caps.REGISTERS,
    glued=r"\d",
    see_also=("!running", "r", "k"),
)
def processors(session: Session, args: Arguments, name: str) -> Processors | None:
    if args.done:
        numbers = range(session.processors)
        threads = tuple(attempt(partial(session.processor_thread, number)) for number in numbers)
        return Processors(session.processor, threads)
    word = args.word() or ""
    args.at_end()
    digits = word[:-1]
    if not word.lower().endswith("s") or not digits.isdecimal():
        raise args.error(column=0)
    number = int(digits)
    if number >= session.processors:
        raise ArgumentError(f"{number} is not a valid processor number")
    if number != session.processor:
        session.select_processor(number)
        session.control.show_location()
    return None
