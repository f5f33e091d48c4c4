"""`.dump`: the target's memory into a crash dump file."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kdsim.debugger import kernel
from kdsim.debugger.backends.base import Caps, StopEvent
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import dumping, smalldump
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.paging import USER_END
from kdsim.debugger.report import bugcheck_data
from kdsim.dump.header import NO_BUGCHECK, DumpException, DumpHeader, Run
from kdsim.dump.pages import write_bitmap, write_full
from kdsim.dump.triage import DumpedDriver, write_small
from kdsim.errors import ArgumentError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.dump.triage import Triage


_KINDS = {
    "f": "Full kernel dump",
    "fy": "Full kernel dump",
    "k": "Kernel memory bitmap dump",
    "ka": "Active kernel and user memory bitmap dump",
    "m": "mini kernel dump",
}
"""What each option writes, in the words the command announces it with."""


@dataclass(frozen=True, slots=True)
class DumpWritten:
    """A dump file that was written."""

    path: str
    kind: str
    size: int

    def lines(self) -> Iterator[str]:
        yield "Dump successfully written"


@command(
    ".dump",
    summary="Write the target's memory to a crash dump file.",
    group="crash analysis",
    params=(Param("file", "file", "its name"),),
    options=(
        Option("/f", "all physical memory"),
        Option("/k", "the pages in use of the kernel"),
        Option("/ka", "the pages in use, of the kernel and of processes"),
        Option("/m", "registers, the stack and what they point to; the default"),
        Option("/o", "overwrite an existing file"),
        Option("/u", "add date and time to the name"),
        Option("/c", "keep a comment in the file", "<text>"),
    ),
    needs=Caps.READ | Caps.REGISTERS,
    see_also=(".crash", ".bugcheck", "vertarget"),
)
def dump(session: Session, args: Arguments, name: str) -> DumpWritten:
    """Reads physical memory page by page, and nt!MmPhysicalMemoryBlock, nt!MmPfnDatabase."""
    given = args.lone_switches("o", "u", "ba", "b", "c:", "fy", "f", "ka", "k", "m")
    path = Path(args.rest().strip('"'))
    if not path.name:
        raise args.error()
    kind = _kind(given)
    if "u" in given:
        now = datetime.datetime.fromtimestamp(session.clock(), datetime.UTC)
        path = path.with_name(f"{path.stem}_{now:%Y-%m-%d_%H-%M-%S}{path.suffix}")
    nt = Nt(session.symbols, session.memory)
    runs = () if kind == "m" else dumping.memory_runs(nt)
    header = _header(session, nt, runs, given.get("c", ""))
    try:
        with path.open("wb" if "o" in given else "xb") as stream:
            session.out.line(f"Creating {path} - {_KINDS[kind]}")
            try:
                _write(session, nt, header, stream, kind)
            except BaseException:
                # Half a dump is none.
                path.unlink()
                raise
            return DumpWritten(str(path), _KINDS[kind], stream.tell())
    except FileExistsError as error:
        raise UserError(f"{path} exists already; /o overwrites it") from error
    except OSError as error:
        raise UserError(f"Unable to create file '{path}': {error.strerror}") from error


def _kind(given: dict[str, str]) -> str:
    """What is asked for; ArgumentError for a package, which is not made."""
    if "b" in given or "ba" in given:
        raise ArgumentError("CAB files are not written; leave out /b")
    return [kind for kind in ("m", *given) if kind in _KINDS][-1]


def _write(session: Session, nt: Nt, header: DumpHeader, stream: BinaryIO, kind: str) -> None:
    read = session.backend.read_physical
    if kind == "m":
        write_small(stream, header, _small(session, nt, header))
        return
    if kind in ("f", "fy"):
        progress = write_full(stream, header, read)
    else:
        only = kind == "k"
        pages = dumping.active_pages(nt, header.runs, kernel_only=only)
        progress = write_bitmap(stream, header, pages, read, kernel_only=only)
    for _ in progress:
        session.check_interrupt()


def _small(session: Session, nt: Nt, header: DumpHeader) -> Triage:
    drivers = [
        DumpedDriver(m.image_path or m.image_name, m.base, m.size, m.timestamp, m.checksum)
        for m in session.modules.space.modules
        if m.base > USER_END and not m.unloaded
    ]
    matters = (header.exception.address, *header.exception.parameters, *header.bugcheck[1:])
    context = session.live_registers.context
    return smalldump.contents(nt, session.processor, context, drivers, matters)


def _header(session: Session, nt: Nt, runs: tuple[Run, ...], comment: str) -> DumpHeader:
    version = session.version
    event = session.stopped_by
    exception = DumpException()
    if isinstance(event, StopEvent):
        exception = DumpException(event.code, event.flags, event.address, event.parameters)
    crash = bugcheck_data(session)
    registers = session.live_registers
    shared = nt.view("_KUSER_SHARED_DATA", kernel.SHARED_USER_DATA)
    return DumpHeader(
        major=version.major,
        minor=version.minor,
        directory_table_base=registers.special.get("cr3"),
        pfn_database=nt.pointer("MmPfnDatabase"),
        module_list=version.module_list,
        process_head=nt.address("PsActiveProcessHead"),
        processors=session.processors,
        data_block=nt.address("KdDebuggerDataBlock"),
        runs=runs,
        context=registers.context.raw,
        exception=exception,
        bugcheck=(crash[0] & 0xFFFF_FFFF, *crash[1]) if crash else NO_BUGCHECK,
        system_time=kernel.system_time(shared.SystemTime),
        uptime=kernel.system_time(shared.InterruptTime),
        product=shared.NtProductType,
        suite=shared.SuiteMask,
        comment=comment,
    )
