"""`!timer` and `!dpcs`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect import timers as system
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.kernel import SHARED_USER_DATA
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

NEVER = 1 << 63
"""Due times from here on are those of timers that never expire."""


@dataclass(frozen=True, slots=True)
class TimerReport:
    """The timers that are set.

    Attributes:
        boot: system time minus interrupt time.
        targets: what each timer does when it expires, by its address.
    """

    now: int
    boot: int
    timers: tuple[system.Timer, ...]
    targets: dict[int, str]

    def lines(self) -> Iterator[str]:
        yield "Dump system timers"
        yield ""
        low, high = self.now & 0xFFFFFFFF, self.now >> 32
        when = moment(self.boot + self.now)
        yield f"Interrupt time: {low:08x} {high:08x} [{when} ({time.tzname[0]})]"
        yield ""
        yield "List Timer            Interrupt Low/High     Fire Time              DPC/thread"
        most = 0
        for _, group in groupby(self.timers, lambda t: (t.processor, t.bucket)):
            rows = list(group)
            most = max(most, len(rows))
            for position, timer in enumerate(rows):
                yield self._row(timer, first=position == 0)
        yield ""
        yield f"Total Timers: {len(self.timers)}, Maximum List: {most}"
        yield f"Current Hand: {self.now >> 18 & 0xFF}, Maximum Search: 0"
        yield ""
        yield "Wakeable timers:"
        yield ""

    def _row(self, timer: system.Timer, *, first: bool) -> str:
        bucket = f"{timer.bucket:3}" if first else "   "
        mark = "P" if timer.periodic else " "
        low, high = timer.due & 0xFFFFFFFF, timer.due >> 32
        when = f"{'NEVER':^23}" if timer.due >= NEVER else moment(self.boot + timer.due)
        target = self.targets[timer.address]
        return f"{bucket} {timer.address:016x} {mark} {low:08x} {high:08x} [{when}]  {target}"


def moment(filetime: int) -> str:
    """` 1/15/2024 09:30:00.047`, in the local zone."""
    unix, rest = divmod(filetime - times.UNIX_EPOCH, times.TICKS)
    try:
        local = time.localtime(unix)
    except (OverflowError, ValueError, OSError):
        return f"{'':23}"
    date = f"{local.tm_mon:2}/{local.tm_mday:2}/{local.tm_year:04}"
    return f"{date} {time.strftime('%H:%M:%S', local)}.{rest // 10_000:03}"


@command(
    "!timer",
    summary="The timers that are set.",
    group="processors",
    needs=Caps.READ,
    see_also=("!dpcs", "!pcr"),
)
def timer(session: Session, args: Arguments, name: str) -> TimerReport:
    """Walks KPRCB.TimerTable of every processor."""
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    shared = nt.view("_KUSER_SHARED_DATA", SHARED_USER_DATA).snapshot()
    now = _time(shared.InterruptTime)
    found = []
    for one in system.timers(nt):
        session.check_interrupt()
        found.append(one)
    targets = {}
    for one in found:
        if one.dpc:
            targets[one.address] = session.symbols.format(one.routine)
        else:
            targets[one.address] = f"thread {one.thread:016x}" if one.thread else ""
    return TimerReport(now, _time(shared.SystemTime) - now, tuple(found), targets)


def _time(view: View) -> int:
    """A KSYSTEM_TIME."""
    return int(view.High1Time) << 32 | int(view.LowPart)


@dataclass(frozen=True, slots=True)
class DpcReport:
    """The queued DPCs and their routines' symbols."""

    dpcs: tuple[system.QueuedDpc, ...]
    symbols: dict[int, str]

    def lines(self) -> Iterator[str]:
        yield "CPU Type      KDPC       Function"
        for dpc in self.dpcs:
            yield (
                f"{dpc.processor:2}: {dpc.queue:8}: 0x{dpc.address:016x}"
                f" 0x{dpc.routine:016x} {self.symbols[dpc.routine]}"
            )


@command(
    "!dpcs",
    summary="The DPC queues.",
    group="processors",
    params=(Param("processor", "processor", "none: all", optional=True),),
    needs=Caps.READ,
    see_also=("!timer", "!pcr"),
)
def dpcs(session: Session, args: Arguments, name: str) -> DpcReport:
    """Reads KPRCB.DpcData."""
    nt = Nt(session.symbols, session.memory)
    count = processes.processor_count(nt)
    number = args.optional_expression()
    args.at_end()
    if number is not None and number >= count:
        raise ArgumentError("Cannot get PRCB address")
    wanted = range(count) if number is None else (number,)
    found = tuple(dpc for cpu in wanted for dpc in system.queued_dpcs(nt, cpu))
    symbols = {dpc.routine: session.symbols.format(dpc.routine) for dpc in found}
    return DpcReport(found, symbols)
