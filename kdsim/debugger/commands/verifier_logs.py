"""The logs of Driver Verifier: rings of entries with a stack each.

Reads: nt!VfPoolTraces, nt!ViTrackIrqlQueue, nt!ViFaultTraces, nt!VfKeCriticalRegionTraces, each
with its index and length. A kernel without such a ring has no entries to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.inspect.nt import Nt
from kdsim.symbols.views import View

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

FAULTS, IRQLS, HANGS, PENDING = 0x4, 0x8, 0x20, 0x40
POOL, IRPS, REGIONS, CANCELLED, SYSTEMATIC = 0x80, 0x100, 0x200, 0x400, 0x800
DEFAULT_QUANTITY = 4
ADDRESSES = 1 << 32
"""A quantity from here on is an address."""
RULE = "-" * 47 + " "


@dataclass(frozen=True, slots=True)
class Ring:
    """Where a log lies: its pointer, its index of the newest entry, its length, its entries."""

    table: str
    index: str
    length: str
    record: str


RINGS = {
    FAULTS: Ring("ViFaultTraces", "ViFaultTracesIndex", "ViFaultTracesLength", "_VI_FAULT_TRACE"),
    IRQLS: Ring("ViTrackIrqlQueue", "ViTrackIrqlIndex", "ViTrackIrqlQueueLength", "_VI_TRACK_IRQL"),
    POOL: Ring("VfPoolTraces", "VfPoolTracesIndex", "VfPoolTracesLength", "_VF_POOL_TRACE"),
    REGIONS: Ring(
        "VfKeCriticalRegionTraces",
        "VfKeCriticalRegionTracesIndex",
        "VfKeCriticalRegionTracesLength",
        "_VF_KE_CRITICAL_REGION_TRACE",
    ),
}
# What a log is called, and what is said when it has no entries.
LOGS = {
    FAULTS: ("Fault injection trace log", "Driver Verifier didn't inject any faults."),
    IRQLS: ("Track irql trace log", "There are no entries in the IRQL transition log."),
    HANGS: ("Driver hang log", "There are no entries in the driver hang log."),
    PENDING: ("Forced pending IRP log", "Driver Verifier didn't force any IRPs to be pending."),
    POOL: ("Pool allocate/free log", "There are no entries in the pool log."),
    IRPS: ("IRP log", "There are no entries in the log of IRP calls."),
    REGIONS: ("Critical region log", "There are no entries in the critical region log."),
    CANCELLED: ("Cancelled IRPs", "There are no cancelled IRPs being watched."),
    SYSTEMATIC: ("Systematic fault log", "Driver Verifier didn't inject any faults."),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: what it says first, and its stack with symbols."""

    facts: tuple[str, ...]
    frames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Log:
    """The newest entries of one log."""

    kind: int
    capacity: int
    parsed: int
    address: int
    entries: tuple[Entry, ...]

    def heading(self) -> Iterator[str]:
        yield ""
        yield RULE
        yield f"{LOGS[self.kind][0]:47} "
        yield RULE

    def lines(self) -> Iterator[str]:
        yield ""
        if not self.capacity:
            yield LOGS[self.kind][1]
            return
        yield from self._introduction()
        if not self.entries:
            yield ""
            yield "No matching entries." if self.address else LOGS[self.kind][1]
        for entry in self.entries:
            yield ""
            if self.kind == POOL:
                yield "=" * 70
            yield from entry.facts
            indent = "    " if self.kind == IRQLS else ""
            for frame, name in entry.frames:
                yield f"{indent}{frame:016x} {name}"

    def _introduction(self) -> Iterator[str]:
        if self.kind == POOL:
            yield "Log of recent kernel pool Allocate and Free operations:"
            yield ""
            yield f"There are up to 0x{self.capacity:x} entries in the log."
            yield ""
            searching = f", searching for address 0x{self.address:016x}" if self.address else ""
            yield f"Parsing 0x{self.parsed:016x} log entries{searching}."
        elif self.kind == IRQLS:
            count = len(self.entries)
            yield f"Displaying most recent 0x{count:016x} entries from the IRQL transition log."
            yield f"There are up to 0x{self.capacity:x} entries in the log."


def read(session: Session, nt: Nt, kind: int, quantity: int | None) -> Log:
    """The newest entries, newest first; a quantity that is an address filters."""
    ring = RINGS.get(kind)
    if ring is None or not nt.has(ring.table) or not nt.has(ring.length):
        return Log(kind, 0, 0, 0, ())
    table, capacity = nt.pointer(ring.table), nt.u32(ring.length)
    if not table:
        return Log(kind, 0, 0, 0, ())
    address = quantity if quantity is not None and quantity >= ADDRESSES else 0
    limit = capacity if address else DEFAULT_QUANTITY if quantity is None else quantity
    entry_of, filled, concerns = _READERS[kind]
    size, newest = nt.record(ring.record).size, nt.u32(ring.index)
    found: list[Entry] = []
    parsed = 0
    for step in range(capacity):
        if len(found) >= limit:
            break
        session.check_interrupt()
        view = nt.view(ring.record, table + (newest - step) % capacity * size).snapshot()
        parsed += 1
        if filled(view) and (not address or concerns(view, address)):
            frames = [frame for frame in view.StackTrace if frame]
            named = tuple((frame, session.symbols.format(frame)) for frame in frames)
            found.append(Entry(entry_of(view), named))
    return Log(kind, capacity, parsed, address, tuple(found))


def _pool_facts(view: View) -> tuple[str, ...]:
    start = view.Address & ~1
    return (f"Pool block {start:016x}, Size {view.Size:016x}, Thread {view.Thread:016x}",)


def _pool_concerns(view: View, address: int) -> bool:
    start: int = view.Address & ~1
    return bool(start <= address < start + max(view.Size, 1))


def _irql_facts(view: View) -> tuple[str, ...]:
    return (
        f"Thread:             {view.Thread:016x}",
        f"Old irql:           {view.OldIrql:016x}",
        f"New irql:           {view.NewIrql:016x}",
        f"Processor:          {view.Processor:016x}",
        f"Time stamp:         {view.TickCount:016x}",
    )


def _thread_facts(view: View) -> tuple[str, ...]:
    return (f"Thread: {view.Thread:016x}",)


def _of_thread(view: View, address: int) -> bool:
    return bool(view.Thread == address)


_READERS: dict[
    int,
    tuple[Callable[[View], tuple[str, ...]], Callable[[View], bool], Callable[[View, int], bool]],
] = {
    POOL: (_pool_facts, lambda view: bool(view.Address), _pool_concerns),
    IRQLS: (_irql_facts, lambda view: bool(view.Thread), _of_thread),
    FAULTS: (_thread_facts, lambda view: bool(view.Thread), _of_thread),
    REGIONS: (_thread_facts, lambda view: bool(view.Thread), _of_thread),
}
