"""`!fileobj`: a file object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import devices
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

IO_TYPE_FILE = 5
ACCESS = ("Read", "Write", "Delete")
SHARED = ("SharedRead", "SharedWrite", "SharedDelete")
# wdm.h, FO_*.
FILE_FLAGS = {
    0x1: "File Open",
    0x2: "Synchronous IO",
    0x4: "Alertable IO",
    0x8: "No Intermediate Buffering",
    0x10: "Write Through",
    0x20: "Sequential Only",
    0x40: "Cache Supported",
    0x80: "Named Pipe",
    0x100: "Stream File",
    0x200: "MailSlot",
    0x400: "Generate Audit On Close",
    0x800: "Direct Device Open",
    0x1000: "File Modified",
    0x2000: "File Size Changed",
    0x4000: "Cleanup Complete",
    0x8000: "Temporary File",
    0x10000: "Delete On Close",
    0x20000: "Opened Case Sensitive",
    0x40000: "Handle Created",
    0x80000: "File Fast IO Read",
    0x100000: "Random Access",
    0x200000: "File Open Cancelled",
    0x400000: "Volume Open",
    0x1000000: "Remote Origin",
    0x8000000: "Section Minimum Store",
}


@dataclass(frozen=True, slots=True)
class FileReport:
    """One FILE_OBJECT.

    Attributes:
        related: file object its name is relative to.
        cache: name and address of what the cache manager keeps for it.
    """

    name: str
    device: int
    driver: str
    vpb: int
    related: int
    access: tuple[str, ...]
    signalled: bool
    flags: int
    contexts: tuple[int, int]
    offset: int
    cache: tuple[tuple[str, int], ...]

    def lines(self) -> Iterator[str]:
        yield ""
        yield self.name
        yield ""
        if self.related:
            yield f"Related File Object: 0x{self.related:016x}"
            yield ""
        yield f"Device Object: 0x{self.device:016x}   {self.driver}"
        yield f"Vpb: 0x{self.vpb:016x}" if self.vpb else "Vpb is NULL"
        if self.signalled:
            yield "Event signalled"
        if self.access:
            yield f"Access: {' '.join(self.access)} "
        yield ""
        yield f"Flags:  0x{self.flags:x}"
        yield from (f"\t{word}" for bit, word in FILE_FLAGS.items() if self.flags & bit)
        yield ""
        yield f"FsContext: 0x{self.contexts[0]:016x}\tFsContext2: 0x{self.contexts[1]:016x}"
        yield f"CurrentByteOffset: {self.offset:x}"
        if self.cache:
            yield "Cache Data:"
            yield from (f"  {label}: {place:016x}" for label, place in self.cache)


@command(
    "!fileobj",
    summary="A file object.",
    group="I/O",
    params=(Param("file", "expression", "its address"),),
    needs=Caps.READ,
    see_also=("!irp", "!devobj"),
)
def show_file(session: Session, args: Arguments, name: str) -> FileReport:
    """Reads the FILE_OBJECT and its SECTION_OBJECT_POINTERS."""
    address = args.expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    view = nt.view("_FILE_OBJECT", address).snapshot()
    if view.Type != IO_TYPE_FILE:
        raise ArgumentError(f"{address:016x} is not a file object")
    live = nt.view("_FILE_OBJECT", address)
    words = tuple(word for word in (*ACCESS, *SHARED) if view[_field(word)])
    return FileReport(
        name=nt.unicode(live.FileName) if live.FileName.Length else "",
        device=view.DeviceObject,
        driver=devices.driver_name(nt, view.DeviceObject),
        vpb=view.Vpb,
        related=view.RelatedFileObject,
        access=words,
        signalled=bool(view["Event.Header.SignalState"]),
        flags=view.Flags,
        contexts=(view.FsContext, view.FsContext2),
        offset=view.CurrentByteOffset.QuadPart,
        cache=_cache(nt, view.SectionObjectPointer, view.PrivateCacheMap),
    )


def _field(word: str) -> str:
    return word if word.startswith("Shared") else f"{word}Access"


def _cache(nt: Nt, pointers: int, private: int) -> tuple[tuple[str, int], ...]:
    rows = [("Private Cache Map", private)] if private else []
    if pointers:
        section = nt.view("_SECTION_OBJECT_POINTERS", pointers)
        rows.append(("Section Object Pointers", pointers))
        rows.append(("Shared Cache Map", section.SharedCacheMap))
        rows.append(("Data Section Object", section.DataSectionObject))
        rows.append(("Image Section Object", section.ImageSectionObject))
    return tuple(row for row in rows if row[1])
