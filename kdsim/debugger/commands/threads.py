"""Threads: `!thread !ready !running !for_each_thread`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.processes import (
    CURRENT,
    for_each,
)
from kdsim.debugger.commands.processreport import ProcessHead, head_of, process_context
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.threadreport import SET_CONTEXT, Stack, ThreadReader, ThreadReport
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

DEFAULT_FLAGS = 0x6
THREAD_ALIAS = "@#Thread"
FLAGS = Param(
    "flags",
    "flags",
    "what to show, 6 when left out",
    optional=True,
    bits=(
        (2, "what it waits for"),
        (4, "with 2: times, priorities and its stack"),
        (8, "no arguments in stacks"),
        (0x10, "in the process' context"),
    ),
)


@command(
    "!thread",
    summary="A thread: state, waits, times, stack.",
    group="processes",
    params=(
        Param("thread", "thread", "ETHREAD; -1 or nothing: the current one", optional=True),
        FLAGS,
    ),
    options=(
        Option("-p", "the process that owns it as well"),
        Option("-t", "the address is a thread id"),
    ),
    needs=Caps.READ,
    see_also=("!process", ".thread", "k"),
)
def show_thread(session: Session, args: Arguments, name: str) -> ThreadReport | OwnedThread:
    """Reads the ETHREAD and, with flag 4, unwinds its stack."""
    switches = args.switches("p", "t")
    which = args.optional_expression()
    flags = args.optional_expression(DEFAULT_FLAGS)
    args.at_end()
    assert flags is not None
    reader = ThreadReader(session)
    if "t" in switches:
        if which is None:
            raise ArgumentError("!thread -t needs a thread id")
        which = thread_with_id(reader.nt, which)
    elif not which or which == CURRENT:
        # Not the one that `.thread` chose: kd shows what the processor runs.
        which = session.processor_thread(session.processor)
    context: AbstractContextManager[None] = nullcontext()
    if flags & SET_CONTEXT:
        context = process_context(session, int(reader.nt.view("_KTHREAD", which).Process))
    with context:
        report = reader.report(which, flags)
    if "p" not in switches:
        return report
    owner = int(reader.nt.view("_KTHREAD", which).Process)
    return OwnedThread(head_of(reader.nt, reader.nt.view("_EPROCESS", owner)), report)


@dataclass(frozen=True, slots=True)
class OwnedThread:
    """A thread and the process that owns it."""

    process: ProcessHead
    thread: ThreadReport

    def lines(self) -> Iterator[str]:
        yield from self.process.lines()
        yield ""
        yield from self.thread.lines()


def thread_with_id(nt: Nt, tid: int) -> int:
    for process in processes.processes(nt):
        for thread in processes.threads(nt, process.address):
            if thread.Cid.UniqueThread == tid:
                return int(thread.address)
    raise ArgumentError(f"no thread with id {tid:x}")


@command(
    "!for_each_thread",
    summary="Run commands for each thread; @#Thread is its ETHREAD.",
    group="processes",
    params=(Param("commands", "commands", "nothing: !thread @#Thread 2", optional=True),),
    needs=Caps.READ,
    see_also=("!for_each_process", "!thread"),
)
def for_each_thread(session: Session, args: Arguments, name: str) -> None:
    """Walks nt!PsActiveProcessHead and each EPROCESS.ThreadListHead."""
    nt = Nt(session.symbols, session.memory)
    found = (
        thread.address
        for process in list(processes.processes(nt))
        for thread in list(processes.threads(nt, process.address))
    )
    for_each(session, args, THREAD_ALIAS, f"!thread {THREAD_ALIAS} 2", found)


@dataclass(frozen=True, slots=True)
class ReadyGroup:
    """Threads that one queue keeps at one priority."""

    priority: int
    threads: tuple[ThreadReport, ...]


@dataclass(frozen=True, slots=True)
class ReadyQueue:
    """A processor's queues, or those that several processors share."""

    title: str
    groups: tuple[ReadyGroup, ...]
    problem: str
    heading: str = ""

    def lines(self) -> Iterator[str]:
        if self.heading:
            yield self.heading
        if self.problem:
            yield f"{self.title}: The queue is damaged: {self.problem}"
        elif not self.groups:
            yield f"{self.title}: No threads in READY state"
        for group in self.groups:
            yield f"{self.title}: Ready Threads at priority {group.priority}"
            for thread in group.threads:
                yield from (f"    {line}" if line else "" for line in thread.lines())
                yield ""


@dataclass(frozen=True, slots=True)
class Ready:
    """All ready queues."""

    queues: tuple[ReadyQueue, ...]

    def lines(self) -> Iterator[str]:
        for queue in self.queues:
            yield from queue.lines()


@command(
    "!ready",
    summary="The threads that wait for a processor.",
    group="processes",
    params=(FLAGS,),
    needs=Caps.READ,
    see_also=("!running", "!thread", "!process"),
)
def show_ready(session: Session, args: Arguments, name: str) -> Ready:
    """Reads KPRCB.DispatcherReadyListHead and the shared ready queues."""
    flags = args.optional_expression(DEFAULT_FLAGS)
    args.at_end()
    assert flags is not None
    reader = ThreadReader(session)
    nt = reader.nt
    queues: list[ReadyQueue] = []
    shared: list[int] = []
    prcbs = [processes.prcb(nt, n) for n in range(processes.processor_count(nt))]
    for prcb in prcbs:
        queue = prcb.SharedReadyQueue if prcb.has("SharedReadyQueue") else 0
        if queue and queue not in shared:
            shared.append(queue)
            queues.append(_shared_queue(reader, queue, len(prcbs), flags))
    for number, prcb in enumerate(prcbs):
        groups, problem = _groups(reader, prcb, "DispatcherReadyListHead", flags)
        queues.append(ReadyQueue(f"Processor {number}", groups, problem))
    return Ready(tuple(queues))


def _shared_queue(reader: ThreadReader, address: int, count: int, flags: int) -> ReadyQueue:
    view = reader.nt.view("_KSHARED_READY_QUEUE", address)
    mask = view.Affinity
    picture = "".join("*" if mask >> n & 1 else "-" for n in range(64))
    groups, problem = _groups(reader, view, "ReadyListHead", flags)
    return ReadyQueue(
        title=f"SharedReadyQueue {address:016x}",
        groups=groups,
        problem=problem,
        heading=f"KSHARED_READY_QUEUE {address:016x}: ({view.LowProcIndex:02}) {picture}",
    )


def _groups(
    reader: ThreadReader, queue: View, heads: str, flags: int
) -> tuple[tuple[ReadyGroup, ...], str]:
    """The groups as far as the lists lead, and what is wrong with them."""
    found: dict[int, list[ThreadReport]] = {}
    problem = ""
    try:
        for priority, thread in processes.ready_threads(reader.nt, queue, heads):
            report = reader.report(thread.address, flags)
            found.setdefault(priority, []).append(report)
    except (ArgumentError, MemoryFault) as error:
        problem = str(error)
    groups = (ReadyGroup(priority, tuple(threads)) for priority, threads in found.items())
    return tuple(groups), problem


@dataclass(frozen=True, slots=True)
class RunningRow:
    """One processor that does not idle (or any, with -i)."""

    processor: int
    prcb: int
    current: int
    current_priority: int
    next: int
    next_priority: int
    idle: int
    locks: str
    stack: Stack | None

    def lines(self) -> Iterator[str]:
        following = f"{self.next:016x} ({self.next_priority:2})" if self.next else " " * 21
        yield (
            f"{self.processor:3}    {self.prcb:016x}  {self.current:016x}"
            f" ({self.current_priority:2})  {following}  {self.idle:016x}  {self.locks}"
        )
        if self.stack:
            yield from (f"      {line}" for line in self.stack.lines())
            yield ""


@dataclass(frozen=True, slots=True)
class Running:
    """What each processor runs."""

    active: int
    idle: int
    rows: tuple[RunningRow, ...]

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"System Processors:  ({self.active:016x})"
        yield f"  Idle Processors:  ({self.idle:016x})"
        yield ""
        if self.active == self.idle:
            yield "All processors idle."
        if not self.rows:
            return
        yield ("       Prcbs             Current         (pri) Next            (pri) Idle")
        for row in self.rows:
            yield from row.lines()


@command(
    "!running",
    summary="Which thread each processor runs.",
    group="processes",
    options=(Option("-i", "idle processors too"), Option("-t", "with stacks")),
    needs=Caps.READ,
    see_also=("!ready", "!process", "!thread", "!pcr"),
)
def running(session: Session, args: Arguments, name: str) -> Running:
    """Reads KPRCB.CurrentThread, NextThread, IdleThread and LockQueue of every processor."""
    switches = args.switches("i", "t")
    args.at_end()
    reader = ThreadReader(session)
    nt = reader.nt
    rows = []
    idle_mask = 0
    count = processes.processor_count(nt)
    for number in range(count):
        prcb = processes.prcb(nt, number)
        idles = prcb.CurrentThread == prcb.IdleThread
        idle_mask |= idles << number
        if idles and "i" not in switches:
            continue
        rows.append(
            RunningRow(
                processor=number,
                prcb=prcb.address,
                current=prcb.CurrentThread,
                current_priority=_priority(nt, prcb.CurrentThread),
                next=prcb.NextThread,
                next_priority=_priority(nt, prcb.NextThread),
                idle=prcb.IdleThread,
                locks=processes.queued_locks(prcb),
                stack=reader.stack(prcb.CurrentThread, 0) if "t" in switches else None,
            )
        )
    return Running((1 << count) - 1, idle_mask, tuple(rows))


def _priority(nt: Nt, thread: int) -> int:
    return int(nt.view("_KTHREAD", thread).Priority) if thread else 0
