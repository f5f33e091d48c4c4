"""`.imgscan`: image headers anywhere in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import Option, command
from kdsim.debugger.memory_search import occurrences
from kdsim.debugger.paging import NO_EXECUTE, PAGE_SIZE, WRITABLE
from kdsim.debugger.text import address as tick
from kdsim.errors import FormatError, KdsimError, MemoryFault
from kdsim.symbols.pe import PeImage

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SIGNATURE = b"MZ"
DEFAULT_SIZE = 0x10000
"""Searched when /r names an address alone."""
EVERYTHING = (0, 1 << 64)

# winnt.h: PAGE_* by (writable, executable), MEM_*.
PROTECTIONS = {(False, False): 0x02, (True, False): 0x04, (False, True): 0x20, (True, True): 0x40}
MEM_IMAGE, MEM_PRIVATE = 0x1000000, 0x20000


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A header; size is 0 and the name empty for one that is no image of ours."""

    address: int
    protection: int
    size: int
    name: str

    def lines(self) -> Iterator[str]:
        kind = MEM_IMAGE if self.size else MEM_PRIVATE
        yield (
            f"MZ at {tick(self.address)}, prot {self.protection:08x}, type {kind:08x}"
            f" - size {self.size:x}"
        )
        if self.name:
            yield f"  Name: {self.name}"


@dataclass(frozen=True, slots=True)
class FoundImages:
    images: tuple[FoundImage, ...]

    def lines(self) -> Iterator[str]:
        for image in self.images:
            yield from image.lines()


@command(
    ".imgscan",
    summary="Find image headers in memory.",
    group="symbols",
    options=(
        Option("/r", "where to look; all memory without it", "<range>"),
        Option("/l", "add what is found to the module list"),
        Option("/v", "say where it looks"),
    ),
    needs=Caps.READ,
    see_also=("lm", "!dh"),
)
def scan(session: Session, args: Arguments, name: str) -> FoundImages:
    start, end = EVERYTHING
    flags = ""
    while (flag := args.take("/r", "/l", "/v", "-r", "-l", "-v")) is not None:
        flags += flag[1]
        if flag[1] == "r":
            span = args.range(1, DEFAULT_SIZE)
            if span.address is None:
                raise args.error()
            start, end = span.address, min(span.end, 1 << 64)
    args.at_end()
    if "v" in flags:
        session.out.line(f"*** Checking {tick(start)} - {tick(end - 1)}")
    return in_pieces(session, _images(session, start, end, load="l" in flags), FoundImages)


def _images(session: Session, start: int, end: int, *, load: bool) -> Iterator[FoundImage]:
    memory = session.memory
    for va in occurrences(memory, start, end, SIGNATURE, session.check_interrupt):
        if va % PAGE_SIZE:
            continue
        found = _look_at(session, va)
        if load and found.size and session.symbols.module_at(va) is None:
            name = found.name or f"image{va:x}"
            session.symbols.add(PurePosixPath(name).stem, va, found.size, image_name=name)
        yield found


def _look_at(session: Session, va: int) -> FoundImage:
    protection = PROTECTIONS[_allowed(session, va)]
    try:
        image = PeImage.from_memory(session.memory, va)
        size = image.size_of_image
    except (FormatError, MemoryFault):
        return FoundImage(va, protection, 0, "")
    try:
        name = image.exports.name
    except (FormatError, MemoryFault):
        name = ""
    return FoundImage(va, protection, size, name)


def _allowed(session: Session, va: int) -> tuple[bool, bool]:
    """Whether the page tables allow writing and executing."""
    try:
        entries = [entry.value for entry in session.memory.page_tables().walk(va)]
    except KdsimError:
        return False, False
    writable = all(value & WRITABLE for value in entries)
    return writable, not any(value & NO_EXECUTE for value in entries)
