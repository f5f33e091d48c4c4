"""Processes: `!process !dml_proc !for_each_process !session !sprocess`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.processreport import (
    ProcessReader,
    ProcessReport,
    process_context,
)
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import environment, processes
from kdsim.debugger.inspect.fields import Unreadable
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.text import address as tick
from kdsim.debugger.text import signed
from kdsim.debugger.threads import directory_base
from kdsim.errors import ArgumentError, KdsimError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

ALL_PROCESSES_DEFAULT, ONE_PROCESS_DEFAULT = 0x3, 0xF
# A pid is small; a process object lies in kernel space.
LARGEST_PID = 0xFFFF_FFFF
CURRENT = (1 << 64) - 1
IMAGE_NAME = 15
CURRENT_SESSION, CONTEXT_SESSION, ALL_SESSIONS = -1, -2, -4


@dataclass(frozen=True, slots=True)
class _Filter:
    """Which of all processes are wanted."""

    image: str = ""
    session: int | None = None
    module: str = ""

    def __bool__(self) -> bool:
        return bool(self.image or self.module) or self.session is not None

    def fits(self, session: Session, nt: Nt, process: processes.Process) -> bool:
        if self.image and process.image.lower() != self.image[:IMAGE_NAME].lower():
            return False
        if self.session is not None and (
            not process.session_space or process.session != self.session
        ):
            return False
        return not self.module or _has_module(session, nt, process, self.module)


def _has_module(session: Session, nt: Nt, process: processes.Process, module: str) -> bool:
    """Whether the loader's list in the process names the module."""
    if not process.peb:
        return False
    wanted = module.lower().removesuffix(".dll").removesuffix(".exe")
    try:
        with process_context(session, process.address):
            names = [m.name.lower() for m in environment.modules(nt, process.peb)]
    except KdsimError:
        return False
    return any(name.rpartition(".")[0] == wanted or name == wanted for name in names)


FLAGS: tuple[tuple[int, str], ...] = (
    (1, "times and priorities"),
    (2, "threads and what they wait for"),
    (4, "with 2: times, priorities and stacks; alone: one line a thread"),
    (8, "no arguments in stacks"),
    (0x10, "in the process' context"),
)


@command(
    "!process",
    summary="A process, or all of them.",
    group="processes",
    params=(
        Param("process", "process", "EPROCESS address or pid; 0 all, -1 current", optional=True),
        Param("flags", "flags", "what to show", optional=True, bits=FLAGS),
        Param("image", "text", "with 0: only processes of this image name", optional=True),
    ),
    options=(
        Option("/s", "only processes of this session", "<session>"),
        Option("/m", "only processes that loaded this module", "<module>"),
    ),
    needs=Caps.READ,
    see_also=("!thread", ".process", "!running", "!sprocess"),
    notes="Without flags: 3 for all and for the current process, f for one that is named.",
)
def show_process(session: Session, args: Arguments, name: str) -> ProcessReport | ProcessList:
    """Walks nt!PsActiveProcessHead."""
    switches = args.switches("s:", "m:")
    first = args.peek().partition(" ")[0]
    if first.lower().endswith(".exe"):
        raise ArgumentError(f"an image name stands third: !process 0 0 {first}")
    which = args.optional_expression()
    flags = args.optional_expression()
    image = args.word() or ""
    args.at_end()
    if image and which != 0:
        raise ArgumentError("an image name goes with process 0: !process 0 0 name.exe")
    wanted = _Filter(image, _session_number(session, switches), switches.get("m", ""))
    reader = ProcessReader(session)
    if wanted and which is None:
        which = 0
    default = ONE_PROCESS_DEFAULT
    if which in (None, 0, CURRENT):
        default = ALL_PROCESSES_DEFAULT
    chosen = default if flags is None else flags
    if which == 0:
        return _all(reader, chosen, wanted)
    report = reader.report(process_argument(session, reader.nt, which), chosen)
    if which is None or which > LARGEST_PID:
        return report
    return ProcessList(f"Searching for Process with Cid == {which:x}", (report,))


@dataclass(frozen=True, slots=True)
class ProcessList:
    """Several processes, or the one that was searched for; only a list of all has a title."""

    title: str
    processes: tuple[ProcessReport, ...]
    problem: str = ""

    def lines(self) -> Iterator[str]:
        if self.title:
            yield self.title
        for process in self.processes:
            yield from process.lines()
        if self.problem:
            yield f"The list of processes is damaged: {self.problem}"


def _session_number(session: Session, switches: dict[str, str]) -> int | None:
    if "s" not in switches:
        return None
    if not switches["s"]:
        raise ArgumentError("/s needs a session number")
    return session.evaluate(switches["s"])


def _all(reader: ProcessReader, flags: int, wanted: _Filter) -> ProcessList:
    """As many as the list leads to."""
    found: list[ProcessReport] = []
    problem = ""
    try:
        found.extend(
            reader.report(process.address, flags)
            for process in processes.processes(reader.nt)
            if wanted.fits(reader.session, reader.nt, process)
        )
    except (ArgumentError, MemoryFault) as error:
        problem = str(error)
    if not found and not problem:
        raise ArgumentError(f"no process {_described(wanted)}")
    title = "" if wanted else "**** NT ACTIVE PROCESS DUMP ****"
    return ProcessList(title, tuple(found), problem)


def _described(wanted: _Filter) -> str:
    parts = []
    if wanted.image:
        parts.append(f"with image {wanted.image}")
    if wanted.session is not None:
        parts.append(f"in session {wanted.session:x}")
    if wanted.module:
        parts.append(f"with module {wanted.module}")
    return " and ".join(parts)


def process_with_id(nt: Nt, pid: int) -> processes.Process:
    for process in processes.processes(nt):
        if process.pid == pid:
            return process
    raise ArgumentError(f"no process with Cid {pid:x}")


def process_argument(session: Session, nt: Nt, which: int | None) -> int:
    """EPROCESS of an argument: nothing or -1 the current one, a pid, or the address itself."""
    if which is None or which == CURRENT:
        return session.current_process()
    return which if which > LARGEST_PID else process_with_id(nt, which).address


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """All processes, a line each."""

    rows: tuple[processes.Process, ...]

    def lines(self) -> Iterator[str]:
        yield f"{'Address':17}  {'PID':4}  Image file name"
        for row in self.rows:
            yield f"{tick(row.address)}  {row.pid:<4x}  {row.image}"


@command(
    "!dml_proc",
    summary="All processes, a line each.",
    group="processes",
    needs=Caps.READ,
    see_also=("!process",),
)
def process_table(session: Session, args: Arguments, name: str) -> ProcessTable:
    """Walks nt!PsActiveProcessHead."""
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    return ProcessTable(tuple(processes.processes(nt)))


PROCESS_ALIAS = "@#Process"


@command(
    "!for_each_process",
    summary="Run commands for each process; @#Process is its EPROCESS.",
    group="processes",
    params=(Param("commands", "commands", "nothing: !process @#Process 0", optional=True),),
    needs=Caps.READ,
    see_also=("!for_each_thread", "!process"),
)
def for_each_process(session: Session, args: Arguments, name: str) -> None:
    """Walks nt!PsActiveProcessHead."""
    nt = Nt(session.symbols, session.memory)
    found = [process.address for process in processes.processes(nt)]
    for_each(session, args, PROCESS_ALIAS, f"!process {PROCESS_ALIAS} 0", found)


def for_each(
    session: Session, args: Arguments, alias: str, default: str, addresses: Iterable[int]
) -> None:
    """Run `"commands"`, or the rest of the line, with `@#Name` and `${@#Name}` replaced."""
    text = args.commands()
    for address in addresses:
        session.check_interrupt()
        number = f"0x{address:016x}"
        commands = (text or default).replace(f"${{{alias}}}", number).replace(alias, number)
        session.runner(commands)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of the machine."""

    valid: tuple[int, ...]
    current: int | None

    def lines(self) -> Iterator[str]:
        yield f"Sessions on machine: {len(self.valid)}"
        yield f"Valid Sessions: {' '.join(map(str, self.valid))}"
        if self.current is None:
            yield "Current Session: none (the current process belongs to no session)"
        else:
            yield f"Current Session {self.current}"


@dataclass(frozen=True, slots=True)
class ChosenSession:
    """The session, and the process of it, whose memory is read from now on."""

    sessions: int
    session: int
    process: int

    def lines(self) -> Iterator[str]:
        yield f"Sessions on machine: {self.sessions}"
        yield f"Implicit process is now {tick(self.process)}"
        yield f"Using session {self.session}"
        yield ".cache forcedecodeptes done"


@command(
    "!session",
    summary="The sessions; or move the process context into one.",
    group="processes",
    options=(Option("-s", "move the process context there; -1: the current one", "<session>"),),
    needs=Caps.READ,
    see_also=("!sprocess", ".process", ".cache"),
)
def show_sessions(session: Session, args: Arguments, name: str) -> Sessions | ChosenSession:
    """From EPROCESS.Session of all processes."""
    switches = args.switches("s")
    nt = Nt(session.symbols, session.memory)
    if "s" not in switches:
        args.at_end()
        found = processes.sessions(nt)
        return Sessions(tuple(s.id for s in found), _current_session(session, nt))
    wanted = signed(args.expression())
    args.at_end()
    space = _session_space(session, nt, wanted)
    member = space.processes[0]
    session.memory.select_process(directory_base(session, member.address))
    session.memory.decode_all = True
    session.memory.flush()
    session.scope.process = member.address
    return ChosenSession(len(processes.sessions(nt)), space.id, member.address)


def _current_session(session: Session, nt: Nt) -> int | None:
    """Session of the process in context."""
    current = processes.process_at(nt, session.current_process())
    if not current.session_space or isinstance(current.session, Unreadable):
        return None
    return current.session


def _session_space(session: Session, nt: Nt, wanted: int) -> processes.SessionSpace:
    if wanted in (CURRENT_SESSION, CONTEXT_SESSION):
        current = _current_session(session, nt)
        if current is None:
            raise ArgumentError("the current process belongs to no session")
        wanted = current
    for space in processes.sessions(nt):
        if space.id == wanted:
            return space
    raise ArgumentError(f"no session {wanted}")


@command(
    "!sprocess",
    summary="The processes of a session.",
    group="processes",
    params=(
        Param("session", "text", "decimal; -1 current, -2 context, -4 all", optional=True),
        Param("flags", "flags", "0 when left out", optional=True, bits=FLAGS),
        Param("image", "text", "only processes of this image name", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!process", "!session"),
)
def session_processes(session: Session, args: Arguments, name: str) -> SessionList:
    """From EPROCESS.Session of all processes."""
    word = args.word() or "-1"
    flags = args.optional_expression(0) or 0
    wanted = _Filter(args.word() or "")
    args.at_end()
    try:
        number = int(word, 10)
    except ValueError:
        raise ArgumentError(f"a session is a decimal number, not '{word}'") from None
    reader = ProcessReader(session)
    if number == ALL_SESSIONS:
        spaces = processes.sessions(reader.nt)
    else:
        spaces = [_session_space(session, reader.nt, number)]
    return SessionList(tuple(_members(reader, space, flags, wanted) for space in spaces))


def _members(
    reader: ProcessReader, space: processes.SessionSpace, flags: int, wanted: _Filter
) -> SessionMembers:
    return SessionMembers(
        id=space.id,
        address=space.address,
        session=reader.nt.view("_MM_SESSION_SPACE", space.address).at("Session"),
        processes=tuple(
            reader.report(process.address, flags)
            for process in space.processes
            if wanted.fits(reader.session, reader.nt, process)
        ),
    )


@dataclass(frozen=True, slots=True)
class SessionMembers:
    """A session and its processes."""

    id: int
    address: int
    session: int
    processes: tuple[ProcessReport, ...]

    def lines(self) -> Iterator[str]:
        yield f"Dumping Session {self.id}"
        yield ""
        yield f"_MM_SESSION_SPACE {self.address:016x}"
        yield f"_MMSESSION        {self.session:016x}"
        for process in self.processes:
            yield from process.lines()


@dataclass(frozen=True, slots=True)
class SessionList:
    """What `!sprocess` found."""

    sessions: tuple[SessionMembers, ...]

    def lines(self) -> Iterator[str]:
        for members in self.sessions:
            yield from members.lines()
