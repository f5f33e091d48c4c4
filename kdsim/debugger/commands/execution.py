"""Running and stepping: the `g`, `p` and `t` families, `.reboot`, `.crash`, `q`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kdsim.debugger import events
from kdsim.debugger.backends.base import (
    CONTINUE,
    CONTINUE_HANDLED,
    CONTINUE_NOT_HANDLED,
    Caps,
    StopEvent,
)
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.control import Motion
from kdsim.debugger.report import Stop
from kdsim.errors import ArgumentError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

MAX_TARGETS = 10
"""Break addresses one `g` takes."""

START = Param("= address", "expression", "where to start instead of rip", optional=True)
COUNT = Param("count", "expression", "how often", optional=True)
COMMANDS = Param('"commands"', "commands", "to run after stepping", optional=True)


@command(
    "g",
    "ga",
    "gh",
    "gn",
    "gN",
    summary="Go: run until a breakpoint, an event or one of the given addresses.",
    group="execution",
    params=(START, Param("addresses", "expression", "break there, once", optional=True)),
    needs=Caps.RUN,
    see_also=("p", "t", "gu", "gc", "bp"),
    notes="gh: the exception is handled; gn, gN: it is not. ga uses hardware breakpoints.",
)
def go(session: Session, args: Arguments, name: str) -> None:
    _start(session, args)
    targets = []
    while not args.done:
        targets.append(args.address())
    if len(targets) > MAX_TARGETS:
        raise ArgumentError(f"Too many break addresses (max {MAX_TARGETS})")
    status = _status(session, name)
    if targets:
        session.control.aim(targets, hardware=name == "ga")
    session.control.drive(_go(session, status), counting=True)


def _go(session: Session, status: int) -> Motion:
    """The status is for the stop it was given at; `gc` repeats the motion from another."""
    pending = [status]
    return lambda: session.control.go(pending.pop() if pending else CONTINUE)


def _status(session: Session, name: str) -> int:
    event = session.event
    exception = isinstance(event, StopEvent) and event.code not in (
        events.STATUS_BREAKPOINT,
        events.STATUS_SINGLE_STEP,
    )
    if name == "gh":
        return CONTINUE_HANDLED
    if name == "gN" or (name == "gn" and exception):
        return CONTINUE_NOT_HANDLED
    if name == "gn":
        raise UserError("gn: the target stopped at a breakpoint, not an exception; gN forces it")
    if exception and isinstance(event, StopEvent):
        handled = session.filters.for_code(event.code).handled
        return CONTINUE_HANDLED if handled else CONTINUE_NOT_HANDLED
    return CONTINUE


def _start(session: Session, args: Arguments) -> None:
    """`= address`: go on from there."""
    session.require_halted()
    if args.take("="):
        session.live_registers["rip"] = args.expression()
        session.scope.reset_registers()


@command(
    "gc",
    summary="Go on from a conditional breakpoint in the way it was reached.",
    group="execution",
    needs=Caps.RUN,
    see_also=("g", "bp"),
)
def go_conditional(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.control.repeat()


@command(
    "gu",
    summary="Go up: run until the current function returns to its caller.",
    group="execution",
    needs=Caps.RUN,
    see_also=("p", "pt", "g"),
)
def go_up(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.scope.reset_registers()
    session.control.drive(session.control.resumable(session.control.up))


# What ends pa, pc, pt, ph and their t forms, by the last letters of the name.
_ENDS: dict[str, frozenset[str]] = {
    "c": frozenset({"call"}),
    "t": frozenset({"ret"}),
    "ct": frozenset({"call", "ret"}),
    "h": frozenset({"call", "ret", "branch", "jump"}),
}
LONGEST_WALK = 1_000_000
"""Steps of one pa, pc, pt ... at most."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step command asks for."""

    over: bool
    count: int
    until: int | None = None
    kinds: frozenset[str] = frozenset()


@command(
    "p",
    "pa",
    "pc",
    "pt",
    "pct",
    "ph",
    "t",
    "ta",
    "tc",
    "tt",
    "tct",
    "th",
    summary="Step over (p) or into (t) calls: once, to an address (pa), call (pc), return (pt).",
    group="execution",
    params=(START, COUNT, COMMANDS),
    needs=Caps.RUN,
    suffix="r",
    see_also=("g", "gu", "u"),
    notes="pct: to a call or return. ph: to any branch. The letter r shows or hides the registers.",
)
def step(session: Session, args: Arguments, name: str) -> None:
    if name.endswith("r"):
        name = name[:-1]
        _toggle_registers(session)
    _start(session, args)
    over, end = name[0] == "p", name[1:]
    until = args.address() if end == "a" else None
    count = 1
    if until is None and not args.done and not args.peek().startswith('"'):
        count = args.expression()
    commands = args.string(escapes=True) or ""
    args.at_end()
    session.scope.reset_registers()
    plan = StepPlan(over, count, until, _ENDS.get(end, frozenset()))
    if count:
        session.control.drive(_walk(session, plan), commands=commands)


def _toggle_registers(session: Session) -> None:
    session.settings.show = session.settings.show ^ {"reg"}


def _walk(session: Session, plan: StepPlan) -> Motion:
    """A motion that steps as often as the plan says; `p 5` and `pa` show the steps on the way."""
    control = session.control
    one = control.resumable(control.step if plan.over else control.trace)
    remaining = plan.count
    shows = plan.until is not None or not plan.kinds

    def counts() -> bool:
        pc = session.instruction_pointer
        if plan.until is not None:
            return pc == plan.until
        return not plan.kinds or session.disassembler.line(pc).kind in plan.kinds

    def walk() -> Stop:
        nonlocal remaining
        for _ in range(max(plan.count, LONGEST_WALK)):
            stop = one()
            if stop.kind != "step" or control.break_wanted:
                return stop
            if counts():
                remaining -= 1
            if remaining <= 0:
                return stop
            if shows:
                control.show_location()
        raise UserError(f"Gave up after {LONGEST_WALK} steps")

    return walk


@command(
    ".reboot",
    summary="Restart the target.",
    group="execution",
    needs=Caps.RUN,
    see_also=(".crash", "g"),
)
def reboot(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.require_halted()
    session.before_resume()
    session.backend.reboot()
    session.control.wait_for_stop()


@command(
    ".crash",
    summary="Make the target bug check (MANUALLY_INITIATED_CRASH).",
    group="execution",
    needs=Caps.RUN,
    see_also=(".reboot", "!analyze"),
)
def crash(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.require_halted()
    session.before_resume()
    session.backend.bugcheck()
    session.control.wait_for_stop()


QUITS: dict[str, Literal["q", "qq", "qd"]] = {"q": "q", "qq": "qq", "qd": "qd"}


@command(
    *QUITS,
    summary="Quit. The target stays as it is; qd lets it run.",
    group="session",
    see_also=("g",),
)
def leave(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.quit(QUITS[name])
