"""What kd prints when the target stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kdsim.debugger import events, times
from kdsim.debugger.backends.base import (
    CommandEvent,
    CrashRecord,
    Halt,
    ModuleEvent,
    StopEvent,
    UnknownEvent,
)
from kdsim.debugger.breakpoints import Breakpoint
from kdsim.debugger.events import BreakReason
from kdsim.debugger.output import Kind
from kdsim.errors import KdsimError, MemoryFault, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

StopKind = Literal["breakpoint", "temporary", "step", "exception", "module", "command", "unknown"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the target stands still.

    Attributes:
        resume: only the commands of an `sx` filter, or of the target itself, are to run; then the
            target goes on with this.
    """

    kind: StopKind
    event: Halt
    hits: tuple[Breakpoint, ...] = ()
    resume: int | None = None


class StopReporter:
    """Prints a stop in two parts; the command strings that belong to it run in between."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def announce(self, stop: Stop) -> list[str]:
        """Say why the target stopped; answers with the command strings to run now."""
        session = self._session
        session.out.fresh_line()
        session.last_event = self._summary(stop)
        session.last_event_time = times.session_time(times.from_unix(session.clock()))
        event = stop.event
        if isinstance(event, CommandEvent):
            session.out.line(f"{session.time_stamp()}{session.last_event}")
            return [event.command]
        if isinstance(event, UnknownEvent):
            session.events.add(session.last_event)
            session.out.line(f"*** {session.last_event}; the target stands still, g lets it go on")
            return []
        if not isinstance(event, ModuleEvent):
            session.events.add(session.last_event)
        if isinstance(event, ModuleEvent):
            command = session.filters.module_filter(event).command
            return [command] if command else []
        if stop.kind == "breakpoint":
            return self._breakpoint(stop)
        if stop.kind == "exception":
            return self._exception(event) if stop.resume is None else self._filter_command(event)
        return []

    def location(self) -> None:
        """Registers, symbol line and instruction, as far as `.prompt_allow` lets them through."""
        session = self._session
        out = session.out
        out.fresh_line()
        show = session.settings.show
        try:
            if "reg" in show:
                for line in session.register_lines():
                    out.line(line, Kind.REGISTERS)
            pc = session.instruction_pointer
            for line in session.disassembler.location(
                pc, symbol="sym" in show, instruction="dis" in show, registers=session.registers
            ):
                out.line(line)
        except KdsimError as error:
            out.line(str(error))

    def _breakpoint(self, stop: Stop) -> list[str]:
        commands = [hit.command for hit in stop.hits if hit.command]
        if commands:
            return commands
        for hit in stop.hits:
            self._session.out.line(f"{self._session.time_stamp()}Breakpoint {hit.id} hit")
        return []

    def _exception(self, event: StopEvent) -> list[str]:
        session, out = self._session, self._session.out
        out.line(session.time_stamp() + events.exception_text(event))
        reason = break_reason(session, event)
        if event.code not in (events.STATUS_BREAKPOINT, events.STATUS_SINGLE_STEP):
            if event.first_chance:
                for line in events.FIRST_CHANCE_NOTE:
                    out.line(line)
        elif reason is BreakReason.CONTROL_C:
            if not session.settings.quiet and not session.control.stopped_by_output:
                for line in events.BREAK_IN_BOX:
                    out.line(line)
        elif reason is not None:
            self._bugcheck(reason)
        return self._filter_command(event)

    def _filter_command(self, event: StopEvent) -> list[str]:
        """The command string of the `sx` filter that is responsible for a stop."""
        filters = self._session.filters
        if self._session.control.stopped_by_output:
            command = filters["out"].command
        else:
            command = filters.for_code(event.code).command_for(event)
        return [command] if command else []

    def _bugcheck(self, reason: BreakReason) -> None:
        session = self._session
        data = bugcheck_data(session)
        if data is None:
            return
        for line in events.bugcheck_lines(reason, *data):
            session.out.line(line)
        if session.on_bugcheck is not None:
            try:
                session.on_bugcheck(session)
            except KdsimError as error:
                session.out.line(str(error))

    def _summary(self, stop: Stop) -> str:
        event = stop.event
        if isinstance(event, ModuleEvent):
            return f"{'Unload' if event.unload else 'Load'} module {event.path}"
        if isinstance(event, CommandEvent):
            return f"Target command '{event.command}'"
        if isinstance(event, UnknownEvent):
            return f"State change {event.state:08x} of an unknown kind"
        if stop.kind == "breakpoint":
            return f"Hit breakpoint {stop.hits[0].id}"
        return events.exception_text(event)


def bugcheck_data(session: Session) -> tuple[int, tuple[int, ...]] | None:
    """Code and four parameters from nt!KiBugCheckData; None when none is pending or readable."""
    try:
        base = session.resolve_nt("nt!KiBugCheckData")
        code, *parameters = (session.memory.u64(base + 8 * i) for i in range(5))
    except (MemoryFault, SymbolError):
        if not isinstance(session.backend, CrashRecord):
            return None
        code, *parameters = session.backend.crash_facts().bugcheck
    return (code, tuple(parameters)) if code else None


def break_reason(session: Session, event: StopEvent) -> BreakReason | None:
    """Why nt!DbgBreakPointWithStatus was called, when that is where we stopped."""
    if event.code != events.STATUS_BREAKPOINT or event.pc != session.break_instruction:
        return None
    status = session.live_registers["ecx"]
    known = {reason.value for reason in BreakReason}
    return BreakReason(status) if status in known else None
