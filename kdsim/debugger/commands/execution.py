"""Running: the `g` family, `.reboot`, `.crash`, `.restart`, `q`."""

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
from kdsim.debugger.breakpoints import Breakpoint
from kdsim.debugger.commands.options import zero_or_one
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.control import Motion
from kdsim.debugger.language.problems import UNRESOLVED
from kdsim.errors import ArgumentError, CommandSyntaxError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

MAX_TARGETS = 10
"""Break addresses one `g` takes."""

START = Param("= address", "expression", "where to start instead of rip", optional=True)


@command(
    "g",
    "ga",
    "gh",
    "gha",
    "gn",
    "gna",
    "gN",
    "gNa",
    summary="Go: run until a breakpoint, an event or one of the given addresses.",
    group="execution",
    params=(
        START,
        Param("addresses", "expression", "break there, once", optional=True),
        Param("; commands", "commands", "in a command string: to run there", optional=True),
    ),
    needs=Caps.RUN,
    see_also=("p", "t", "gu", "gc", "bp"),
    notes="gh: the exception is handled; gn, gN: it is not. ga uses hardware breakpoints.",
    examples=("g leaky!DriverEntry", 'bp nt!KeBugCheckEx "g @$ra; k"'),
)
def go(session: Session, args: Arguments, name: str) -> None:
    start(session, args)
    commands = session.control.rest_of_command_string(args.text)
    targets = _targets(session, args, commands)
    status = _status(session, name.removesuffix("a"))
    if targets:
        session.control.aim(targets, hardware=name.endswith("a"), commands=commands)
    session.control.drive(_go(session, status), counting=True)


def _targets(session: Session, args: Arguments, commands: str) -> list[int]:
    """Where to break. What lies in a module that is not loaded waits for it as a breakpoint."""
    targets: list[int] = []
    waiting: list[str] = []
    while not args.done:
        column = args.position
        try:
            targets.append(args.address())
        except CommandSyntaxError as error:
            args.position = column
            word = args.word() or ""
            module = word.partition("!")[0]
            known = session.symbols.module_named(module) is not None
            if UNRESOLVED not in error.message or "!" not in word[1:] or known:
                raise
            waiting.append(word)
    if len(targets) + len(waiting) > MAX_TARGETS:
        raise ArgumentError(f"Too many break addresses (max {MAX_TARGETS})")
    for word in waiting:
        number = session.breakpoints.free_id()
        session.breakpoints.add(Breakpoint(number, "bu", word, one_shot=True, command=commands))
        session.report(f"Bp expression '{word}' could not be resolved, adding deferred bp")
    return targets


def _go(session: Session, status: int) -> Motion:
    """The status is for the stop it was given at; `gc` repeats the motion from another."""
    pending = [status]
    return lambda: session.control.go(pending.pop() if pending else CONTINUE)


def _status(session: Session, name: str) -> int:
    # Not `session.event`: a processor that `~Ns` chose answers with an event of its own.
    event = session.stopped_by
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


def start(session: Session, args: Arguments) -> None:
    """`= address`: go on from there."""
    session.require_execution()
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
    session.require_execution()
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
    session.require_execution()
    session.scope.reset_registers()
    session.control.drive(session.control.resumable(session.control.up))


@command(
    ".reboot",
    summary="Restart the target.",
    group="execution",
    needs=Caps.RUN,
    see_also=(".crash", "g"),
)
def reboot(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.require_execution()
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
    session.require_execution()
    session.before_resume()
    session.backend.bugcheck()
    session.control.wait_for_stop()


@command(
    ".restart",
    summary="Drop the connection and attach anew, as a debugger does that is started again.",
    group="session",
    needs=Caps.RUN,
    see_also=(".reboot", "q"),
)
def restart(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    session.require_halted()
    session.reconnect()


@dataclass(frozen=True, slots=True)
class ExecutionPermission:
    allowed: bool

    def lines(self) -> list[str]:
        return [f"Execution commands are {'allowed' if self.allowed else 'not allowed'}"]


@command(
    ".allow_exec_cmds",
    summary="Permit or refuse the commands that run the target.",
    group="execution",
    params=(Param("0|1", "text", optional=True),),
    see_also=("g", "p", "t"),
)
def allow_execution(session: Session, args: Arguments, name: str) -> ExecutionPermission:
    if not args.done:
        session.settings.allow_execution = zero_or_one(args)
    return ExecutionPermission(session.settings.allow_execution)


QUITS: dict[str, Literal["q", "qq", "qd"]] = {"q": "q", "qq": "qq", "qd": "qd"}


@command(
    *QUITS,
    summary="Quit. The target stays as it is; qd lets it run.",
    group="session",
    see_also=("g", ".quit_lock"),
)
def leave(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    if session.quit_lock:
        raise UserError(f"{name}: the session is locked; .quit_lock /q <password> unlocks it")
    session.quit(QUITS[name])


@dataclass(frozen=True, slots=True)
class QuitLock:
    """The password is no secret, as the manual says."""

    password: str

    def lines(self) -> list[str]:
        return [
            f"Quit lock is set, password '{self.password}'" if self.password else "No quit lock"
        ]


@command(
    ".quit_lock",
    summary="Keep q from ending the session by accident; alone: tell the password.",
    group="session",
    options=(
        Option("/s", "lock the session", "<password>"),
        Option("/q", "unlock it", "<password>"),
    ),
    see_also=("q",),
)
def lock_quit(session: Session, args: Arguments, name: str) -> QuitLock | None:
    switch = args.take("/s", "/q")
    if switch is None:
        args.at_end()
        return QuitLock(session.quit_lock)
    word = args.word()
    if not word:
        raise args.error()
    args.at_end()
    if switch == "/s":
        session.quit_lock = word
    elif word != session.quit_lock:
        raise UserError(f"The password '{word}' does not match")
    else:
        session.quit_lock = ""
    return None
