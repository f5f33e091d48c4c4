"""Work items: what the queue of the system's workers holds and who serves it."""

import struct

import pytest

from kdsim.symbols.views import list_entries
from tests.target.booted import Debugged, small_lab
from tests.target.guestcalls import call, go_on

CRITICAL, DELAYED = 0, 1
PRIORITIES = {CRITICAL: 13, DELAYED: 12}
ITEM_SIZE = 0x20
WORKERS = 5


def queue_of(kernel):
    return kernel.view("_EX_WORK_QUEUE", kernel.read("ExWorkerQueue", 8))


@pytest.fixture
def alone():
    """One processor, stopped above the workers' level."""
    debugged = Debugged(small_lab(processors=1))
    debugged.run_to_stop()
    debugged.system.machine.current.cr8 = 2
    yield debugged
    debugged.system.close()


def queue(debugged, item: int, kind: int) -> None:
    """An item whose routine stops, with the item itself as parameter."""
    routine = debugged.kernel.address("DbgBreakPointWithStatus")
    debugged.kernel.memory.write(item, struct.pack("<4Q", 0, 0, routine, item))
    call(debugged, "ExQueueWorkItem", item, kind)


def test_critical_work_comes_first_and_at_its_priority(alone):
    kernel, processor = alone.kernel, alone.system.machine.current
    back, stack = processor.rip, processor.rsp
    page = call(alone, "ExAllocatePoolWithTag", 0x200, 0x1000, int.from_bytes(b"Test", "little"))
    kinds = [DELAYED, DELAYED, CRITICAL, DELAYED]
    items = [page + number * ITEM_SIZE for number in range(len(kinds))]
    for item, kind in zip(items, kinds, strict=True):
        queue(alone, item, kind)
    work = queue_of(kernel).WorkPriQueue
    waiting = {
        kind: [
            entry.address
            for entry in list_entries(
                kernel.memory,
                work.at(f"EntryListHead[{priority}]"),
                kernel.record("_WORK_QUEUE_ITEM"),
                "List",
            )
        ]
        for kind, priority in PRIORITIES.items()
    }
    assert waiting == {CRITICAL: [items[2]], DELAYED: [items[0], items[1], items[3]]}

    processor.cr8, processor.rip, processor.rsp = 0, back, stack
    done = []
    for _ in items:
        change = go_on(alone)
        thread = kernel.view("_KTHREAD", change.thread)
        done.append((processor.rcx, thread.Priority))
    assert done == [(items[2], 13), (items[0], 12), (items[1], 12), (items[3], 12)]


def test_the_workers_wait_in_the_queue(booted, kernel):
    work = queue_of(kernel)
    queued = work.WorkPriQueue
    threads = list_entries(
        kernel.memory, queued.at("ThreadListHead"), kernel.record("_KTHREAD"), "QueueListEntry"
    )
    workers = [thread.address for thread in threads]
    assert work.ThreadCount == len(set(workers)) == WORKERS
    assert all(kernel.view("_KTHREAD", thread).Queue == queued.address for thread in workers)
    assert queued.Header.SignalState == 0
