"""About the target and the session: `vertarget version .time .lastevent .bugcheck .effmach ...`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kdsim import __version__
from kdsim.debugger import kernel
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.language.problems import OVERFLOW
from kdsim.debugger.report import bugcheck_data
from kdsim.debugger.settings import SYMOPT_LOAD_LINES
from kdsim.debugger.text import address as tick
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SLEEP_STEP = 0.05
"""Kd's default; here it only says how much a listing may keep."""


def target_lines(session: Session) -> list[str]:
    if session.facts is None:
        raise UserError("The target has not answered yet")
    return [*session.facts.lines(), *kernel.clock_lines(session)]


@command(
    "vertarget",
    summary="Tell what the target is, and its time.",
    group="session",
    see_also=("version", ".time"),
)
def target_version(session: Session, args: Arguments, name: str) -> list[str]:
    args.at_end()
    return target_lines(session)


@command(
    "version",
    summary="Tell what the target and the debugger are.",
    group="session",
    see_also=("vertarget",),
)
def versions(session: Session, args: Arguments, name: str) -> list[str]:
    args.at_end()
    return [
        *target_lines(session),
        "",
        f"kdsim {__version__}",
        f"Connected through {session.backend.description}",
    ]


@command(".time", summary="Show the target's time and uptime.", group="session")
def session_time(session: Session, args: Arguments, name: str) -> list[str]:
    args.switches("h:")
    args.at_end()
    return kernel.clock_lines(session)


@command(
    ".lastevent",
    summary="Tell why the target stopped last.",
    group="session",
    see_also=(".exr", "sx"),
)
def last_event(session: Session, args: Arguments, name: str) -> list[str]:
    args.at_end()
    if not session.last_event:
        return ["Last event: <no event>"]
    return [f"Last event: {session.last_event}", f"  debugger time: {session.last_event_time}"]


@command(
    ".bugcheck",
    summary="Show the bug check code and its arguments.",
    group="crash analysis",
    see_also=("!analyze",),
)
def bug_check(session: Session, args: Arguments, name: str) -> list[str]:
    args.at_end()
    code, parameters = bugcheck_data(session) or (0, (0, 0, 0, 0))
    return [f"Bugcheck code {code:08X}", f"Arguments {' '.join(map(tick, parameters))}"]


@command(
    ".effmach",
    summary="Show the processor mode of registers, stacks and disassembly: x64.",
    group="session",
    params=(Param("machine", "text", ". # or amd64", optional=True),),
)
def effective_machine(session: Session, args: Arguments, name: str) -> str:
    wanted = (args.word() or ".").lower()
    args.at_end()
    if wanted not in (".", "#", "amd64", "x64"):
        raise UserError(f"Effective machine {wanted} is not supported by an x64 kernel target")
    return "Effective machine: x64 (AMD64)"


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


@command(
    ".lines",
    summary="Switch the loading of source line numbers on or off.",
    group="session",
    params=(Param("-e -d -t", "flags", "enable, disable, toggle", optional=True),),
    see_also=(".symopt", "k"),
)
def lines(session: Session, args: Arguments, name: str) -> str:
    given = args.switches("e", "d", "t")
    args.at_end()
    settings = session.settings
    if "e" in given:
        settings.symbol_options |= SYMOPT_LOAD_LINES
    elif "d" in given:
        settings.symbol_options &= ~SYMOPT_LOAD_LINES
    else:
        settings.symbol_options ^= SYMOPT_LOAD_LINES
    will = "will" if settings.load_lines else "will not"
    return f"Line number information {will} be loaded"


_SHOWN = {
    "sym": "Symbol for current instruction",
    "dis": "Disassembly of current instruction",
    "ea": "Effective address for current instruction",
    "reg": "Register state",
    "src": "Source info for current instruction",
}


@command(
    ".prompt_allow",
    summary="Choose what is printed when the target stops: +reg -dis ...",
    group="session",
    params=(Param("{+|-}{dis ea reg src sym}", "flags", optional=True),),
    see_also=("p", "r"),
)
def prompt_allow(session: Session, args: Arguments, name: str) -> list[str]:
    shown = set(session.settings.show)
    while not args.done:
        column, word = args.position, args.word() or ""
        if word[:1] not in "+-" or word[1:].lower() not in _SHOWN:
            raise args.error(column=column)
        change = shown.add if word[0] == "+" else shown.discard
        change(word[1:].lower())
    session.settings.show = frozenset(shown)
    text = ["Allowed:"]
    text += [f"   {key} - {meaning}" for key, meaning in _SHOWN.items() if key in shown]
    text.append("Not allowed:")
    return text + [f"   {key} - {meaning}" for key, meaning in _SHOWN.items() if key not in shown]


@command(
    "sq",
    "sqe",
    "sqd",
    summary="Quiet mode: no long message when you break in.",
    group="session",
)
def quiet(session: Session, args: Arguments, name: str) -> str:
    args.at_end()
    settings = session.settings
    settings.quiet = {"sqe": True, "sqd": False}.get(name, not settings.quiet)
    return f"Quiet mode is {'ON' if settings.quiet else 'OFF'}"


@command(
    ".echocpunum",
    summary="Show or hide the processor number in the prompt.",
    group="session",
    params=(Param("0|1", "text", optional=True),),
)
def echo_processor(session: Session, args: Arguments, name: str) -> str:
    word = args.word()
    args.at_end()
    if word is not None and word not in ("0", "1"):
        raise args.error()
    old = session.settings.echo_processor
    session.settings.echo_processor = word == "1" if word is not None else not old
    return f"CPU number echo is {'on' if session.settings.echo_processor else 'off'}"
