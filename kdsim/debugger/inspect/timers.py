"""Timers and deferred procedure calls.

Walks: KPRCB.TimerTable.TimerEntries of every processor (KTIMER.TimerListEntry), KPRCB.DpcData.
KTIMER.Dpc is kept scrambled with nt!KiWaitNever and nt!KiWaitAlways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import LIST_LIMIT, Nt
from kdsim.errors import MemoryFault
from kdsim.symbols.views import View

MASK = (1 << 64) - 1
# KDPC.Importance and queue, as `!dpcs` calls them.
QUEUE_TYPES = ("Normal", "Threaded")


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that is set.

    Attributes:
        bucket: of the table it stands in; `processor` owns the table.
        due: interrupt time at which it expires.
        periodic: set again by itself.
        routine: of its DPC, 0 without one.
        thread: that waits for it, 0 when there is none.
    """

    address: int
    processor: int
    bucket: int
    due: int
    periodic: bool
    dpc: int
    routine: int
    thread: int


def decode_dpc(timer: int, stored: int, never: int, always: int) -> int:
    """The KDPC behind the scrambled pointer of a KTIMER; 0 stays 0."""
    if not stored:
        return 0
    turn = never & 0x3F
    value = stored ^ never
    value = ((value << turn) | (value >> (64 - turn))) & MASK
    value ^= timer
    return int.from_bytes(value.to_bytes(8, "little"), "big") ^ always


def timers(nt: Nt) -> Iterator[Timer]:
    """Every timer in the tables, by bucket, processor by processor."""
    never, always = nt.pointer("KiWaitNever"), nt.pointer("KiWaitAlways")
    tables = [processes.prcb(nt, n) for n in range(processes.processor_count(nt))]
    size = nt.record("_KTIMER_TABLE_ENTRY").size
    for processor, prcb in enumerate(tables):
        start = prcb.at("TimerTable.TimerEntries")
        count = prcb.type_of("TimerTable.TimerEntries").size // size
        entries = nt.memory.read(start, count * size)
        link_at = nt.record("_KTIMER_TABLE_ENTRY").offset("Entry")
        for index in range(count):
            head = start + index * size + link_at
            first = int.from_bytes(entries[index * size + link_at :][:8], "little")
            if first in (head, 0):
                continue
            try:
                for view in nt.list_entries(head, "_KTIMER", "TimerListEntry"):
                    yield _timer(nt, view.snapshot(), processor, index % 256, never, always)
            except MemoryFault:
                # A target that runs has moved a timer to another list meanwhile.
                continue


def _timer(nt: Nt, view: View, processor: int, bucket: int, never: int, always: int) -> Timer:
    dpc = decode_dpc(view.address, view.Dpc, never, always)
    routine = 0
    if dpc:
        try:
            routine = nt.view("_KDPC", dpc).DeferredRoutine
        except MemoryFault:
            dpc = 0
    return Timer(
        address=view.address,
        processor=processor,
        bucket=bucket,
        due=view.DueTime.QuadPart,
        periodic=bool(view.Period),
        dpc=dpc,
        routine=routine,
        thread=0 if dpc else _waiting_thread(nt, view.address),
    )


def _waiting_thread(nt: Nt, timer: int) -> int:
    """The first thread on a timer's wait list."""
    head = nt.view("_DISPATCHER_HEADER", timer).at("WaitListHead")
    for block in nt.list_entries(head, "_KWAIT_BLOCK", "WaitListEntry"):
        return int(block.Thread)
    return 0


@dataclass(frozen=True, slots=True)
class QueuedDpc:
    """A DPC that waits to be run."""

    processor: int
    queue: str
    address: int
    routine: int


def queued_dpcs(nt: Nt, processor: int) -> Iterator[QueuedDpc]:
    """The DPCs in a processor's queues."""
    prcb = processes.prcb(nt, processor)
    offset = nt.record("_KDPC").offset("DpcListEntry")
    for queue, data in zip(QUEUE_TYPES, prcb.DpcData, strict=False):
        link = data.DpcList.ListHead.Next
        for _ in range(LIST_LIMIT):
            if not link:
                break
            dpc = nt.view("_KDPC", link - offset)
            yield QueuedDpc(processor, queue, dpc.address, dpc.DeferredRoutine)
            link = dpc.DpcListEntry.Next
