"""The k* commands, `.kframes`, `.frame`, `kd`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.display_symbols import PointerRow, Pointers
from kdsim.debugger.commands.memory_cells import read_cells
from kdsim.debugger.commands.registers import RegisterDump, register_dump
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.variables import parameter_text
from kdsim.debugger.registers import GENERAL, RegisterFile
from kdsim.debugger.stack import Frame, frame_registers, home_slots, walk_from
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import frame_variables
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.frame import FrameRegisters

MAX_FRAMES = 0xFFFF
SCOPE_NOTE = "  *** Stack trace for last set context - .thread/.cxr resets it"
_FLAGS = "bpPvncfLM"


@dataclass(frozen=True, slots=True)
class StackRow:
    """One frame as a k command shows it; `memory` is what it takes of the stack."""

    index: int
    child_sp: int
    return_address: int
    symbol: str
    arguments: tuple[int | None, ...] = ()
    parameters: tuple[str, ...] = ()
    source: str = ""
    trap_frame: int = 0
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class StackTrace:
    """A stack in the columns that the letters of the k command ask for."""

    rows: tuple[StackRow, ...]
    flags: str = ""
    note: str = ""

    def lines(self) -> Iterator[str]:
        if self.note:
            yield self.note
        yield self._header()
        for row in self.rows:
            yield from self._row(row)

    def _header(self) -> str:
        if "c" in self.flags:
            return " # Call Site"
        memory = "   Memory " if "f" in self.flags else ""
        head = " #" + memory
        if "b" not in self.flags:
            head += " Child-SP         "
        head += " RetAddr              "
        if self._arguments:
            head += " : Args to Child" + " " * 59
            return head + ": Call Site"
        return head + " Call Site"

    @property
    def _arguments(self) -> bool:
        return "b" in self.flags or "v" in self.flags

    def _row(self, row: StackRow) -> Iterator[str]:
        number = f"{row.index:02x}"
        site = row.symbol
        if "p" in self.flags and row.parameters:
            name, plus, offset = site.partition("+")
            site = f"{name}({', '.join(row.parameters)}){plus}{offset}"
        elif "P" in self.flags and row.parameters:
            name, plus, offset = site.partition("+")
            inner = ",\n\t\t\t".join(row.parameters)
            site = f"{name}(\n\t\t\t{inner}){plus}{offset}"
        if row.trap_frame and "v" in self.flags:
            site += f" (TrapFrame @ {tick(row.trap_frame)})"
        if row.source and "L" not in self.flags:
            site += f" [{row.source}] "
        if "c" in self.flags:
            # The clean stack has names alone.
            yield f"{number} {row.symbol.partition('+')[0]}"
            return
        text = number
        if "f" in self.flags:
            text += f"{row.memory:10x}" if row.memory is not None else " " * 10
        if "b" not in self.flags:
            text += f" {tick(row.child_sp)}"
        text += f" {tick(row.return_address)}    "
        if self._arguments:
            slots = " ".join(
                tick(value) if value is not None else "????????`????????" for value in row.arguments
            )
            text += f" : {slots} :"
        yield f"{text} {site}"


@command(
    "k",
    "kb",
    "kp",
    "kP",
    "kv",
    "kn",
    "kc",
    "kf",
    "kL",
    summary="Show the stack: kb arguments, kp kP parameters, kv trap frames, kc names only.",
    group="stack",
    params=(Param("count", "expression", "frames, or = StackPtr [InstrPtr] Count", optional=True),),
    needs=Caps.REGISTERS,
    suffix=f"[{_FLAGS}]+",
    processor_prefix=True,
    see_also=(".frame", "dv", ".thread", ".trap", ".cxr", ".kframes"),
    notes="The letters may be put together: kbnL, kvf.",
)
def stack(session: Session, args: Arguments, name: str) -> StackTrace:
    flags = name[1:]
    start, count = _start(session, args)
    found = walk_from(session, start, count, session.registers.unknown)
    rows = tuple(_row(session, frame, flags) for frame in found)
    if "f" in flags:
        rows = tuple(
            replace(row, memory=row.child_sp - rows[i - 1].child_sp) if i else row
            for i, row in enumerate(rows)
        )
    note = "" if session.scope.is_default else SCOPE_NOTE
    return StackTrace(rows, flags, note)


def _start(session: Session, args: Arguments) -> tuple[FrameRegisters, int]:
    """Where to start walking and how far: `[Count]`, `= Stack Count`, `= Stack Ip Count`."""
    start = frame_registers(session.registers)
    count = session.settings.stack_frames
    args.peek()
    column = args.position
    if args.take("="):
        values = []
        while not args.done:
            values.append(args.expression())
        if not 0 < len(values) < 4:
            raise args.error(column=column)
        start.rsp = values[0]
        if len(values) == 2:
            count = values[1]
        elif len(values) == 3:
            start.rip, count = values[1], values[2]
    elif not args.done:
        count = args.expression()
        args.at_end()
    if not 0 < count <= MAX_FRAMES:
        raise ArgumentError(f"Range error in '{args.text.strip()}'")
    return start, count


def _row(session: Session, frame: Frame, flags: str) -> StackRow:
    parameters: tuple[str, ...] = ()
    if "p" in flags or "P" in flags:
        parameters = tuple(
            parameter_text(variable)
            for variable in frame_variables(session, frame)
            if variable.is_parameter
        )
    return StackRow(
        frame.index,
        frame.child_sp,
        frame.return_address,
        session.disassembler.symbol(frame.ip) or f"0x{tick(frame.ip)}",
        home_slots(session, frame) if "b" in flags or "v" in flags else (),
        parameters,
        _source(session, frame),
        frame.trap_frame,
    )


def _source(session: Session, frame: Frame) -> str:
    if not session.settings.load_lines:
        return ""
    line = session.symbols.line(frame.lookup_ip)
    return f"{line.file} @ {line.line}" if line else ""


@command(
    "kd",
    summary="Show the stack as raw pointers with symbols.",
    group="stack",
    params=(Param("count", "expression", "pointers", optional=True),),
    needs=Caps.REGISTERS,
    processor_prefix=True,
    see_also=("k", "dps"),
)
def raw_stack(session: Session, args: Arguments, name: str) -> Pointers:
    count = args.optional_expression(session.settings.stack_frames)
    args.at_end()
    assert count is not None
    if not 0 < count <= MAX_FRAMES:
        raise ArgumentError(f"Range error in '{args.text.strip()}'")
    start = session.registers["rsp"]
    if args.text[args.start :].strip():
        cells = list(read_cells(session.memory, start, count, 8))
    else:
        # As many as a stack is shown by default, but none of what lies beyond it.
        cells = list(takewhile(bool, read_cells(session.memory, start, count, 8)))
    rows = []
    for index, cell in enumerate(cells):
        value = int.from_bytes(cell, "little") if cell is not None else None
        detail = session.disassembler.symbol(value) or "" if value is not None else ""
        rows.append(PointerRow(start + 8 * index, value, detail))
    return Pointers(8, tuple(rows))


@dataclass(frozen=True, slots=True)
class StackDepth:
    """How many frames `k` shows."""

    frames: int

    def lines(self) -> Iterator[str]:
        yield f"Default stack trace depth is 0n{self.frames} frames"


@command(
    ".kframes",
    summary="Show or set how many frames k shows.",
    group="stack",
    params=(Param("count", "expression", "frames", optional=True),),
    see_also=("k",),
)
def default_depth(session: Session, args: Arguments, name: str) -> StackDepth:
    count = args.optional_expression()
    args.at_end()
    if count is not None:
        if not 0 < count <= MAX_FRAMES:
            raise ArgumentError(f"Range error in '{args.text.strip()}'")
        session.settings.stack_frames = count
    return StackDepth(session.settings.stack_frames)


@dataclass(frozen=True, slots=True)
class ChosenFrame:
    """The frame whose locals are seen from now on."""

    row: StackRow
    registers: RegisterDump | None

    def lines(self) -> Iterator[str]:
        row = self.row
        source = f" [{row.source}] " if row.source else ""
        places = f"{tick(row.child_sp)} {tick(row.return_address)}"
        yield f"{row.index:02x} {places}     {row.symbol}{source}"
        if self.registers is not None:
            yield from self.registers.lines()


@command(
    ".frame",
    summary="Choose a frame, whose locals dv and expressions see.",
    group="stack",
    params=(
        Param(
            "number",
            "expression",
            "of the frame, as k shows it; = <base>: by address",
            optional=True,
        ),
    ),
    options=(
        Option("/r", "show its registers"),
        Option("/c", "make its registers the context"),
    ),
    needs=Caps.REGISTERS,
    see_also=("k", "dv", ".cxr"),
)
def choose_frame(session: Session, args: Arguments, name: str) -> ChosenFrame:
    switches = args.switches("c", "r")
    frame = _frame_by_base(session, args) if args.take("=") else _frame_by_number(session, args)
    session.scope.frame = frame.index
    shown = None
    if "r" in switches or "c" in switches:
        chosen = frame_register_file(session, frame)
        shown = register_dump(session, chosen)
        if "c" in switches:
            session.scope.registers = chosen
            session.scope.frame = 0
    return ChosenFrame(_row(session, frame, ""), shown)


def _frame_by_number(session: Session, args: Arguments) -> Frame:
    number = args.optional_expression(session.scope.frame)
    args.at_end()
    assert number is not None
    frames = session.stack(count=number + 1)
    if number >= len(frames):
        raise ArgumentError(f"Cannot find frame 0x{number:x}, previous scope unchanged")
    return frames[number]


def _frame_by_base(session: Session, args: Arguments) -> Frame:
    """`= BasePtr [FrameIncrement]`: the frame whose Child-SP it is, and some further up."""
    base = args.expression()
    further = args.optional_expression(0)
    args.at_end()
    assert further is not None
    frames = session.stack()
    number = next((f.index for f in frames if f.child_sp == base), len(frames)) + further
    if number >= len(frames):
        raise ArgumentError(f"Cannot find frame at {tick(base)}, previous scope unchanged")
    return frames[number]


def frame_register_file(session: Session, frame: Frame) -> RegisterFile:
    """The registers of a frame; what unwinding does not restore is the live processor's."""
    context = session.registers.context.copy()
    for name in GENERAL:
        context.set(name, frame.registers[name])
    context.set("rip", frame.ip)
    return RegisterFile.of(context, lambda: session.live_registers.special, frame.unknown)
