"""`!verifier`: Driver Verifier's options, statistics and what each driver holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands import verifier_logs
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import modules, pool, verifier
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.language.commands import Message
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

DRIVERS, ALLOCATIONS = 0x1, 0x2
NOT_CONFIGURED = 0xFFFFFFFF
"""nt!MmVerifyDriverLevel of a machine that has no settings."""


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


@command(
    "!verifier",
    summary="Driver Verifier: options, statistics, what verified drivers hold, its logs.",
    group="pool",
    params=(
        Param(
            "flags",
            "flags",
            "what to show besides options and statistics",
            optional=True,
            bits=(
                (DRIVERS, "verified drivers"),
                (ALLOCATIONS, "what they have allocated"),
                (4, "faults that were injected"),
                (8, "changes of the IRQL"),
                (0x40, "requests that are pending"),
                (0x80, "allocations and frees of pool"),
                (0x100, "IRPs"),
                (0x200, "critical regions"),
                (0x400, "cancelled IRPs"),
                (0x800, "faults that were injected systematically"),
            ),
        ),
        Param(
            "image",
            "text",
            "only this driver; with one log's flag alone: how many entries, or an address",
            optional=True,
        ),
    ),
    options=(Option("-disable", "clear the settings until the next boot"),),
    needs=Caps.READ,
    see_also=("!poolused", "!analyze"),
)
def show_verifier(session: Session, args: Arguments, name: str) -> Verification | Message:
    """Reads: nt!MmVerifierData, nt!VfSuspectDriversList, nt!ViTargetDriversAvl, the logs."""
    nt = Nt(session.symbols, session.memory)
    if args.take("-disable") is not None:
        args.at_end()
        return _disable(nt)
    flags = args.optional_expression() or 0
    if flags in verifier_logs.LOGS:
        quantity = args.optional_expression()
        args.at_end()
        return Verification(None, (verifier_logs.read(session, nt, flags, quantity),))
    image = args.rest().lower()
    report = _report(session, nt, flags, image)
    logs = tuple(
        verifier_logs.read(session, nt, bit, None) for bit in verifier_logs.LOGS if flags & bit
    )
    return Verification(report, logs)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was asked for: the state, and logs."""

    report: VerifierReport | None
    logs: tuple[verifier_logs.Log, ...]

    def lines(self) -> Iterator[str]:
        if self.report is not None:
            yield from self.report.lines()
        for log in self.logs:
            if self.report is not None:
                yield from log.heading()
            yield from log.lines()


def _report(session: Session, nt: Nt, flags: int, image: str) -> VerifierReport:
    with_allocations = flags & (DRIVERS | ALLOCATIONS) == DRIVERS | ALLOCATIONS
    drivers = tuple(
        driver
        for driver in verifier.drivers(nt, with_allocations=with_allocations)
        if image in ("", driver.name.lower())
    )
    if image and flags & DRIVERS and not drivers:
        raise ArgumentError(f"{image} is not being verified")
    callers = {a.caller: _caller(session, nt, a.caller) for d in drivers for a in d.allocations}
    return VerifierReport(
        level=verifier.level(nt),
        statistics=verifier.statistics(nt),
        drivers=drivers,
        callers=callers,
        with_allocations=with_allocations,
        with_drivers=bool(flags & DRIVERS),
    )


def _disable(nt: Nt) -> Message:
    """Clear the options of the running kernel; its drivers keep the routines they are bound to."""
    nt.view("_MM_DRIVER_VERIFIER_DATA", nt.address("MmVerifierData")).set("Level", 0)
    nt.memory.write(nt.address("MmVerifyDriverLevel"), NOT_CONFIGURED.to_bytes(4, "little"))
    return Message("Driver Verifier settings are cleared until the next boot.")


def _caller(session: Session, nt: Nt, address: int) -> str:
    """Symbol of a caller; a module that has gone is named from the unloaded list."""
    text = session.symbols.format(address)
    if "!" in text:
        return text
    gone = modules.unloaded_at(nt, address)
    return f"<Unloaded_{gone.name}>+0x{address - gone.start:x}" if gone else text
