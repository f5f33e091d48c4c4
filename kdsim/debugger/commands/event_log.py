"""What happened: `.lastevent .eventlog .event_code .bugcheck .enumtag`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import command
from kdsim.debugger.report import bugcheck_data
from kdsim.debugger.text import address as tick
from kdsim.errors import SymbolError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

CODE_BYTES = 64
"""Instruction bytes `.event_code` shows at most."""

CODE_BYTES_IN_LINE = 16

CALLBACK_LIST = "nt!KeBugCheckReasonCallbackListHead"


@dataclass(frozen=True, slots=True)
class LastEvent:
    """Why the target stopped last, and when by the debugger's clock."""

    event: str
    time: str

    def lines(self) -> Iterator[str]:
        yield f"Last event: {self.event or '<no event>'}"
        if self.event:
            yield f"  debugger time: {self.time}"


@dataclass(frozen=True, slots=True)
class RecentEvents:
    events: tuple[str, ...]
    last: LastEvent

    def lines(self) -> Iterator[str]:
        yield from self.events
        yield from self.last.lines()


def _last(session: Session) -> LastEvent:
    return LastEvent(session.last_event, session.last_event_time)


@command(
    ".lastevent",
    summary="Tell why the target stopped last.",
    group="session",
    see_also=(".exr", "sx", ".eventlog"),
)
def last_event(session: Session, args: Arguments, name: str) -> LastEvent:
    args.at_end()
    return _last(session)


@command(
    ".eventlog",
    summary="Tell what happened lately: modules that came and went, and stops.",
    group="session",
    see_also=(".lastevent", "sx"),
)
def recent_events(session: Session, args: Arguments, name: str) -> RecentEvents:
    args.at_end()
    return RecentEvents(tuple(session.events.recent()), _last(session))


@dataclass(frozen=True, slots=True)
class EventCode:
    """The instructions at the last event."""

    address: int
    code: bytes

    def lines(self) -> Iterator[str]:
        for start in range(0, len(self.code), CODE_BYTES_IN_LINE):
            piece = self.code[start : start + CODE_BYTES_IN_LINE]
            yield f"{tick(self.address + start)}  {piece.hex(' ')}"


@command(
    ".event_code",
    summary="Show the bytes of the instructions at the last event.",
    group="session",
    needs=Caps.REGISTERS,
    see_also=(".lastevent", "u"),
)
def event_code(session: Session, args: Arguments, name: str) -> EventCode:
    args.at_end()
    session.require_halted()
    if session.stopped_by is None:
        raise UserError("No event has happened yet")
    pc = session.stopped_by.pc
    code = session.memory.read_some(pc, CODE_BYTES) or session.code_at_stop
    if not code:
        raise UserError(f"The code at {tick(pc)} cannot be read")
    return EventCode(pc, code)


@dataclass(frozen=True, slots=True)
class Bugcheck:
    code: int
    parameters: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        yield f"Bugcheck code {self.code:08X}"
        yield f"Arguments {' '.join(map(tick, self.parameters))}"


@command(
    ".bugcheck",
    summary="Show the bug check code and its arguments.",
    group="crash analysis",
    needs=Caps.READ,
    see_also=("!analyze",),
)
def bug_check(session: Session, args: Arguments, name: str) -> Bugcheck:
    args.at_end()
    return Bugcheck(*(bugcheck_data(session) or (0, (0, 0, 0, 0))))


@command(
    ".enumtag",
    summary="Show the data that drivers leave for a bug check.",
    group="crash analysis",
    needs=Caps.READ,
    see_also=(".bugcheck", "!analyze"),
    notes="Such data is not read in this version; the command tells whether there may be any.",
)
def secondary_data(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    if bugcheck_data(session) is None:
        raise UserError("No secondary data: the target has not bug checked")
    if not _has_callbacks(session):
        raise UserError("No secondary data: no bug check callback is registered")
    raise UserError("Secondary data of bug check callbacks is not read in this version")


def _has_callbacks(session: Session) -> bool:
    """Whether the kernel's list of bug check reason callbacks holds any; one without has none."""
    try:
        head = session.resolve_nt(CALLBACK_LIST)
        return session.memory.u64(head) not in (head, 0)
    except SymbolError:
        return False
