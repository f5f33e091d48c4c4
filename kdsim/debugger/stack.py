"""Walking the stack of the scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.registers import GENERAL, VOLATILE, RegisterFile
from kdsim.errors import FormatError, MemoryFault, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.unwind import FrameRegisters, Unwound


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        ip: where execution is, or will go on after the call.
        child_sp: RSP in this frame.
        return_address: of this frame's function; 0 at the end.
        registers: as far as unwinding restored them.
        trap_frame: the trap frame this frame's function built; 0 when it is no trap handler.
        interrupted: this frame was left by a trap, not by a call.
        unknown: general registers whose value in this frame nobody has kept.
    """

    index: int
    ip: int
    child_sp: int
    return_address: int
    registers: FrameRegisters
    trap_frame: int = 0
    interrupted: bool = False
    unknown: frozenset[str] = frozenset()

    @property
    def lookup_ip(self) -> int:
        """Address to look a function, a line or locals up by: a caller stands after its call."""
        return self.ip if self.index == 0 or self.interrupted else self.ip - 1


def walk(session: Session, registers: RegisterFile, count: int) -> list[Frame]:
    """Up to `count` frames, innermost first. An unreadable stack ends the walk."""
    return walk_from(session, frame_registers(registers), count, registers.unknown)


def frame_registers(registers: RegisterFile) -> FrameRegisters:
    """The registers unwinding starts from."""
    from kdsim.symbols.unwind import FrameRegisters

    return FrameRegisters(registers["rip"], [registers[name] for name in GENERAL])


def walk_from(
    session: Session, start: FrameRegisters, count: int, unknown: frozenset[str] = frozenset()
) -> list[Frame]:
    """As `walk`, from the registers of any frame, of which some may not be known."""
    frames: list[Frame] = []
    here, interrupted = start, False
    while len(frames) < count:
        session.check_interrupt()
        up = _unwind(session, here)
        caller = up.regs.rip if up else 0
        trap = up.frame_pointer if up and up.machine_frame else 0
        frames.append(
            Frame(len(frames), here.rip, here.rsp, caller, here, trap, interrupted, unknown)
        )
        if up is None or not caller or (up.regs.rsp <= here.rsp and not up.machine_frame):
            break
        unknown = _unknown_above(session, here, up, unknown)
        here, interrupted = up.regs, up.machine_frame
    return frames


def _unknown_above(
    session: Session, here: FrameRegisters, up: Unwound, unknown: frozenset[str]
) -> frozenset[str]:
    """Unwinding brings back what was saved; a trap frame holds the volatile registers as well."""
    restored = {name for name in GENERAL if up.regs[name] != here[name]}
    if not up.machine_frame:
        return (unknown - restored) | VOLATILE
    try:
        frame = session.nt_view("_KTRAP_FRAME", up.frame_pointer).snapshot()
        if (int(frame.Rip), int(frame.Rsp)) == (up.regs.rip, up.regs.rsp):
            for name in VOLATILE:
                up.regs[name] = int(frame[name.capitalize()])
            return unknown - restored - VOLATILE
    except (MemoryFault, SymbolError):
        pass
    return (unknown - restored) | VOLATILE


def _unwind(session: Session, registers: FrameRegisters) -> Unwound | None:
    try:
        return session.modules.space_for(registers.rip).unwind(registers)
    except (FormatError, MemoryFault, SymbolError):
        return None


def home_slots(session: Session, frame: Frame) -> tuple[int | None, ...]:
    """The four argument slots above a frame's return address, as `kb` shows them.

    Optimised code need not have stored anything there; None where memory is unreadable.
    """
    up = _unwind(session, frame.registers)
    if up is None:
        return (None,) * 4
    data = session.memory.read_some(up.regs.rsp, 32)
    return tuple(
        int.from_bytes(data[i : i + 8], "little") if len(data) >= i + 8 else None
        for i in range(0, 32, 8)
    )
