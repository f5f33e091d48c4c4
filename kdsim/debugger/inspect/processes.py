"""Processes and threads.

Walks: nt!PsActiveProcessHead (EPROCESS.ActiveProcessLinks), EPROCESS.ThreadListHead
(ETHREAD.ThreadListEntry), nt!KiProcessorBlock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.fields import Unreadable, attempt
from kdsim.debugger.inspect.nt import Nt
from kdsim.symbols.views import View

# Bits of EX_FAST_REF that count references; bits of PS_CLIENT_SECURITY_CONTEXT beside the token.
FAST_REF_MASK = 0xF
CLIENT_SECURITY_MASK = 0x7
RUNNING, WAITING = 2, 5
SEMAPHORE_OBJECT = 5


@dataclass(frozen=True, slots=True)
class Process:
    """What a process is told from others by; `session_space` is 0 for one outside all sessions."""

    address: int
    pid: int
    session: int | Unreadable
    session_space: int
    peb: int
    object_table: int
    image: str


def fast_reference(reference: View) -> int:
    """The object an EX_FAST_REF refers to."""
    return int(reference.Value) & ~FAST_REF_MASK


def processes(nt: Nt) -> Iterator[Process]:
    head = nt.address("PsActiveProcessHead")
    for view in nt.list_entries(head, "_EPROCESS", "ActiveProcessLinks"):
        yield process(nt, view)


def process_at(nt: Nt, address: int) -> Process:
    return process(nt, nt.view("_EPROCESS", address))


def process(nt: Nt, view: View) -> Process:
    space = view.Session if view.has("Session") else 0
    return Process(
        address=view.address,
        pid=view.UniqueProcessId,
        session=attempt(lambda: session_number(nt, space)),
        session_space=space,
        peb=view.Peb,
        object_table=view.ObjectTable,
        image=image_name(view),
    )


def session_number(nt: Nt, space: int) -> int:
    """Number of an MM_SESSION_SPACE, 0 for none."""
    return int(nt.view("_MM_SESSION_SPACE", space).SessionId) if space else 0


def image_name(view: View) -> str:
    """EPROCESS.ImageFileName: 15 characters at most."""
    raw: bytes = view.ImageFileName.bytes()
    return raw.split(b"\0", 1)[0].decode("latin-1")


def handle_count(nt: Nt, table: int) -> int:
    """Handles in use: HANDLE_TABLE keeps the count in its free list."""
    return int(nt.view("_HANDLE_TABLE", table).FreeLists[0].HandleCount)


def threads(nt: Nt, process_address: int) -> Iterator[View]:
    """The ETHREADs of a process."""
    head = nt.view("_EPROCESS", process_address).at("ThreadListHead")
    yield from nt.list_entries(head, "_ETHREAD", "ThreadListEntry")


def prcb(nt: Nt, processor: int) -> View:
    """KPRCB of a processor, from nt!KiProcessorBlock."""
    return nt.view("_KPRCB", nt.read_integer(nt.address("KiProcessorBlock") + 8 * processor, 8))


def processor_count(nt: Nt) -> int:
    return nt.u32("KeNumberProcessors")


def current_thread(nt: Nt, processor: int) -> int:
    return int(prcb(nt, processor).CurrentThread)


def ready_threads(nt: Nt, queue: View, heads: str) -> Iterator[tuple[int, View]]:
    """(priority, KTHREAD) of the threads in one set of ready queues, best priority first.

    `queue` is what holds them, a KPRCB or a KSHARED_READY_QUEUE; `heads` its field with one list
    head for each priority.
    """
    summary = queue.ReadySummary
    for priority in range(len(queue[heads]) - 1, -1, -1):
        if not summary >> priority & 1:
            continue
        head = queue[heads].at(priority)
        for thread in nt.list_entries(head, "_KTHREAD", "WaitListEntry"):
            yield priority, thread


LOCK_QUEUE_WAIT, LOCK_QUEUE_OWNER = 1, 2


def queued_locks(prcb_view: View) -> str:
    """The processor's queued spin locks, a character each: `.` free, `O` owner, `W` waiting."""
    states = ""
    for lock in prcb_view.LockQueue:
        bits = lock.Lock & (LOCK_QUEUE_WAIT | LOCK_QUEUE_OWNER)
        states += "O" if bits & LOCK_QUEUE_OWNER else "W" if bits else "."
    return states[:16]


@dataclass(frozen=True, slots=True)
class SessionSpace:
    """A session and the processes in it."""

    id: int
    address: int
    processes: tuple[Process, ...]


def sessions(nt: Nt) -> list[SessionSpace]:
    """The sessions that processes belong to, by number."""
    members: dict[int, list[Process]] = {}
    for process in processes(nt):
        if process.session_space:
            members.setdefault(process.session_space, []).append(process)
    found = [
        SessionSpace(group[0].session, address, tuple(group))
        for address, group in members.items()
        if not isinstance(group[0].session, Unreadable)
    ]
    return sorted(found, key=lambda session: session.id)


@dataclass(frozen=True, slots=True)
class WaitObject:
    """One object a thread waits for."""

    address: int
    kind: str


def wait_objects(nt: Nt, thread: View) -> list[WaitObject]:
    """What KTHREAD.WaitBlockList leads to, a thread's own timer left out."""
    tcb = thread.Tcb
    block = tcb.WaitBlockList
    found: list[WaitObject] = []
    timer = tcb.at("Timer")
    layout = nt.record("_KWAIT_BLOCK")
    for index in range(tcb.WaitBlockCount):
        entry = View(nt.memory, layout, block + index * layout.size)
        target = entry.Object
        if target and target != timer:
            kind = object_kind(nt, nt.view("_DISPATCHER_HEADER", target).Type)
            if kind == SEMAPHORE:
                kind += f" 0x{nt.view('_KSEMAPHORE', target).Limit:x}"
            elif kind == MUTANT:
                kind += f" - owning thread {nt.view('_KMUTANT', target).OwnerThread:016x}"
            found.append(WaitObject(target, kind))
    return found


SEMAPHORE, MUTANT = "Semaphore Limit", "Mutant"
_KIND_NAMES = {
    "EventNotificationObject": "NotificationEvent",
    "EventSynchronizationObject": "SynchronizationEvent",
    "MutantObject": MUTANT,
    "ProcessObject": "ProcessObject",
    "QueueObject": "QueueObject",
    "SemaphoreObject": SEMAPHORE,
    "ThreadObject": "Thread",
    "GateObject": "Gate",
    "TimerNotificationObject": "NotificationTimer",
    "TimerSynchronizationObject": "SynchronizationTimer",
}


def object_kind(nt: Nt, kind: int) -> str:
    """`!thread`'s word for a dispatcher object."""
    name = nt.enum_name("_KOBJECTS", kind & 0x7F)
    return _KIND_NAMES.get(name, name)
