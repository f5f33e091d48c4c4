"""Locks: `!locks` for executive resources, `!qlocks` for queued spin locks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import processes, resources
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

THREADS_PER_LINE = 4


@dataclass(frozen=True, slots=True)
class LockReport:
    """One resource, or all of them.

    Attributes:
        shown: the resources to print; `total` were looked at.
        names: symbols of resources that have one.
        threads: `!thread` of the owners, by thread, with -v.
    """

    shown: tuple[resources.Resource, ...]
    total: int
    single: bool
    names: dict[int, str]
    threads: dict[int, tuple[str, ...]]

    def lines(self) -> Iterator[str]:
        if not self.single:
            yield "**** DUMP OF ALL RESOURCE OBJECTS ****"
            yield "KD: Scanning for held locks."
        yield ""
        for resource in self.shown:
            yield from self._resource(resource)
            yield ""
        held = sum(resource.held for resource in self.shown)
        yield f"{self.total} total locks, {held} locks currently held"

    def _resource(self, resource: resources.Resource) -> Iterator[str]:
        name = self.names.get(resource.address)
        place = f"0x{resource.address:016x}"
        heading = f"Resource @ {f'{name} ({place})' if name else place}"
        if not resource.held:
            yield f"{heading}    Available"
        elif resource.exclusive:
            yield f"{heading}    Exclusively owned"
        else:
            yield f"{heading}    Shared {resource.active} owning threads"
        if resource.contentions:
            yield f"    Contention Count = {resource.contentions}"
        if resource.waiting_shared:
            yield f"    NumberOfSharedWaiters = {resource.waiting_shared}"
        if resource.waiting_exclusive:
            yield f"    NumberOfExclusiveWaiters = {resource.waiting_exclusive}"
        yield from self._owners(resource)
        yield from _waiters("Shared", resource.shared_waiters)
        yield from _waiters("Exclusive", resource.exclusive_waiters)
        for owner in resource.owners:
            yield from self.threads.get(owner.actual, ())

    def _owners(self, resource: resources.Resource) -> Iterator[str]:
        words = []
        for owner in resource.owners:
            mark = "<*>" if owner.count else ""
            word = f"{owner.thread:016x}-{owner.count:02}{mark}"
            if owner.thread != owner.actual:
                word += f"    *** Actual Thread {owner.actual:016x}"
            words.append(word)
        for start in range(0, len(words), THREADS_PER_LINE):
            label = "Threads:" if start == 0 else " " * 8
            yield f"     {label} {' '.join(words[start : start + THREADS_PER_LINE])} "


def _waiters(kind: str, threads: tuple[int, ...]) -> Iterator[str]:
    if not threads:
        return
    yield f"     Threads Waiting On {kind} Access:"
    for start in range(0, len(threads), THREADS_PER_LINE):
        row = threads[start : start + THREADS_PER_LINE]
        yield f"              {'       '.join(f'{thread:016x}' for thread in row)}"


@command(
    "!locks",
    summary="Executive resources: owners and waiters.",
    group="locks",
    params=(Param("address", "expression", "one ERESOURCE", optional=True),),
    options=(
        Option("-v", "with the threads"),
        Option("-p", "with all there is to know"),
        Option("-d", "resources that nobody holds, too"),
    ),
    needs=Caps.READ,
    see_also=("!thread", "!qlocks", "!analyze"),
)
def locks(session: Session, args: Arguments, name: str) -> LockReport:
    """Walks nt!ExpSystemResourcesList; without -d only resources that are held are shown."""
    given = args.switches("v", "p", "d")
    address = args.optional_expression(0)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    if address:
        shown = [resources.resource_at(nt, address)]
        total = 1
    else:
        found = []
        for resource in resources.all_resources(nt):
            session.check_interrupt()
            found.append(resource)
        total = len(found)
        shown = [r for r in found if r.held or "d" in given]
    names = {r.address: session.symbols.format(r.address) for r in shown}
    threads: dict[int, tuple[str, ...]] = {}
    if given.keys() & {"v", "p"}:
        for owner in (owner for r in shown for owner in r.owners):
            threads[owner.actual] = _thread(session, owner.actual)
    return LockReport(
        shown=tuple(shown),
        total=total,
        single=bool(address),
        names={a: text for a, text in names.items() if "!" in text},
        threads=threads,
    )


def _thread(session: Session, thread: int) -> tuple[str, ...]:
    """What `!thread` says about an owner."""
    with session.out.capture() as pieces:
        session.runner(f"!thread 0x{thread:x}")
    return tuple(f"     {line}" for line in "".join(pieces).splitlines())


# Names of KPRCB.LockQueue in order (KSPIN_LOCK_QUEUE_NUMBER); the catalogue of the `!qlocks` page.
QUEUES = (
    "KE   - Unused Spare",
    "MM   - Unused Spare",
    "MM   - Unused Spare",
    "MM   - Unused Spare",
    "CC   - Vacb",
    "CC   - Master",
    "EX   - NonPagedPool",
    "IO   - Cancel",
    "CC   - Unused Spare",
    "IO   - Vpb",
    "IO   - Database",
    "IO   - Completion",
    "NTFS - Struct",
    "AFD  - WorkQueue",
    "CC   - Bcb",
    "MM   - NonPagedPool",
    "MM   - Unused Spare",
)
# Low bits of KSPIN_LOCK_QUEUE.Lock.
QUEUE_WAIT, QUEUE_OWNER = 1, 2


@dataclass(frozen=True, slots=True)
class QueuedLocks:
    """State of each queued lock on each processor: O owner, a digit waiting, blank none."""

    states: tuple[tuple[str, ...], ...]

    def lines(self) -> Iterator[str]:
        yield "Key: O = Owner, 1-n = Wait order, blank = not owned/waiting, C = Corrupt"
        yield ""
        yield f"{'Processor Number':>39}"
        count = len(self.states[0]) if self.states else 0
        yield f"{'    Lock Name':22}{''.join(f'{n:>3}' for n in range(count))}"
        yield ""
        for label, row in zip(QUEUES, self.states, strict=False):
            yield f"{label:22}{''.join(f'{state:>3}' for state in row)}".rstrip()


@command(
    "!qlocks",
    summary="Queued spin locks.",
    group="locks",
    needs=Caps.READ,
    see_also=("!locks", "!running"),
)
def qlocks(session: Session, args: Arguments, name: str) -> QueuedLocks:
    """Reads KPRCB.LockQueue of every processor."""
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    count = processes.processor_count(nt)
    if not count:
        raise ArgumentError("Cannot get PRCB address")
    queues = [processes.prcb(nt, number).LockQueue for number in range(count)]
    rows = []
    for index in range(min(len(QUEUES), len(queues[0]))):
        entries = [queue[index] for queue in queues]
        rows.append(tuple(_queue_state(entries, position) for position in range(count)))
    return QueuedLocks(tuple(rows))


def _queue_state(entries: list[View], position: int) -> str:
    """A waiter's number is how many stand between it and the owner, itself included."""
    lock = entries[position].Lock
    if lock & QUEUE_OWNER:
        return "O"
    if not lock & QUEUE_WAIT:
        return ""
    owner = next((e for e in entries if e.Lock & QUEUE_OWNER), None)
    by_address = {entry.address: entry for entry in entries}
    for order in range(1, len(entries)):
        following = owner.Next if owner is not None else 0
        if following == entries[position].address:
            return str(order)
        owner = by_address.get(following)
    return "C"
