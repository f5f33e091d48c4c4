"""`!analyze -hang`: the locks the system holds and the DPC queues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.inspect import processes, resources
from kdsim.debugger.inspect.nt import Nt

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


@dataclass(frozen=True, slots=True)
class Contention:
    """A resource that threads wait for."""

    place: str
    waiting: int
    owners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProcessorLoad:
    processor: int
    thread: int
    idle: bool
    dpc_depth: int


@dataclass(frozen=True, slots=True)
class HangReport:
    """What threads wait for, and what each processor runs."""

    resources: tuple[Contention, ...]
    processors: tuple[ProcessorLoad, ...]

    def lines(self) -> Iterator[str]:
        yield "Scanning for threads blocked on locks ..."
        for one in self.resources:
            owners = ", ".join(f"{owner:016x}" for owner in one.owners)
            yield f"  Resource {one.place}: {one.waiting} threads wait for it; owned by {owners}"
        yield "Scan of the processors:"
        for cpu in self.processors:
            thread = f"thread {cpu.thread:016x}{' (idle)' if cpu.idle else ''}"
            yield f"  {cpu.processor}: {thread}, DPC queue depth {cpu.dpc_depth}"


def report(session: Session, nt: Nt) -> HangReport:
    contended = tuple(
        Contention(
            session.symbols.format(resource.address),
            len(resource.exclusive_waiters) + len(resource.shared_waiters),
            tuple(owner.thread for owner in resource.owners),
        )
        for resource in resources.contended(nt)
    )
    prcbs = [processes.prcb(nt, number) for number in range(processes.processor_count(nt))]
    loads = (
        ProcessorLoad(
            number,
            prcb.CurrentThread,
            prcb.CurrentThread == prcb.IdleThread,
            prcb.DpcData[0].DpcQueueDepth,
        )
        for number, prcb in enumerate(prcbs)
    )
    return HangReport(contended, tuple(loads))
