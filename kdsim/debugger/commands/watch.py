"""`wt`: run a function step by step, and tell what it called and how much it took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.execution import START, start
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.stepping import LONGEST_WALK
from kdsim.debugger.report import Stop
from kdsim.debugger.text import address as tick
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

_USER_MODE = ("m:", "i:", "ni", "oa", "or", "oR")
"""Options the manual has for user mode only."""


@dataclass(slots=True)
class Call:
    """A function that is being run.

    Attributes:
        own: instructions it executed itself.
        below: instructions of what it called, as far as that has returned.
        before: what functions took that jumped here in its place.
    """

    name: str
    own: int = 0
    below: int = 0
    before: int = 0

    @property
    def total(self) -> int:
        return self.own + self.below + self.before


@dataclass(slots=True)
class Totals:
    """One row of the table at the end: instructions of a function, without what it called."""

    counts: list[int] = field(default_factory=list)

    def line(self, name: str) -> str:
        number, total = len(self.counts), sum(self.counts)
        least, most = min(self.counts), max(self.counts)
        return f"{name:46} {number:11} {least:7} {most:7} {total // number:7}"


@dataclass(slots=True)
class Watch:
    """The calls that are open, and what has been counted; knows nothing of the target.

    Attributes:
        shown: calls deeper than this are not told of.
    """

    stack: list[Call]
    shown: int
    totals: dict[str, Totals] = field(default_factory=dict)
    instructions: int = 0

    def step(self, kind: str, name: str, *, sequential: bool) -> Iterator[str]:
        """An instruction was executed, after which `name` is the function that runs.

        Args:
            kind: of the instruction, as `Line.kind`.
            name: the function after it.
            sequential: the next instruction follows it in memory.
        """
        self.instructions += 1
        current = self.stack[-1]
        current.own += 1
        if kind == "ret":
            yield from self._leave()
        elif sequential or (name == current.name and kind != "call"):
            return
        elif kind in ("call", ""):
            # Without a branch it is an interrupt that leads elsewhere.
            yield from self._row()
            self.stack.append(Call(name))
        else:
            yield from self._row()
            self._count(current)
            self.stack[-1] = Call(name, before=current.total)

    @property
    def done(self) -> bool:
        return not self.stack

    def end(self) -> Iterator[str]:
        """The calls that were still open when the end address was reached."""
        while self.stack:
            yield from self._leave()

    def _leave(self) -> Iterator[str]:
        left = self.stack[-1]
        if left.own:
            yield from self._row()
            self._count(left)
        self.stack.pop()
        if self.stack:
            self.stack[-1].below += left.total

    def _count(self, call: Call) -> None:
        self.totals.setdefault(call.name, Totals()).counts.append(call.own)

    def _row(self) -> Iterator[str]:
        depth = len(self.stack) - 1
        if depth <= self.shown:
            call = self.stack[-1]
            yield f"{call.own:5} {call.below:5} [{depth:3}] {'  ' * depth}{call.name}"

    def summary(self) -> Iterator[str]:
        yield ""
        yield f"{self.instructions} instructions were executed"
        yield ""
        yield "Function Name                                  Invocations MinInst MaxInst AvgInst"
        for name in sorted(self.totals):
            yield self.totals[name].line(name)


@command(
    "wt",
    summary="Run a function from its first instruction to its end and tell what it called.",
    group="execution",
    params=(START, Param("end", "expression", "stop there instead", optional=True)),
    options=(
        Option("-l", "tell of calls down to this depth", "<depth>"),
        Option("-nc", "do not tell of each call"),
        Option("-ns", "no table at the end"),
        Option("-nw", "no warnings"),
    ),
    needs=Caps.RUN,
    see_also=("t", "gu", "tct"),
    notes="On a call it runs what is called. Elsewhere, without an end, it does what p does.",
    examples=("g leaky!LeakyReceive; wt",),
)
def watch(session: Session, args: Arguments, name: str) -> None:
    given = args.switches("l:", "nc", "ns", "nw", *_USER_MODE)
    for option in _USER_MODE:
        if option.rstrip(":") in given:
            raise UserError(f"wt -{option.rstrip(':')} works in user mode only")
    if given.get("l") == "":
        raise args.error()
    start(session, args)
    wanted = args.optional_address()
    args.at_end()
    session.scope.reset_registers()
    control = session.control
    goal = _goal(session) if wanted is None else Goal(wanted)
    if goal is None:
        control.drive(control.resumable(control.step))
        return
    name = _function(session, session.instruction_pointer)
    if goal.is_return:
        session.out.line(f"Tracing {name} to return address {tick(goal.address)}")
    depth = session.evaluate(given["l"]) if "l" in given else LONGEST_WALK
    tracker = Watch([Call(name)], -1 if "nc" in given else depth)
    control.drive(lambda: _run(session, tracker, goal, summary="ns" not in given))


@dataclass(frozen=True, slots=True)
class Goal:
    """Where to stop.

    Attributes:
        stack: lowest RSP that counts; below it the address belongs to a call further down.
        is_return: it is where the function returns to.
    """

    address: int
    stack: int = 0
    is_return: bool = False


def _goal(session: Session) -> Goal | None:
    """The return address of a function that begins here, or the end of a call; else None."""
    here, stack = session.instruction_pointer, session.registers["rsp"]
    if _at_start(session, here):
        return Goal(session.memory.u64(stack), stack, is_return=True)
    line = session.disassembler.line(here)
    return Goal(line.next, stack) if line.kind == "call" else None


def _run(session: Session, tracker: Watch, goal: Goal, *, summary: bool) -> Stop:
    """The motion: single steps to the goal; a stop for another reason ends it too."""
    control, out = session.control, session.out
    for _ in range(LONGEST_WALK):
        line = session.disassembler.line(session.instruction_pointer)
        stop = control.trace_plainly()
        if stop.kind != "step" or control.break_wanted:
            return stop
        here = session.instruction_pointer
        rows = tracker.step(line.kind, _function(session, here), sequential=here == line.next)
        for row in rows:
            out.line(row)
        if tracker.done or (here == goal.address and session.registers["rsp"] >= goal.stack):
            for row in (*tracker.end(), *(tracker.summary() if summary else ())):
                out.line(row)
            return stop
        stop = control.met(stop)
        if stop.kind != "step":
            return stop
    raise UserError(f"Gave up after {LONGEST_WALK} steps")


def _at_start(session: Session, va: int) -> bool:
    """Whether a symbol names exactly this place."""
    return "+" not in (session.disassembler.symbol(va) or "+")


def _function(session: Session, va: int) -> str:
    name = session.disassembler.symbol(va)
    return name.partition("+")[0] if name else tick(va)
