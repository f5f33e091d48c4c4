"""I/O requests: `!irp`, `!irpfind`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import as_found
from kdsim.debugger.commands.poolfind import POOL, search
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import devices, irps
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError, KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

STACK_HEADER = "     cmd  flg cl Device   File     Completion-Context"
FIND_HEADER = (
    "  Irp              [ Thread ]         irpStack: (Mj,Mn)   DevObj            [Driver]"
    "         MDL Process"
)


@dataclass(frozen=True, slots=True)
class IrpReport:
    """One IRP.

    Attributes:
        fields: name and text of each, for the detailed display.
        drivers: names by device; `routines`: symbols by address.
    """

    irp: irps.Irp
    fields: tuple[tuple[str, str], ...]
    drivers: dict[int, str]
    routines: dict[int, str]

    def lines(self) -> Iterator[str]:
        irp = self.irp
        counts = f"CurrentLocation {irp.current_location} > StackCount {irp.stack_count}"
        if irp.complete:
            yield f"Irp is complete ({counts})"
        else:
            stacks = f"{irp.stack_count} stacks {irp.current_location} is current"
            yield f"Irp is active with {stacks} (= 0x{irp.current:x})"
        mdl = f"Mdl={irp.mdl:x}:" if irp.mdl else "No Mdl:"
        buffer = irp.system_buffer
        system = f"System buffer={buffer:x}:" if buffer else "No System Buffer:"
        yield f" {mdl} {system} Thread {irp.thread:08x}:  Irp stack trace.  "
        for name, text in self.fields:
            yield f"{name} = {text}"
        yield STACK_HEADER
        for number, location in enumerate(irp.stack, 1):
            yield from self._location(location, current=number == irp.current_location)

    def _location(self, location: irps.StackLocation, *, current: bool) -> Iterator[str]:
        major = irps.major_name(location.major) if location.used else "N/A"
        minor = irps.minor_name(location.major, location.minor)
        mark = ">" if current else " "
        yield f"{mark}[{major}({location.major:x}), {minor}({location.minor:x})]"
        pointers = f"{location.device:08x} {location.file:08x}"
        completion = f"{location.routine:08x}-{location.context:08x}"
        numbers = f"{location.flags:2x} {location.control:2x}"
        yield f"           {numbers} {pointers} {completion} {location.control_words}"
        driver = self.drivers.get(location.device, "")
        routine = self.routines.get(location.routine, "")
        yield f"           {driver} {routine}".rstrip()
        yield f"            Args: {' '.join(f'{value:08x}' for value in location.arguments)}"


def _report(session: Session, nt: Nt, irp: irps.Irp, *, detail: bool) -> IrpReport:
    fields: list[tuple[str, str]] = []
    if detail:
        for name, value, width in irps.all_fields(nt, irp.address):
            symbol = (
                f" {session.symbols.format(value)}" if name == "CancelRoutine" and value else ""
            )
            fields.append((name, f"{value:0{width}x}{symbol}"))
    drivers, routines = {}, {}
    for location in irp.stack:
        if location.device:
            drivers[location.device] = _driver(nt, location.device)
        if location.routine:
            routines[location.routine] = session.symbols.format(location.routine)
    return IrpReport(irp, tuple(fields), drivers, routines)


def _driver(nt: Nt, device: int) -> str:
    try:
        return devices.driver_name(nt, device)
    except KdsimError as error:
        return f"({error})"


@command(
    "!irp",
    summary="An I/O request packet and its stack.",
    group="I/O",
    params=(
        Param("irp", "expression", "its address"),
        Param("detail", "expression", "any value: all fields", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!irpfind", "!devobj", "!fileobj"),
)
def show_irp(session: Session, args: Arguments, name: str) -> IrpReport:
    """Reads the IRP and the IO_STACK_LOCATIONs behind it."""
    address = args.expression()
    detail = args.optional_expression() is not None
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    return _report(session, nt, irps.irp_at(nt, address), detail=detail)


class FoundIrp(NamedTuple):
    irp: irps.Irp
    line: str
    detail: IrpReport | None


@dataclass(frozen=True, slots=True)
class FoundIrps:
    """IRPs in pool; the title stands above the first."""

    irps: tuple[FoundIrp, ...]
    _titled: bool

    def lines(self) -> Iterator[str]:
        if self.irps and self._titled:
            yield FIND_HEADER
        for found in self.irps:
            yield found.line
            if found.detail is not None:
                yield from found.detail.lines()


@command(
    "!irpfind",
    summary="The I/O request packets in pool.",
    group="I/O",
    params=(
        POOL,
        Param("restart", "expression", "where the search begins", optional=True),
        Param(
            "criterion",
            "word",
            "only IRPs with this",
            optional=True,
            words=(
                ("arg", "an argument in one of its stack locations"),
                ("device", "a device"),
                ("fileobject", "a file object"),
                ("mdlprocess", "a process its MDLs belong to"),
                ("thread", "a thread"),
                ("userevent", "an event"),
            ),
        ),
        Param("data", "expression", "what it must be", optional=True),
    ),
    options=(Option("-v", "with the stack of each"),),
    needs=Caps.READ,
    see_also=("!irp", "!poolfind"),
)
def find_irps(session: Session, args: Arguments, name: str) -> FoundIrps:
    """Searches pool for blocks with IRP tags and prints each IRP as it is found."""
    given = args.switches("v")
    kind = args.optional_expression(0) or 0
    restart = args.optional_expression(0) or 0
    criterion, data = _criterion(args)
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    header = nt.record("_POOL_HEADER").size

    def matching() -> Iterator[FoundIrp]:
        for block in search(session, nt, irps.TAG_PATTERN, kind, restart):
            if block.end <= restart:
                continue
            start = block.address + (0 if block.big else header)
            irp = irps.in_block(nt, start, block.end - start)
            if irp is None or (criterion and not irps.matches(nt, irp, criterion, data)):
                continue
            detail = _report(session, nt, irp, detail=False) if "v" in given else None
            yield FoundIrp(irp, _find_line(nt, irp), detail)

    titled = iter((True,))
    with session.progress("Searching pool"):
        found = as_found(session, matching(), lambda rows: FoundIrps(rows, next(titled, False)))
    session.out.line()
    return found


def _criterion(args: Arguments) -> tuple[str, int]:
    word = args.word()
    if word is None:
        return "", 0
    if word.lower() not in irps.CRITERIA:
        raise ArgumentError(f"'{word}' is no criterion: {' '.join(irps.CRITERIA)}")
    return word.lower(), args.expression()


def _find_line(nt: Nt, irp: irps.Irp) -> str:
    head = f"{irp.address:016x} [{irp.thread:016x}]"
    location = irp.current_stack
    if irp.complete or location is None:
        counts = f"CurrentLocation {irp.current_location} > StackCount {irp.stack_count}"
        return f"{head} Irp is complete ({counts})"
    driver = _driver(nt, location.device) if location.device else ""
    mdl = ""
    if irp.mdl:
        mdl = f" 0x{nt.view('_MDL', irp.mdl).Process:016x}"
    codes = f"({location.major:2x},{location.minor:2x})"
    return f"{head} irpStack: {codes}  {location.device:016x} [{driver}]{mdl}"
