"""Driver Verifier: its level, its statistics, the drivers it watches and what they hold.

Reads: nt!MmVerifierData, nt!ViTargetDriversAvl (an RTL_AVL_TABLE of VF_TARGET_DRIVER), and each
driver's VI_POOL_PAGE_HEADER pages of VI_POOL_ENTRY slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect import trees
from kdsim.debugger.inspect.nt import Nt
from kdsim.symbols.views import View

PAGE = 0x1000
NODE_LIMIT = 10_000

# devtest/verifier-command-line of the driver documentation: bit -> option.
STANDARD_FLAGS = {
    0x0: "Automatic Checks",
    0x1: "Special pool",
    0x2: "Force IRQL checking",
    0x8: "Pool tracking",
    0x10: "I/O verification",
    0x20: "Deadlock detection",
    0x80: "DMA checking",
    0x100: "Security checks",
    0x800: "Miscellaneous checks",
    0x20000: "DDI compliance checking",
}
ADDITIONAL_FLAGS = {
    0x4: "Randomized low resources simulation",
    0x200: "Force pending I/O requests",
    0x400: "IRP logging",
    0x2000: "Invariant MDL checking for stack",
    0x4000: "Invariant MDL checking for driver",
    0x8000: "Power framework delay fuzzing",
    0x40000: "Systematic low resources simulation",
    0x80000: "DDI compliance checking (additional)",
    0x200000: "NDIS/WIFI verification",
    0x800000: "Kernel synchronization delay fuzzing",
    0x1000000: "VM switch verification",
}


@dataclass(frozen=True, slots=True)
class Statistics:
    """The counters of MM_DRIVER_VERIFIER_DATA that `!verifier` prints."""

    raise_irqls: int
    acquire_spin_locks: int
    synchronize_executions: int
    trims: int
    attempted: int
    succeeded: int
    succeeded_special: int
    no_tag: int
    failed: int
    failed_deliberately: int
    paged_count: int
    paged_bytes: int
    peak_paged_count: int
    peak_paged_bytes: int
    nonpaged_count: int
    nonpaged_bytes: int
    peak_nonpaged_count: int
    peak_nonpaged_bytes: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """One outstanding allocation of a verified driver."""

    address: int
    size: int
    tag: int
    caller: int


@dataclass(frozen=True, slots=True)
class VerifiedDriver:
    """One driver on Driver Verifier's list.

    Attributes:
        target: address of its VF_TARGET_DRIVER, 0 when it was never loaded.
        loads, unloads: how often its image came and went.
    """

    name: str
    target: int
    loads: int
    unloads: int
    nonpaged_count: int = 0
    paged_count: int = 0
    nonpaged_bytes: int = 0
    paged_bytes: int = 0
    peak_nonpaged_count: int = 0
    peak_paged_count: int = 0
    peak_nonpaged_bytes: int = 0
    peak_paged_bytes: int = 0
    contiguous_bytes: int = 0
    peak_contiguous_bytes: int = 0
    allocations: tuple[Allocation, ...] = ()

    @property
    def state(self) -> str:
        if not self.loads:
            return "Never Loaded"
        return "Loaded" if self.loads > self.unloads else "Unloaded"


def level(nt: Nt) -> int:
    return int(nt.view("_MM_DRIVER_VERIFIER_DATA", nt.address("MmVerifierData")).Level)


def statistics(nt: Nt) -> Statistics:
    data = nt.view("_MM_DRIVER_VERIFIER_DATA", nt.address("MmVerifierData"))
    return Statistics(
        raise_irqls=data.RaiseIrqls,
        acquire_spin_locks=data.AcquireSpinLocks,
        synchronize_executions=data.SynchronizeExecutions,
        trims=data.Trims,
        attempted=data.AllocationsAttempted,
        succeeded=data.AllocationsSucceeded,
        succeeded_special=data.AllocationsSucceededSpecialPool,
        no_tag=data.AllocationsWithNoTag,
        failed=data.AllocationsFailed,
        failed_deliberately=data.AllocationsFailedDeliberately,
        paged_count=data.CurrentPagedPoolAllocations,
        paged_bytes=data.PagedBytes,
        peak_paged_count=data.PeakPagedPoolAllocations,
        peak_paged_bytes=data.PeakPagedBytes,
        nonpaged_count=data.CurrentNonPagedPoolAllocations,
        nonpaged_bytes=data.NonPagedBytes,
        peak_nonpaged_count=data.PeakNonPagedPoolAllocations,
        peak_nonpaged_bytes=data.PeakNonPagedBytes,
    )


def drivers(nt: Nt, *, with_allocations: bool = True) -> list[VerifiedDriver]:
    """The suspect list, each entry joined with its target-driver record where one exists."""
    targets = {data.SuspectDriverEntry: (target.address, data) for target, data in _targets(nt)}
    found = []
    head = nt.address("VfSuspectDriversList")
    for suspect in nt.list_entries(head, "_VF_SUSPECT_DRIVER_ENTRY", "Links"):
        name = nt.unicode(suspect.BaseName)
        target = targets.get(suspect.address)
        if target is None:
            found.append(VerifiedDriver(name, 0, suspect.Loads, suspect.Unloads))
        else:
            address, data = target
            allocations = tuple(outstanding(nt, data)) if with_allocations else ()
            found.append(_driver(name, address, suspect, data, allocations))
    return found


def _driver(
    name: str, target: int, suspect: View, data: View, allocations: tuple[Allocation, ...]
) -> VerifiedDriver:
    return VerifiedDriver(
        name=name,
        target=target,
        loads=suspect.Loads,
        unloads=suspect.Unloads,
        nonpaged_count=data.CurrentNonPagedPoolAllocations,
        paged_count=data.CurrentPagedPoolAllocations,
        nonpaged_bytes=data.NonPagedBytes,
        paged_bytes=data.PagedBytes,
        peak_nonpaged_count=data.PeakNonPagedPoolAllocations,
        peak_paged_count=data.PeakPagedPoolAllocations,
        peak_nonpaged_bytes=data.PeakNonPagedBytes,
        peak_paged_bytes=data.PeakPagedBytes,
        contiguous_bytes=data.ContiguousMemoryBytes,
        peak_contiguous_bytes=data.PeakContiguousMemoryBytes,
        allocations=allocations,
    )


def _targets(nt: Nt) -> Iterator[tuple[View, View]]:
    """(VF_TARGET_DRIVER, its VerifiedData) of every verified driver that was ever loaded."""
    tree = nt.view("_VF_AVL_TREE", nt.address("ViTargetDriversAvl"))
    tables = tree.Tables
    if not tables:
        return
    size = nt.record("_VF_AVL_TABLE").size
    for index in range(tree.TablesNo):
        table = nt.view("_VF_AVL_TABLE", tables + index * size)
        for node in trees.avl_nodes(nt, table.at("RtlTable")):
            target = nt.view("_VF_TARGET_DRIVER", node.data)
            if target.VerifiedData:
                yield (
                    target,
                    nt.view("_VF_TARGET_VERIFIED_DRIVER_DATA", target.VerifiedData),
                )


def outstanding(nt: Nt, data: View) -> Iterator[Allocation]:
    """Allocations a driver has not freed: the in-use slots of its pool-entry pages.

    A free slot holds the link of the driver's free list in the place of the address, and zeros; no
    verified allocation has zero bytes.
    """
    entry_size = nt.record("_VI_POOL_ENTRY").size
    page = _slist_first(nt, data.at("PoolPageHeaders"))
    for _ in range(NODE_LIMIT):
        if not page:
            return
        for slot in range(page + entry_size, page + PAGE - entry_size + 1, entry_size):
            entry = nt.view("_VI_POOL_ENTRY", slot).InUse
            size = entry.NumberOfBytes
            if size:
                yield Allocation(
                    entry.VirtualAddress, size, entry.Tag & 0xFFFFFFFF, entry.CallingAddress
                )
        page = nt.view("_VI_POOL_PAGE_HEADER", page).NextPage & -PAGE


def _slist_first(nt: Nt, header: int) -> int:
    """First entry of an SLIST_HEADER (x64: bits 4..63 of the second qword)."""
    return nt.read_integer(header + 8, 8) & ~0xF
