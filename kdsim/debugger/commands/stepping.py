"""Stepping: the `p` and `t` families, `tb`, `.step_filter`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.execution import START, start
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.control import Motion
from kdsim.debugger.report import Stop
from kdsim.debugger.text import address as tick
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

COUNT = Param("count", "expression", "how often", optional=True)
COMMANDS = Param('"commands"', "commands", "to run after stepping", optional=True)

# What ends pa, pc, pt, ph and their t forms, by the last letters of the name.
_ENDS: dict[str, frozenset[str]] = {
    "c": frozenset({"call"}),
    "t": frozenset({"ret"}),
    "ct": frozenset({"call", "ret"}),
    "h": frozenset({"call", "ret", "branch", "jump"}),
}
_WITH_COMMANDS = ("p", "t", "pa", "pt", "tt")
"""The names that take a command string."""

LONGEST_WALK = 1_000_000
"""Steps of one pa, pc, pt ... at most."""

_REGISTERS = re.compile(r"r(?=\s|$)")


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
    see_also=("g", "gu", "tb", "u", ".step_filter"),
    notes="pct: to a call or return. ph: to any branch. The letter r shows or hides the registers.",
    examples=("p 5", "pa @$ra", 't "r rax"', "pr"),
)
def step(session: Session, args: Arguments, name: str) -> None:
    name = _registers(session, args, name)
    start(session, args)
    over, end = name[0] == "p", name[1:]
    until = args.address() if end == "a" else None
    count = 1
    if until is None and not args.done and not args.peek().startswith('"'):
        count = args.expression()
    commands = args.string(escapes=True) or "" if name in _WITH_COMMANDS else ""
    args.at_end()
    session.scope.reset_registers()
    plan = StepPlan(over, count, until, _ENDS.get(end, frozenset()))
    if count:
        session.control.drive(_walk(session, plan), commands=commands)


def _registers(session: Session, args: Arguments, name: str) -> str:
    """The name without its `r`, glued or standing alone, which shows or hides the registers."""
    args.peek()
    alone = _REGISTERS.match(args.text, args.position)
    if alone is not None:
        args.position = alone.end()
    if alone is not None or name.endswith("r"):
        session.settings.show = session.settings.show ^ {"reg"}
    return name.removesuffix("r")


def _walk(session: Session, plan: StepPlan) -> Motion:
    """A motion that steps as often as the plan says; `p 5` and `pa` show the steps on the way."""
    control = session.control
    one = control.resumable(control.step if plan.over else control.trace)
    remaining = plan.count
    far = plan.until is not None or bool(plan.kinds)
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
            stop = control.met(stop) if far else stop
            if stop.kind != "step":
                return stop
            if shows:
                control.show_location()
        raise UserError(f"Gave up after {LONGEST_WALK} steps")

    return walk


@command(
    "tb",
    summary="Trace to the next branch that is taken; tell where it came from.",
    group="execution",
    params=(START, COUNT),
    needs=Caps.RUN,
    suffix="r",
    see_also=("th", "t"),
    notes="The letter r shows or hides the registers.",
)
def trace_branches(session: Session, args: Arguments, name: str) -> None:
    _registers(session, args, name)
    start(session, args)
    count = args.optional_expression(1) or 0
    args.at_end()
    session.scope.reset_registers()
    if count:
        session.control.drive(_branches(session, count))


def _branches(session: Session, count: int) -> Motion:
    """Single steps until `count` branches were taken; each is shown with where it leads."""
    control = session.control
    remaining = count

    def walk() -> Stop:
        nonlocal remaining
        for _ in range(LONGEST_WALK):
            line = session.disassembler.line(session.instruction_pointer)
            stop = control.met(control.trace_plainly())
            if stop.kind != "step" or control.break_wanted:
                return stop
            if not line.kind or session.instruction_pointer == line.next:
                continue
            name = session.disassembler.symbol(line.address)
            session.out.line(f"{tick(line.address)} {name or ''} ->")
            remaining -= 1
            if not remaining:
                return stop
            control.show_location()
        raise UserError(f"Gave up after {LONGEST_WALK} steps")

    return walk


@dataclass(frozen=True, slots=True)
class StepFilter:
    patterns: tuple[str, ...]

    def lines(self) -> list[str]:
        if not self.patterns:
            return ["No step filter"]
        return ["Functions stepped over by t:", *(f"  {pattern}" for pattern in self.patterns)]


@command(
    ".step_filter",
    summary="Choose functions that t steps over, by patterns of their names.",
    group="execution",
    params=(Param('"patterns"', "pattern", "separated by semicolons", optional=True),),
    options=(Option("/c", "forget them"),),
    see_also=("t", "p"),
    examples=('.step_filter "nt!Rtl*;hal!*"',),
)
def filter_steps(session: Session, args: Arguments, name: str) -> StepFilter:
    cleared = "c" in args.switches("c")
    text = args.string() if args.peek().startswith('"') else args.rest()
    args.at_end()
    if cleared and text:
        raise args.error()
    if cleared or text:
        patterns = (text or "").split(";")
        session.settings.step_filter = tuple(p.strip() for p in patterns if p.strip())
    return StepFilter(session.settings.step_filter)
