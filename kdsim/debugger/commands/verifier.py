"""`!verifier`: Driver Verifier's options, statistics and what each driver holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import modules, pool, verifier
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.views import View

DRIVERS, ALLOCATIONS, POOL_LOG = 0x1, 0x2, 0x80
DEFAULT_POOL_LOG_ENTRIES = 4
FRAMES_PER_ENTRY = 13

# Logs of the documentation's table that this kernel does not keep.
MISSING_LOGS = {
    0x4: "fault injection log",
    0x8: "IRQL transition log",
    0x20: "driver hang log",
    0x40: "forced-pending IRP log",
    0x100: "IRP log",
    0x200: "critical region log",
    0x400: "cancelled IRP list",
    0x800: "systematic fault log",
}


@dataclass(frozen=True, slots=True)
class AllocationLine:
    """One outstanding allocation and the symbol of its caller."""

    allocation: verifier.Allocation
    caller: str

    def __str__(self) -> str:
        a = self.allocation
        return (
            f"      0x{a.address:016x}  0x{a.size:08x}  {pool.tag_text(a.tag)}"
            f"  0x{a.caller:016x}  {self.caller}"
        )


@dataclass(frozen=True, slots=True)
class VerifierReport:
    """Level, statistics and, when asked for, the drivers."""

    level: int
    statistics: verifier.Statistics
    drivers: tuple[verifier.VerifiedDriver, ...]
    callers: dict[int, str]
    with_allocations: bool
    with_drivers: bool

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"Verify Flags Level 0x{self.level:08x}"
        yield ""
        yield "  STANDARD FLAGS:"
        yield from self._options(verifier.STANDARD_FLAGS)
        yield ""
        yield "  ADDITIONAL FLAGS:"
        yield from self._options(verifier.ADDITIONAL_FLAGS)
        yield ""
        yield "    [X] Indicates flag is enabled"
        yield ""
        yield "Summary of All Verifier Statistics"
        yield ""
        yield from _statistics_lines(self.statistics)
        if self.with_drivers:
            yield ""
            yield "Driver Verification List"
            for driver in self.drivers:
                yield ""
                yield from self._driver_lines(driver)

    def _options(self, options: dict[int, str]) -> Iterator[str]:
        for bit, name in options.items():
            mark = "X" if self.level & bit or (bit == 0 and self.level) else " "
            yield f"    [{mark}] (0x{bit:08x}) {name}"

    def _driver_lines(self, driver: verifier.VerifiedDriver) -> Iterator[str]:
        d = driver
        yield f"  MODULE: 0x{d.target:016x} {d.name} ({d.state})"
        yield ""
        yield "    Pool Allocation Statistics: ( NonPagedPool / PagedPool )"
        yield ""
        rows = (
            ("Current Pool Allocations:", d.nonpaged_count, d.paged_count),
            ("Current Pool Bytes:", d.nonpaged_bytes, d.paged_bytes),
            ("Peak Pool Allocations:", d.peak_nonpaged_count, d.peak_paged_count),
            ("Peak Pool Bytes:", d.peak_nonpaged_bytes, d.peak_paged_bytes),
        )
        for label, nonpaged, paged in rows:
            yield f"      {label:25} ( 0x{nonpaged:08X} / 0x{paged:08X} )"
        yield f"      Contiguous Memory Bytes:       0x{d.contiguous_bytes:08X}"
        yield f"      Peak Contiguous Memory Bytes:  0x{d.peak_contiguous_bytes:08X}"
        if self.with_allocations and d.allocations:
            yield ""
            yield "    Pool Allocations:"
            yield ""
            yield "      Address             Length      Tag   Caller"
            yield "      ------------------  ----------  ----  ------------------"
            for allocation in d.allocations:
                yield str(AllocationLine(allocation, self.callers[allocation.caller]))


def _statistics_lines(s: verifier.Statistics) -> Iterator[str]:
    counters = (
        ("RaiseIrqls", s.raise_irqls),
        ("AcquireSpinLocks", s.acquire_spin_locks),
        ("Synch Executions", s.synchronize_executions),
        ("Trims", s.trims),
    )
    for label, value in counters:
        yield f"  {label:39} 0x{value:x}"
    yield ""
    pools = (
        ("Pool Allocations Attempted", s.attempted),
        ("Pool Allocations Succeeded", s.succeeded),
        ("Pool Allocations Succeeded SpecialPool", s.succeeded_special),
        ("Pool Allocations With NO TAG", s.no_tag),
        ("Pool Allocations Failed", s.failed),
    )
    for label, value in pools:
        yield f"  {label:39} 0x{value:x}"
    yield ""
    sizes = (
        ("Current paged pool allocations", s.paged_count, s.paged_bytes),
        ("Peak paged pool allocations", s.peak_paged_count, s.peak_paged_bytes),
        ("Current nonpaged pool allocations", s.nonpaged_count, s.nonpaged_bytes),
        ("Peak nonpaged pool allocations", s.peak_nonpaged_count, s.peak_nonpaged_bytes),
    )
    for label, count, size in sizes:
        yield f"  {label:39} 0x{count:x} for {size:08X} bytes"


@dataclass(frozen=True, slots=True)
class PoolTrace:
    """One entry of nt!VfPoolTraces: an allocation or a free."""

    address: int
    size: int
    thread: int
    frames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class PoolLog:
    """The newest entries of the verifier's pool log."""

    capacity: int
    parsed: int
    address: int | None
    traces: tuple[PoolTrace, ...]

    def lines(self) -> Iterator[str]:
        yield ""
        yield "Log of recent kernel pool Allocate and Free operations:"
        yield ""
        yield f"There are up to 0x{self.capacity:x} entries in the log."
        yield ""
        searching = f", searching for address 0x{self.address:016x}" if self.address else ""
        yield f"Parsing 0x{self.parsed:016x} log entries{searching}."
        for trace in self.traces:
            yield ""
            yield "=" * 70
            yield (
                f"Pool block {trace.address:016x}, Size {trace.size:016x},"
                f" Thread {trace.thread:016x}"
            )
            for frame, name in trace.frames:
                yield f"{frame:016x} {name}"
        if not self.traces:
            yield ""
            yield "No matching entries."


@command(
    "!verifier",
    summary="Driver Verifier: options, statistics, what verified drivers hold.",
    group="pool",
    params=(
        Param("flags", "flags", "1 drivers, 2 their allocations, 80 pool log", optional=True),
        Param(
            "image",
            "text",
            "only this driver; with 80: how many entries, or an address",
            optional=True,
        ),
    ),
    needs=Caps.READ,
    see_also=("!poolused", "!analyze"),
)
def show_verifier(session: Session, args: Arguments, name: str) -> VerifierReport | PoolLog:
    """Reads: nt!MmVerifierData, nt!VfSuspectDriversList, nt!ViTargetDriversAvl, nt!VfPoolTraces."""
    nt = Nt(session.symbols, session.memory)
    flags = args.optional_expression() or 0
    if flags == POOL_LOG:
        quantity = args.optional_expression()
        args.at_end()
        return _pool_log(session, nt, quantity)
    if flags in MISSING_LOGS:
        raise ArgumentError(f"this kernel keeps no {MISSING_LOGS[flags]}")
    image = args.rest().lower()
    with_allocations = flags & (DRIVERS | ALLOCATIONS) == DRIVERS | ALLOCATIONS
    drivers = tuple(
        driver
        for driver in verifier.drivers(nt, with_allocations=with_allocations)
        if image in ("", driver.name.lower())
    )
    callers = {a.caller: _caller(session, nt, a.caller) for d in drivers for a in d.allocations}
    return VerifierReport(
        level=verifier.level(nt),
        statistics=verifier.statistics(nt),
        drivers=drivers,
        callers=callers,
        with_allocations=with_allocations,
        with_drivers=bool(flags & DRIVERS),
    )


def _caller(session: Session, nt: Nt, address: int) -> str:
    """Symbol of a caller; a module that has gone is named from the unloaded list."""
    text = session.symbols.format(address)
    if "!" in text:
        return text
    gone = modules.unloaded_at(nt, address)
    return f"<Unloaded_{gone.name}>+0x{address - gone.start:x}" if gone else text


def _pool_log(session: Session, nt: Nt, quantity: int | None) -> PoolLog:
    """The newest entries, newest first; a quantity that is an address filters by block."""
    capacity = nt.u32("VfPoolTracesLength")
    table = nt.pointer("VfPoolTraces")
    layout = nt.record("_VF_POOL_TRACE")
    newest = nt.u32("VfPoolTracesIndex")
    address = quantity if quantity is not None and quantity > capacity else None
    limit = DEFAULT_POOL_LOG_ENTRIES if quantity is None else quantity
    traces: list[PoolTrace] = []
    parsed = 0
    for step in range(capacity if table else 0):
        if address is None and len(traces) >= limit:
            break
        place = table + (newest - step) % capacity * layout.size
        view = nt.view("_VF_POOL_TRACE", place)
        parsed += 1
        start = view.Address & ~1
        if start and (address is None or start <= address < start + max(view.Size, 1)):
            traces.append(_trace(session, view))
    return PoolLog(capacity, parsed, address, tuple(traces))


def _trace(session: Session, view: View) -> PoolTrace:
    frames = [view.StackTrace[index] for index in range(FRAMES_PER_ENTRY)]
    named = tuple((frame, session.symbols.format(frame)) for frame in frames if frame)
    return PoolTrace(view.Address & ~1, view.Size, view.Thread, named)
