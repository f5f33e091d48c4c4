"""What else hangs on processes and threads: `!job !apc`, and commands that newer ones replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.commands.threadreport import Number
from kdsim.debugger.inspect import objects, processes
from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.commands import Message
from kdsim.errors import ArgumentError, KdsimError, Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

SETTINGS, MEMBERS = 1, 2
JOB_COUNTERS = (
    "TotalPageFaultCount", "TotalProcesses", "ActiveProcesses", "TotalTerminatedProcesses",
    "LimitFlags", "MinimumWorkingSetSize", "MaximumWorkingSetSize", "ActiveProcessLimit",
    "PriorityClass", "UIRestrictionsClass",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job object."""

    address: int
    counters: dict[str, Number]
    members: tuple[processes.Process, ...]

    def lines(self) -> Iterator[str]:
        yield f"Job at {self.address:016x}"
        for label, value in self.counters.items():
            yield f"  {label:24} {value:x}"
        if self.members:
            yield "  Processes assigned to this job:"
        for member in self.members:
            yield f"    PROCESS {member.address:016x}  Cid: {member.pid:04x}  Image: {member.image}"


@command(
    "!job",
    summary="The job object a process belongs to.",
    group="processes",
    params=(
        Param("process", "process", "EPROCESS, ETHREAD or EJOB; 0: the current one", optional=True),
        Param(
            "flags",
            "flags",
            "what to show, 1 when left out",
            optional=True,
            bits=((SETTINGS, "settings"), (MEMBERS, "its processes")),
        ),
    ),
    needs=Caps.READ,
    see_also=("!process",),
)
def show_job(session: Session, args: Arguments, name: str) -> JobReport | Message:
    """Reads EPROCESS.Job."""
    address = args.optional_expression(0) or session.current_process()
    flags = args.optional_expression(SETTINGS)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    job = _job_of(nt, address)
    if not job:
        return Message(f"Process {address:016x} is not in a job")
    view = nt.view("_EJOB", job)
    assert flags is not None
    counters = {}
    if flags & SETTINGS:
        counters = {field: _counter(view, field) for field in JOB_COUNTERS}
    members: tuple[processes.Process, ...] = ()
    if flags & MEMBERS:
        members = tuple(p for p in processes.processes(nt) if _job_of(nt, p.address) == job)
    return JobReport(job, counters, members)


def _counter(view: View, field: str) -> Number:
    return attempt(lambda: int(view[field]))


def _job_of(nt: Nt, address: int) -> int:
    """EJOB of a process or a thread; a job is its own."""
    try:
        kind = objects.object_at(nt, address).type_name
    except KdsimError as error:
        raise ArgumentError(f"{address:016x} is no process: {error}") from error
    if kind == "Job":
        return address
    if kind == "Thread":
        address = int(nt.view("_KTHREAD", address).Process)
    elif kind != "Process":
        raise ArgumentError(f"{address:016x} is a {kind} object, not a Process")
    return int(nt.view("_EPROCESS", address).Job)


@dataclass(frozen=True, slots=True)
class Apc:
    """A queued asynchronous procedure call."""

    address: int
    mode: str
    kernel_routine: str
    rundown_routine: str
    normal_routine: str
    context: int
    arguments: tuple[int, int]

    def lines(self) -> Iterator[str]:
        yield f"  {self.mode} ApcObject {self.address:016x}"
        for label, routine in (
            ("KernelRoutine", self.kernel_routine),
            ("RundownRoutine", self.rundown_routine),
            ("NormalRoutine", self.normal_routine),
        ):
            yield f"    {label:14} {routine}"
        yield f"    {'NormalContext':14} {self.context:016x}"
        yield f"    {'Arguments':14} {self.arguments[0]:016x} {self.arguments[1]:016x}"


@dataclass(frozen=True, slots=True)
class ThreadApcs:
    """The APCs of one thread."""

    thread: int
    apcs: tuple[Apc, ...] | Unreadable

    def lines(self) -> Iterator[str]:
        yield f"Thread {self.thread:016x}"
        if isinstance(self.apcs, Unreadable):
            yield f"  {self.apcs}"
            return
        for apc in self.apcs:
            yield from apc.lines()


@dataclass(frozen=True, slots=True)
class ProcessApcs:
    """A process and those of its threads that have APCs queued."""

    process: int
    image: str
    threads: tuple[ThreadApcs, ...]

    def lines(self) -> Iterator[str]:
        yield f"Process {self.process:016x} {self.image}"
        for thread in self.threads:
            yield from (f"  {line}" for line in thread.lines())


@dataclass(frozen=True, slots=True)
class Apcs:
    """What `!apc` found."""

    title: str
    processes: tuple[ProcessApcs, ...]

    def lines(self) -> Iterator[str]:
        yield self.title
        for process in self.processes:
            yield from process.lines()


@command(
    "!apc",
    summary="The asynchronous procedure calls that are queued.",
    group="processes",
    params=(
        Param(
            "scope",
            "word",
            "whose; or the address of a KAPC; alone: all",
            optional=True,
            words=(("proc", "those of a process"), ("thre", "those of a thread")),
        ),
        Param("address", "expression", "of the process or thread", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!process", "!thread"),
)
def show_apcs(session: Session, args: Arguments, name: str) -> Apcs | ThreadApcs | Apc:
    """Walks KTHREAD.ApcState.ApcListHead."""
    nt = Nt(session.symbols, session.memory)
    scope = args.take("process", "proc", "thread", "thre")
    address = args.optional_expression()
    args.at_end()
    if scope and not address:
        raise ArgumentError(f"!apc {scope} needs an address")
    if scope and scope.startswith("thre"):
        assert address is not None
        return _of_thread(session, nt, nt.view("_ETHREAD", address))
    if scope:
        assert address is not None
        title = f"*** Enumerating APCs in process {address:016x}"
        return Apcs(title, (_of_process(session, nt, processes.process_at(nt, address)),))
    if address:
        return _apc(session, nt.view("_KAPC", address))
    found = tuple(_of_process(session, nt, process) for process in processes.processes(nt))
    return Apcs("*** Enumerating APCs in all processes", found)


def _of_process(session: Session, nt: Nt, process: processes.Process) -> ProcessApcs:
    session.check_interrupt()
    threads = (_of_thread(session, nt, t) for t in processes.threads(nt, process.address))
    return ProcessApcs(process.address, process.image, tuple(t for t in threads if t.apcs))


def _of_thread(session: Session, nt: Nt, thread: View) -> ThreadApcs:
    def queued() -> Iterator[Apc]:
        heads = thread.Tcb.ApcState.ApcListHead
        for mode in range(len(heads)):
            for view in nt.list_entries(heads.at(mode), "_KAPC", "ApcListEntry"):
                yield _apc(session, view)

    return ThreadApcs(thread.address, attempt(lambda: tuple(queued())))


def _apc(session: Session, view: View) -> Apc:
    def routine(address: int) -> str:
        return session.symbols.format(address) if address else f"{0:016x}"

    return Apc(
        address=view.address,
        mode="UserMode" if view.ApcMode else "KernelMode",
        kernel_routine=routine(view.KernelRoutine),
        rundown_routine=routine(view.RundownRoutine),
        normal_routine=routine(view.NormalRoutine),
        context=view.NormalContext,
        arguments=(view.SystemArgument1, view.SystemArgument2),
    )


REPLACED = {
    "!processfields": "dt nt!_EPROCESS",
    "!threadfields": "dt nt!_ETHREAD",
    "!tokenfields": "dt nt!_TOKEN",
    "!zombies": "!process 0 0",
}


@command(
    *REPLACED,
    summary="Gone since Windows XP: dt and !process show the same.",
    group="processes",
    params=(Param("arguments", "text", optional=True),),
    needs=Caps.NONE,
    see_also=("dt", "!process"),
)
def replaced_command(session: Session, args: Arguments, name: str) -> None:
    """Says what to type instead."""
    args.rest()
    raise Unsupported(f"{name} is not available since Windows XP; use {REPLACED[name]}")
