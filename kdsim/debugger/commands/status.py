"""About the target and the debugger: `vertarget version .time .effmach .cache ...`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim import __version__
from kdsim.debugger import kernel, times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.extensions import chain_lines
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.language.problems import OVERFLOW
from kdsim.debugger.text import signed
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SLEEP_STEP = 0.05
"""Kd's default; here it only says how much a listing may keep."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the target is, and its time."""

    facts: kernel.KernelFacts
    clock: kernel.Clock

    def lines(self) -> list[str]:
        return [*self.facts.lines(), *self.clock.lines()]


@dataclass(frozen=True, slots=True)
class Versions:
    """The target and the debugger."""

    target: Target
    command_line: str
    debugger: str
    connection: str

    def lines(self) -> Iterator[str]:
        yield from self.target.lines()
        yield ""
        yield f"command line: '{self.command_line}'"
        yield from chain_lines()
        yield f"kdsim {self.debugger}"
        yield f"Connected through {self.connection}"


@dataclass(frozen=True, slots=True)
class CommandLine:
    command_line: str

    def lines(self) -> list[str]:
        return [f"command line: '{self.command_line}'"]


def _target(session: Session) -> Target:
    if session.facts is None:
        raise UserError("The target has not answered yet")
    return Target(session.facts, kernel.read_clock(session))


def _command_line() -> str:
    return shlex.join(["kdsim", *sys.argv[1:]])


@command(
    "vertarget",
    summary="Tell what the target is, and its time.",
    group="session",
    see_also=("version", ".time"),
)
def target_version(session: Session, args: Arguments, name: str) -> Target:
    args.at_end()
    return _target(session)


@command(
    "version",
    summary="Tell what the target and the debugger are.",
    group="session",
    see_also=("vertarget", "vercommand"),
)
def versions(session: Session, args: Arguments, name: str) -> Versions:
    args.at_end()
    description = session.backend.description
    return Versions(_target(session), _command_line(), __version__, description)


@command(
    "vercommand",
    summary="Show the command line that started the debugger.",
    group="session",
    see_also=("version",),
)
def version_command(session: Session, args: Arguments, name: str) -> CommandLine:
    args.at_end()
    return CommandLine(_command_line())


@command(
    ".kdtargetmac",
    summary="Show the network address of the target's adapter, as far as the target tells it.",
    group="session",
    needs=Caps.RUN,
    see_also=("vertarget",),
)
def target_address(session: Session, args: Arguments, name: str) -> None:
    args.at_end()
    description = session.backend.description
    if not description.startswith("net:"):
        raise UserError(f"{name} needs a KDNET connection, and this is {description}")
    raise UserError(
        "The target does not tell the MAC address of its adapter: KDNET's messages do not carry it"
    )


@command(
    ".time",
    summary="Show the target's time and uptime.",
    group="session",
    options=(Option("-h", "in the zone this far from Greenwich", "<hours>"),),
    see_also=(".echotime", "vertarget"),
    examples=(".time -h (-8)",),
)
def session_time(session: Session, args: Arguments, name: str) -> kernel.Clock:
    hours = signed(args.expression()) if args.take("-h", "/h") else None
    args.at_end()
    return kernel.read_clock(session, hours)


@dataclass(frozen=True, slots=True)
class DebuggerTime:
    filetime: int

    def lines(self) -> list[str]:
        return [f"Debugger (not debuggee) time: {times.session_time(self.filetime)}"]


@command(
    ".echotime",
    summary="Show the time of the debugger's machine.",
    group="session",
    see_also=(".time", ".echotimestamps"),
)
def debugger_time(session: Session, args: Arguments, name: str) -> DebuggerTime:
    args.at_end()
    return DebuggerTime(times.from_unix(session.clock()))


@dataclass(frozen=True, slots=True)
class EffectiveMachine:
    machine: str

    def lines(self) -> list[str]:
        return [f"Effective machine: {self.machine}"]


@command(
    ".effmach",
    summary="Show the processor mode of registers, stacks and disassembly: x64.",
    group="session",
    params=(
        Param(
            "machine",
            "word",
            "alone: show",
            optional=True,
            words=(
                (".", "that of the code at hand"),
                ("#", "that of the target"),
                ("amd64", "x64"),
            ),
        ),
    ),
)
def effective_machine(session: Session, args: Arguments, name: str) -> EffectiveMachine:
    wanted = (args.word() or ".").lower()
    args.at_end()
    if wanted not in (".", "#", "amd64", "x64"):
        raise UserError(f"Effective machine {wanted} is not supported by an x64 kernel target")
    return EffectiveMachine("x64 (AMD64)")


@command(
    ".sleep",
    summary="Wait; the number is milliseconds in the current radix.",
    group="session",
    params=(Param("milliseconds", "expression"),),
)
def sleep(session: Session, args: Arguments, name: str) -> None:
    milliseconds = args.expression()
    args.at_end()
    if milliseconds >> 32:
        raise args.error(OVERFLOW, args.start)
    end = time.monotonic() + milliseconds / 1000
    while (left := end - time.monotonic()) > 0:
        session.check_interrupt()
        time.sleep(min(left, SLEEP_STEP))


_SHOWN = {
    "sym": "Symbol for current instruction",
    "dis": "Disassembly of current instruction",
    "ea": "Effective address for current instruction",
    "reg": "Register state",
    "src": "Source info for current instruction",
}


@dataclass(frozen=True, slots=True)
class PromptParts:
    """What is printed when the target stops, and what is not."""

    allowed: tuple[str, ...]
    not_allowed: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield "Allowed:"
        yield from (f"   {key} - {_SHOWN[key]}" for key in self.allowed)
        yield "Not allowed:"
        yield from (f"   {key} - {_SHOWN[key]}" for key in self.not_allowed)


@command(
    ".prompt_allow",
    summary="Choose what is printed when the target stops.",
    group="session",
    params=(
        Param(
            "{+|-}part",
            "word",
            "one or more; with - it is not shown",
            optional=True,
            words=tuple((f"+{key}", meaning) for key, meaning in _SHOWN.items()),
        ),
    ),
    see_also=("p", "r"),
    examples=(".prompt_allow +reg -dis",),
)
def prompt_allow(session: Session, args: Arguments, name: str) -> PromptParts:
    shown = set(session.settings.show)
    while not args.done:
        column, word = args.position, args.word() or ""
        if word[:1] not in "+-" or word[1:].lower() not in _SHOWN:
            raise args.error(column=column)
        change = shown.add if word[0] == "+" else shown.discard
        change(word[1:].lower())
    session.settings.show = frozenset(shown)
    return PromptParts(
        tuple(key for key in _SHOWN if key in shown),
        tuple(key for key in _SHOWN if key not in shown),
    )


@dataclass(frozen=True, slots=True)
class PromptCommand:
    command: str

    def lines(self) -> list[str]:
        if not self.command:
            return ["No per-prompt command"]
        return [f"Per-prompt command is '{self.command}'"]


@command(
    ".pcmd",
    summary="Set commands that run whenever the target stops; alone: show them.",
    group="session",
    options=(Option("-s", "set", '"<commands>"'), Option("-c", "forget")),
    see_also=(".prompt_allow",),
    examples=('.pcmd -s ".echo stopped; k 3"',),
)
def prompt_command(session: Session, args: Arguments, name: str) -> PromptCommand | None:
    switch = args.take("-s", "/s", "-c", "/c")
    text = None
    if switch in ("-s", "/s"):
        text = args.string(escapes=True) if args.peek().startswith('"') else args.word()
        if not text:
            raise args.error()
    args.at_end()
    if switch is not None:
        session.settings.prompt_command = text or ""
    return PromptCommand(session.settings.prompt_command) if text or switch is None else None
