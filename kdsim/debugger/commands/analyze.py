"""`!analyze`: what happened, where, and who did it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.commands.stacktext import FRAME_LIMIT, FrameLine, frame_lines
from kdsim.debugger.inspect import analysis, bugchecks, processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.debugger.stack import Frame

RULE = "*" * 79
EDGE = f"*{' ' * 77}*"


def banner(title: str) -> tuple[str, ...]:
    return (RULE, EDGE, f"*{' ' * 24}{title:53}*", EDGE, RULE, "")


@dataclass(frozen=True, slots=True)
class Report:
    """The analysis of one bug check."""

    analysis: analysis.Analysis
    verbose: bool
    process: str
    stack: tuple[FrameLine, ...]
    stack_error: str
    build: str

    def lines(self) -> Iterator[str]:
        data = self.analysis.data
        yield from banner("Bugcheck Analysis")
        if not self.verbose:
            yield from self._summary()
            return
        yield from explain(data)
        yield ""
        yield "Debugging Details:"
        yield "-" * 18
        yield ""
        for label, value in self._details():
            yield f"{label}:  {value}"
            yield ""
        yield from self._stack_lines()
        for label, value in self._verdict():
            yield f"{label}:  {value}"
            yield ""
        yield "Followup:     MachineOwner"
        yield "---------"
        yield ""

    def _summary(self) -> Iterator[str]:
        data = self.analysis.data
        parameters = ", ".join(f"{value:x}" for value in data.parameters)
        yield "Use !analyze -v to get detailed debugging information."
        yield ""
        yield f"BugCheck {data.code:X}, {{{parameters}}}"
        yield ""
        yield from caused_by(self.analysis)
        yield ""
        yield "Followup:     MachineOwner"
        yield "---------"

    def _details(self) -> Iterator[tuple[str, str]]:
        data = self.analysis.data
        yield "BUGCHECK_CODE", f"{data.code:x}"
        for number, value in enumerate(data.parameters, 1):
            yield f"BUGCHECK_P{number}", f"{value:x}"
        if data.meaning.fault_address is not None:
            yield "READ_ADDRESS", f"{data.parameters[data.meaning.fault_address]:016x}"
        if self.analysis.faulting_ip:
            yield "FAULTING_IP", f"{self.analysis.faulting_ip:016x}"
        yield "BUGCHECK_STR", data.bucket
        if self.analysis.driver_name:
            yield "BUGCHECKING_DRIVER", self.analysis.driver_name
        yield "PROCESS_NAME", self.process

    def _stack_lines(self) -> Iterator[str]:
        yield "STACK_TEXT:  "
        yield from (str(row) for row in self.stack)
        if self.stack_error:
            yield f"(the stack cannot be read further: {self.stack_error})"
        yield ""

    def _verdict(self) -> Iterator[tuple[str, str]]:
        culprit = self.analysis.culprit
        if culprit is not None:
            if culprit.frame is not None:
                yield "SYMBOL_STACK_INDEX", f"{culprit.frame:x}"
                yield "SYMBOL_NAME", culprit.symbol
            yield "MODULE_NAME", culprit.module
            yield "IMAGE_NAME", culprit.image
            yield "DEBUG_FLR_IMAGE_TIMESTAMP", f"{culprit.timestamp:x}"
        yield "STACK_COMMAND", ".thread ; .cxr ; kb"
        yield "FAILURE_BUCKET_ID", analysis.failure_bucket(self.analysis)
        yield "BUILDLAB_STR", self.build


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
    params=(Param("options", "flags", "-v details; -show code [p1..p4]; -hang", optional=True),),
    needs=Caps.READ | Caps.REGISTERS,
    see_also=(".bugcheck", "k", "!verifier", "!process"),
)
def analyze(session: Session, args: Arguments, name: str) -> Report | list[str]:
    """Reads nt!KiBugCheckData, nt!KiBugCheckDriver and the current stack."""
    given = args.switches("v", "vv", "f", "show", "hang", "D")
    if "show" in given:
        return _show(args)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    if "hang" in given:
        return _hang(nt)
    data = analysis.bugcheck_data(nt)
    verbose = "v" in given or "vv" in given
    if data is None:
        return _last_event(session)
    return _report(session, nt, data, verbose=verbose)


def _report(session: Session, nt: Nt, data: analysis.BugCheckData, *, verbose: bool) -> Report:
    frames: Sequence[Frame] = ()
    problem = ""
    try:
        frames = session.stack(session.live_registers, FRAME_LIMIT)
    except KdsimError as error:
        problem = str(error)
    result = analysis.analyse(nt, data, frames)
    process = processes.process_at(nt, session.current_process())
    rows = frame_lines(session, frames)
    build = session.facts.build_lab if session.facts else ""
    return Report(result, verbose, process.image, rows, problem, build)


def _show(args: Arguments) -> list[str]:
    if args.done:
        raise ArgumentError("!analyze -show needs a bug check code")
    code, *parameters = _numbers(args)
    if code not in bugchecks.BUGCHECKS:
        raise ArgumentError(f"no description of bug check {code:x}")
    first, second, third, fourth = (*parameters, 0, 0, 0, 0)[:4]
    return list(explain(analysis.BugCheckData(code, (first, second, third, fourth))))


def _numbers(args: Arguments) -> list[int]:
    numbers = []
    while not args.done:
        numbers.append(args.expression())
    return numbers


def _last_event(session: Session) -> list[str]:
    """No bug check: say what stopped the target."""
    when = times.session_time(times.from_unix(session.clock()))
    return [
        *banner("Exception Analysis"),
        "No bug check has happened.",
        f"Last event: {session.last_event}",
        f"  debugger time: {when}",
    ]


def _hang(nt: Nt) -> list[str]:
    """What each processor runs and whether DPCs wait there."""
    lines = ["Scan of the processors:"]
    for number in range(processes.processor_count(nt)):
        prcb = processes.prcb(nt, number)
        idle = " (idle)" if prcb.CurrentThread == prcb.IdleThread else ""
        depth = prcb.DpcData[0].DpcQueueDepth
        lines.append(f"  {number}: thread {prcb.CurrentThread:016x}{idle}, DPC queue depth {depth}")
    return lines


def after_bugcheck(session: Session) -> None:
    """The verdict kd adds by itself when a bug check stops the target."""
    nt = Nt(session.symbols, session.memory)
    data = analysis.bugcheck_data(nt)
    if data is None:
        return
    for line in caused_by(_report(session, nt, data, verbose=False).analysis):
        session.out.line(line)
    session.out.line()
    session.out.line("Followup:     MachineOwner")
    session.out.line("---------")
    session.out.line()
