"""Executive resources: who owns them and who waits.

Walks: nt!ExpSystemResourcesList (ERESOURCE.SystemResourcesList), each resource's OwnerTable, and
the wait lists of its semaphore and event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.views import View

# ERESOURCE.Flag.
OWNED_EXCLUSIVE = 0x80
OWNER_LIMIT = 4096
# KOBJECTS of what resources are waited for with.
EVENT_OBJECTS, SEMAPHORE_OBJECT = (0, 1), 5


@dataclass(frozen=True, slots=True)
class Owner:
    """A thread that owns a resource.

    Attributes:
        thread: as the resource names it; its low two bits may be set by a driver.
        count: how often it acquired the resource.
    """

    thread: int
    count: int

    @property
    def actual(self) -> int:
        """The thread without the two bits."""
        return self.thread & ~3


@dataclass(frozen=True, slots=True)
class Resource:
    """One ERESOURCE."""

    address: int
    exclusive: bool
    owners: tuple[Owner, ...]
    active: int
    contentions: int
    waiting_shared: int
    waiting_exclusive: int
    shared_waiters: tuple[int, ...]
    exclusive_waiters: tuple[int, ...]

    @property
    def held(self) -> bool:
        return bool(self.active)


def all_resources(nt: Nt) -> Iterator[Resource]:
    """Every resource of the system, in the order of their initialisation."""
    head = nt.address("ExpSystemResourcesList")
    for view in nt.list_entries(head, "_ERESOURCE", "SystemResourcesList"):
        yield _resource(nt, view.snapshot())


def resource_at(nt: Nt, address: int) -> Resource:
    """ArgumentError when the system's list does not lead there and back."""
    view = nt.view("_ERESOURCE", address)
    try:
        listed = nt.view("_LIST_ENTRY", view.SystemResourcesList.Flink).Blink == address
    except MemoryFault:
        listed = False
    if not listed:
        raise ArgumentError(f"{address:016x} is not an ERESOURCE")
    return _resource(nt, view.snapshot())


def contended(nt: Nt) -> list[Resource]:
    """Those that some thread waits for."""
    return [r for r in all_resources(nt) if r.waiting_shared or r.waiting_exclusive]


def _resource(nt: Nt, view: View) -> Resource:
    return Resource(
        address=view.address,
        exclusive=bool(view.Flag & OWNED_EXCLUSIVE),
        owners=tuple(_owners(nt, view)),
        active=view.ActiveEntries,
        contentions=view.ContentionCount,
        waiting_shared=view.NumberOfSharedWaiters,
        waiting_exclusive=view.NumberOfExclusiveWaiters,
        shared_waiters=tuple(_waiters(nt, view.SharedWaiters)),
        exclusive_waiters=tuple(_waiters(nt, view.ExclusiveWaiters)),
    )


def _owners(nt: Nt, view: View) -> Iterator[Owner]:
    """The entry in the resource, then those of the table; its first one holds its size."""
    entry = view.OwnerEntry
    if entry.OwnerThread:
        yield Owner(entry.OwnerThread, entry.OwnerCount)
    table = view.OwnerTable
    if not table:
        return
    size = nt.record("_OWNER_ENTRY").size
    for index in range(1, min(nt.view("_OWNER_ENTRY", table).TableSize, OWNER_LIMIT)):
        owner = nt.view("_OWNER_ENTRY", table + index * size)
        if owner.OwnerThread:
            yield Owner(owner.OwnerThread, owner.OwnerCount)


def _waiters(nt: Nt, waited_for: int) -> Iterator[int]:
    """Threads on the wait list of a semaphore or an event; nothing when it is neither."""
    if not waited_for:
        return
    try:
        header = nt.view("_DISPATCHER_HEADER", waited_for)
        if header.Type & 0x7F not in (*EVENT_OBJECTS, SEMAPHORE_OBJECT):
            return
        head = header.at("WaitListHead")
        blocks = list(nt.list_entries(head, "_KWAIT_BLOCK", "WaitListEntry"))
        yield from (block.Thread for block in blocks)
    except MemoryFault:
        return
