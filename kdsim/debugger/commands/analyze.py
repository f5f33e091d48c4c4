"""`!analyze`: what happened, where, and who did it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands import analyze_fields, hang
from kdsim.debugger.commands.registry import Option, command
from kdsim.debugger.commands.stacktext import FRAME_LIMIT, FrameLine, frame_lines
from kdsim.debugger.inspect import analysis, bugchecks
from kdsim.debugger.inspect.analysis import BugCheckData
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.commands import Message
from kdsim.debugger.report import bugcheck_data
from kdsim.errors import ArgumentError, KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.debugger.stack import Frame

RULE = "*" * 79
EDGE = f"*{' ' * 77}*"


def banner(title: str) -> tuple[str, ...]:
    return (RULE, EDGE, f"*{' ' * 24}{title:53}*", EDGE, RULE, "")


Field = tuple[str, str]
"""A name and what stands behind it, lines after the first included."""


@dataclass(frozen=True, slots=True)
class Report:
    """The analysis of one bug check, or of an exception without one.

    Attributes:
        details: the fields before the stack.
        verdict: the fields after it.
    """

    title: str
    result: analysis.Analysis
    verbose: bool
    details: tuple[Field, ...]
    stack: tuple[FrameLine, ...]
    stack_error: str
    verdict: tuple[Field, ...]

    def lines(self) -> Iterator[str]:
        data = self.result.data
        yield from banner(self.title)
        if not self.verbose and data is not None:
            yield from self._summary(data)
            return
        if data is not None:
            yield from explain(data)
            yield ""
        yield "Debugging Details:"
        yield "-" * 18
        yield ""
        yield from _field_lines(self.details)
        yield "STACK_TEXT:  "
        yield from (str(row) for row in self.stack)
        if self.stack_error:
            yield f"(the stack cannot be read further: {self.stack_error})"
        yield ""
        yield from _field_lines(self.verdict)
        yield "Followup:     MachineOwner"
        yield "---------"
        yield ""

    def _summary(self, data: analysis.BugCheckData) -> Iterator[str]:
        parameters = ", ".join(f"{value:x}" for value in data.parameters)
        yield "Use !analyze -v to get detailed debugging information."
        yield ""
        yield f"BugCheck {data.code:X}, {{{parameters}}}"
        yield ""
        yield from caused_by(self.result)
        yield ""
        yield "Followup:     MachineOwner"
        yield "---------"


def _field_lines(fields: Sequence[Field]) -> Iterator[str]:
    for label, value in fields:
        yield f"{label}:  {value}"
        yield ""


def explain(data: analysis.BugCheckData) -> Iterator[str]:
    """Name, text and arguments: what `-show` prints."""
    meaning = data.meaning
    yield f"{meaning.name} ({data.code:x})"
    yield from meaning.text.splitlines()
    yield "Arguments:"
    texts = meaning.argument_texts(data.parameters[0])
    for number, (value, text) in enumerate(zip(data.parameters, texts, strict=True), 1):
        first, *more = (f"Arg{number}: {value:016x}, {text}").splitlines()
        yield first.rstrip(", ")
        yield from more


def caused_by(result: analysis.Analysis) -> Iterator[str]:
    """`Probably caused by : leaky.sys ( leaky!Worker+12 )`."""
    culprit = result.culprit
    if culprit is None:
        yield "Probably caused by : Unknown_Image"
        return
    place = f" ( {culprit.symbol} )" if culprit.symbol else ""
    yield f"Probably caused by : {culprit.image}{place}"


@command(
    "!analyze",
    summary="Analyse the bug check, or the last event.",
    group="crash analysis",
    options=(
        Option("-v", "details; -v0 to -v99: how many, -vv: all"),
        Option("-show", "describe a bug check", "<code> [<parameters>]"),
        Option("-f", "as an exception, even where no bug check is known"),
        Option("-hang", "look for threads that block one another"),
        Option("-c", "continue when the issue is a known one: no list of them is loaded"),
    ),
    needs=Caps.READ | Caps.REGISTERS,
    see_also=(".bugcheck", "k", "!verifier", "!process"),
    examples=("!analyze -v", "!analyze -show d1"),
)
def analyze(
    session: Session, args: Arguments, name: str
) -> Report | Explanation | LastStop | hang.HangReport | Message:
    """Reads nt!KiBugCheckData, nt!KiBugCheckDriver and the current stack."""
    level, given = _options(args)
    if "show" in given:
        return _show(args)
    if "c" in given:
        return _known_issues(args)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    if "hang" in given:
        return hang.report(session, nt)
    data = _bugcheck(session)
    if data is None and "f" not in given:
        when = times.session_time(times.from_unix(session.clock()))
        return LastStop(session.last_event, when)
    return _report(session, nt, data, level)


_VERBOSE = re.compile(r"-v(?:(v)|(\d{1,2}))?$")
ALL_LEVELS = 99
REFUSED = {
    "-xml": "!analyze writes no XML; `kdsim kd --json` prints every result as JSON",
    "-xmi": "!analyze writes no XML; `kdsim kd --json` prints every result as JSON",
    "-xcs": "!analyze writes no XML; `kdsim kd --json` prints every result as JSON",
    "-xmf": "!analyze writes no XML; `kdsim kd --json` prints every result as JSON",
}


def _options(args: Arguments) -> tuple[int, set[str]]:
    """The level of detail (0 is the summary) and the other switches."""
    level = 0
    given: set[str] = set()
    while args.peek().startswith("-"):
        column = args.position
        word = args.word() or ""
        verbose = _VERBOSE.match(word)
        if verbose is not None:
            level = ALL_LEVELS if verbose[1] else int(verbose[2] or 1)
        elif word in ("-show", "-f", "-hang", "-c"):
            given.add(word[1:])
            if word in ("-show", "-c"):
                break
        elif word in REFUSED:
            raise ArgumentError(REFUSED[word])
        else:
            raise args.error(column=column)
    return level, given


KNOWN_ISSUES_HELP = """\
!analyze -c             continue when the issue is a known one
!analyze -c -load FILE  load a list of known issues
!analyze -c -unload     forget it"""


def _known_issues(args: Arguments) -> Message:
    """`-c` continues when a known issue is met; without a list it has no effect."""
    word = args.word()
    if word == "-load":
        raise ArgumentError("!analyze -c -load: files of known issues are not supported")
    if word not in (None, "-unload", "-help"):
        raise args.error()
    args.at_end()
    if word == "-help":
        return Message(KNOWN_ISSUES_HELP)
    return Message("No list of known issues is loaded; !analyze -c has no effect.")


def _report(session: Session, nt: Nt, data: analysis.BugCheckData | None, level: int) -> Report:
    frames: Sequence[Frame] = ()
    problem = ""
    try:
        frames = session.stack(session.live_registers, FRAME_LIMIT)
    except KdsimError as error:
        problem = str(error)

    def unloaded(address: int) -> str:
        gone = session.modules.unloaded_at(address)
        return gone[0] if gone else ""

    result = analysis.analyse(nt, data, frames, unloaded)
    rows = frame_lines(session, frames)
    gather = analyze_fields.Gatherer(session, nt, result, frames, level)
    return Report(
        title="Bugcheck Analysis" if data is not None else "Exception Analysis",
        result=result,
        verbose=level > 0,
        details=tuple(gather.details()),
        stack=rows,
        stack_error=problem,
        verdict=tuple(gather.verdict()),
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a bug check means."""

    data: analysis.BugCheckData

    def lines(self) -> Iterator[str]:
        return explain(self.data)


def _show(args: Arguments) -> Explanation:
    if args.done:
        raise ArgumentError("!analyze -show needs a bug check code")
    code, *parameters = _numbers(args)
    if code not in bugchecks.names():
        raise ArgumentError(f"no description of bug check {code:x}")
    if len(parameters) > PARAMETERS:
        raise ArgumentError("a bug check has four parameters")
    first, second, third, fourth = (*parameters, 0, 0, 0, 0)[:PARAMETERS]
    return Explanation(analysis.BugCheckData(code, (first, second, third, fourth)))


PARAMETERS = 4


def _numbers(args: Arguments) -> list[int]:
    numbers = []
    while not args.done:
        numbers.append(args.expression())
    return numbers


@dataclass(frozen=True, slots=True)
class LastStop:
    """No bug check: what stopped the target."""

    event: str
    time: str

    def lines(self) -> Iterator[str]:
        yield from banner("Exception Analysis")
        yield "No bug check has happened."
        yield f"Last event: {self.event}"
        yield f"  debugger time: {self.time}"


def _bugcheck(session: Session) -> BugCheckData | None:
    found = bugcheck_data(session)
    return None if found is None else BugCheckData(*found)


def after_bugcheck(session: Session) -> None:
    """The verdict kd adds by itself when a bug check stops the target."""
    nt = Nt(session.symbols, session.memory)
    data = _bugcheck(session)
    if data is None:
        return
    for line in caused_by(_report(session, nt, data, 0).result):
        session.out.line(line)
    session.out.line()
    session.out.line("Followup:     MachineOwner")
    session.out.line("---------")
    session.out.line()
