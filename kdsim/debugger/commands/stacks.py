"""The stacks of many threads: `!stacks !findstack !uniqstack`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.stacktext import FrameLine, frame_lines
from kdsim.debugger.commands.threadreport import FRAMES, SHORT_HEADER, ThreadReader
from kdsim.debugger.inspect import processes
from kdsim.debugger.text import address as tick
from kdsim.debugger.threads import thread_registers
from kdsim.errors import ArgumentError, KdsimError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

SUMMARY, PAGED_OUT, WHOLE = 0, 1, 2
PAGED = "Stack paged out"
WAITING_STATE = "Waiting"
# How a wait looks from above: these frames lead to the scheduler, the next one says what waits.
SCHEDULER = (
    "KiSwap", "SwapContext", "KiCommitThread", "KeWaitFor", "KeDelayExecution", "KeRemoveQueue",
    "KeRemovePriQueue", "KiDispatchInterrupt", "KiQuantumEnd", "KiExitDispatcher",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ThreadStack:
    """A thread and its stack, innermost frame first."""

    address: int
    pid: int
    tid: int
    state: str
    ticks: int
    frames: tuple[FrameLine, ...]
    problem: str
    processor: int | None

    @property
    def blocker(self) -> str:
        """The first frame that is not the scheduler's."""
        if self.problem:
            return self.problem
        for frame in self.frames:
            function = frame.symbol.rpartition("!")[2]
            if not function.startswith(SCHEDULER):
                return frame.symbol
        return self.frames[0].symbol if self.frames else ""


class _Stacks:
    """Reads the stacks of one stop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reader = ThreadReader(session)
        self.nt = self.reader.nt

    def read(self, view: View) -> ThreadStack:
        self.session.check_interrupt()
        tcb = view.Tcb
        processor = self.reader.running_on(view.address)
        state = self.nt.enum_name("_KTHREAD_STATE", tcb.State)
        word = "Blocked" if state == WAITING_STATE else state.upper()
        frames: tuple[FrameLine, ...] = ()
        problem = ""
        try:
            if processor is None and not tcb.KernelStackResident:
                problem = PAGED
            else:
                registers = thread_registers(self.session, view.address)
                found = self.session.stack(registers or self.session.live_registers, FRAMES)
                frames = frame_lines(self.session, found)
        except KdsimError as error:
            problem = f"Stack not available: {error}"
        return ThreadStack(
            address=view.address,
            pid=view.Cid.UniqueProcess,
            tid=view.Cid.UniqueThread,
            state=word if processor is None else "RUNNING",
            ticks=(self.reader.clocks.ticks_now - tcb.WaitTime) & 0xFFFF_FFFF,
            frames=frames,
            problem=problem,
            processor=processor,
        )

    def all(self) -> Iterator[tuple[processes.Process, list[ThreadStack]]]:
        """The idle process first, as it is on no list."""
        with self.session.progress("Unwinding stacks"):
            yield from self._all()

    def _all(self) -> Iterator[tuple[processes.Process, list[ThreadStack]]]:
        idle = self._idle()
        if idle is not None:
            yield idle, self._of(idle.address)
        for process in processes.processes(self.nt):
            yield process, self._of(process.address)

    def _of(self, process: int) -> list[ThreadStack]:
        """As many as the list leads to."""
        found: list[ThreadStack] = []
        with suppress(MemoryFault):
            found.extend(self.read(thread) for thread in processes.threads(self.nt, process))
        return found

    def _idle(self) -> processes.Process | None:
        if not self.nt.has("PsIdleProcess"):
            return None
        return processes.process_at(self.nt, self.nt.pointer("PsIdleProcess"))


@dataclass(frozen=True, slots=True)
class StackGroup:
    """The threads of one process."""

    process: int
    image: str
    threads: tuple[ThreadStack, ...]


@dataclass(frozen=True, slots=True)
class StackList:
    """What `!stacks` found."""

    detail: int
    groups: tuple[StackGroup, ...]
    processed: int

    def lines(self) -> Iterator[str]:
        yield "Proc.Thread  .Thread  Ticks   ThreadState Blocker"
        for group in self.groups:
            yield f"{'':28}[{group.process:016x} {group.image}]"
            for thread in group.threads:
                yield from self._thread(thread)
            yield ""
        yield f"Threads Processed: {self.processed}"

    def _thread(self, thread: ThreadStack) -> Iterator[str]:
        head = (
            f"{thread.pid:4x}.{thread.tid:06x}  {thread.address:016x}"
            f" {thread.ticks:07x} {thread.state:10} "
        )
        if self.detail != WHOLE or not thread.frames:
            yield f"{head}{thread.blocker}"
            return
        yield f"{head}{thread.frames[0].symbol}"
        yield from (f"{'':{len(head)}}{frame.symbol}" for frame in thread.frames[1:])


@command(
    "!stacks",
    summary="A line or a stack for every thread.",
    group="processes",
    params=(
        Param(
            "detail",
            "word",
            "0 when left out",
            optional=True,
            words=(
                ("0", "a summary"),
                ("1", "stacks, paged out ones too"),
                ("2", "whole stacks with arguments"),
            ),
        ),
        Param("filter", "text", "only stacks with this text in a symbol", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!findstack", "!process", "!thread"),
)
def show_stacks(session: Session, args: Arguments, name: str) -> StackList:
    """Unwinds the stack of every thread."""
    detail = args.optional_expression(SUMMARY)
    text = args.rest().strip().lower()
    if detail is None or detail > WHOLE:
        raise ArgumentError("the detail of !stacks is 0, 1 or 2")
    groups = []
    processed = 0
    for process, threads in _Stacks(session).all():
        processed += len(threads)
        shown = tuple(thread for thread in threads if _wanted(thread, detail, text))
        if shown or not text:
            groups.append(StackGroup(process.address, process.image, shown))
    return StackList(detail, tuple(groups), processed)


def _wanted(thread: ThreadStack, detail: int, text: str) -> bool:
    if thread.problem == PAGED and detail == SUMMARY:
        return False
    return not text or any(text in frame.symbol.lower() for frame in thread.frames)


@dataclass(frozen=True, slots=True)
class StackMatch:
    """A thread with a wanted symbol on its stack."""

    thread: ThreadStack
    matching: tuple[int, ...]
    level: int

    def lines(self) -> Iterator[str]:
        yield f"Thread {self.thread.address:016x}, {len(self.matching)} frame(s) match"
        if self.level == 0:
            return
        for index, frame in enumerate(self.thread.frames):
            matches = index in self.matching
            if matches or self.level == 2:
                yield (
                    f"        {'*' if matches else ' '} {index:02} {tick(frame.child_sp)}"
                    f" {tick(frame.return_address)} {frame.symbol}"
                )
        yield ""


@dataclass(frozen=True, slots=True)
class StackMatches:
    """What `!findstack` found."""

    symbol: str
    matches: tuple[StackMatch, ...]

    def lines(self) -> Iterator[str]:
        if not self.matches:
            yield f"No stack contains {self.symbol}"
        for match in self.matches:
            yield from match.lines()


@command(
    "!findstack",
    summary="The threads with a symbol or module on their stack.",
    group="processes",
    params=(
        Param("symbol", "text", "symbol, its beginning, or a module"),
        Param(
            "level",
            "word",
            "1 when left out",
            optional=True,
            words=(
                ("0", "the threads"),
                ("1", "with the frames that match"),
                ("2", "whole stacks"),
            ),
        ),
    ),
    needs=Caps.READ,
    see_also=("!stacks", "!uniqstack"),
)
def find_stack(session: Session, args: Arguments, name: str) -> StackMatches:
    """Unwinds the stack of every thread."""
    symbol = args.word()
    level = args.optional_expression(1)
    args.at_end()
    if symbol is None:
        raise ArgumentError("!findstack needs a symbol or a module")
    if level is None or level > 2:
        raise ArgumentError("the level of !findstack is 0, 1 or 2")
    wanted = symbol.lower()
    found = []
    for _, threads in _Stacks(session).all():
        for thread in threads:
            matching = tuple(
                index
                for index, frame in enumerate(thread.frames)
                if _matches(frame.symbol.lower(), wanted)
            )
            if matching:
                found.append(StackMatch(thread, matching, level))
    return StackMatches(symbol, tuple(found))


def _matches(symbol: str, wanted: str) -> bool:
    """`module`, `module!func` and `func` match the beginnings of their parts."""
    if "!" in wanted:
        return symbol.startswith(wanted)
    module, _, function = symbol.partition("!")
    return module == wanted or function.startswith(wanted)


@dataclass(frozen=True, slots=True)
class UniqueStacks:
    """The stacks of a process, equal ones once."""

    threads: tuple[ThreadStack, ...]
    duplicates: tuple[int, ...]
    arguments: bool
    numbers: bool

    def lines(self) -> Iterator[str]:
        total = len(self.threads) + len(self.duplicates)
        yield f"Processing {total} threads, please wait"
        yield ""
        for thread in self.threads:
            yield f".  {thread.address:016x}  Id: {thread.pid:x}.{thread.tid:x} {thread.state}"
            yield f"   {SHORT_HEADER}" if self.numbers else SHORT_HEADER
            for index, frame in enumerate(thread.frames):
                yield self._frame(index, frame)
            if thread.problem:
                yield thread.problem
            yield ""
        yield f"Total threads: {total}"
        if self.duplicates:
            yield f"Duplicate callstacks: {len(self.duplicates)} (thread ids follow):"
            yield ", ".join(f"{tid:x}" for tid in self.duplicates)

    def _frame(self, index: int, frame: FrameLine) -> str:
        number = f"{index:02x} " if self.numbers else ""
        if self.arguments:
            return f"{number}{frame}"
        return f"{number}{tick(frame.child_sp)} {tick(frame.return_address)}     {frame.symbol}"


@command(
    "!uniqstack",
    summary="The stacks of the current process, equal ones only once.",
    group="processes",
    options=(
        Option("-b", "with the arguments"),
        Option("-v", "as -b"),
        Option("-p", "as -b"),
        Option("-n", "with frame numbers"),
    ),
    needs=Caps.READ,
    see_also=("!stacks", "!findstack"),
)
def unique_stacks(session: Session, args: Arguments, name: str) -> UniqueStacks:
    """Unwinds the stacks of the process in context."""
    switches = args.switches("b", "v", "p", "n")
    args.at_end()
    stacks = _Stacks(session)
    seen: dict[tuple[str, ...], ThreadStack] = {}
    duplicates = []
    for view in processes.threads(stacks.nt, session.current_process()):
        thread = stacks.read(view)
        key = tuple(frame.symbol for frame in thread.frames) or (f"{thread.address:x}",)
        if seen.setdefault(key, thread) is not thread:
            duplicates.append(thread.tid)
    arguments = bool(switches.keys() & {"b", "v", "p"})
    return UniqueStacks(tuple(seen.values()), tuple(duplicates), arguments, "n" in switches)
