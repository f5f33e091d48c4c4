"""`!analyze -hang`: the locks the system holds and the DPC queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.inspect import processes, resources
from kdsim.debugger.inspect.nt import Nt

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


def report(session: Session, nt: Nt) -> list[str]:
    """What threads wait for, and what each processor runs."""
    lines = ["Scanning for threads blocked on locks ..."]
    for resource in resources.contended(nt):
        owners = ", ".join(f"{owner.thread:016x}" for owner in resource.owners)
        waiting = len(resource.exclusive_waiters) + len(resource.shared_waiters)
        place = session.symbols.format(resource.address)
        lines.append(f"  Resource {place}: {waiting} threads wait for it; owned by {owners}")
    lines.append("Scan of the processors:")
    for number in range(processes.processor_count(nt)):
        prcb = processes.prcb(nt, number)
        idle = " (idle)" if prcb.CurrentThread == prcb.IdleThread else ""
        depth = prcb.DpcData[0].DpcQueueDepth
        lines.append(f"  {number}: thread {prcb.CurrentThread:016x}{idle}, DPC queue depth {depth}")
    return lines
