"""`!dh`: the headers of an image in target memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import HELP_LETTER, Option, Param, command
from kdsim.errors import ArgumentError, FormatError
from kdsim.symbols.pe import PeImage, Section

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

# winnt.h, IMAGE_FILE_*.
FILE_CHARACTERISTICS = {
    0x1: "Relocations stripped",
    0x2: "Executable",
    0x20: "App can handle >2gb addresses",
    0x100: "32 bit word machine",
    0x1000: "System",
    0x2000: "DLL",
}
DIRECTORY_NAMES = (
    "Export",
    "Import",
    "Resource",
    "Exception",
    "Security",
    "Base Relocation",
    "Debug",
    "Description",
    "Special",
    "Thread Storage",
    "Load Configuration",
    "Bound Import",
    "Import Address Table",
    "Delay Import",
    "COR20 Header",
    "Reserved",
)
CODE_SIZES = ("code", "initialized data", "uninitialized data")
RESERVE_SIZES = ("stack reserve", "stack commit", "heap reserve", "heap commit")
# winnt.h, IMAGE_DLLCHARACTERISTICS_*.
DLL_CHARACTERISTICS = {
    0x20: "High entropy VA supported",
    0x40: "Dynamic base",
    0x80: "Force integrity",
    0x100: "NX compatible",
    0x200: "No isolation",
    0x400: "No SEH",
    0x800: "Do not bind",
    0x2000: "WDM driver",
    0x4000: "Guard",
    0x8000: "Terminal server aware",
}
DEBUG_TYPES = {1: "coff", 2: "cv", 3: "fpo", 4: "misc", 13: "pogo", 16: "repro"}
COFF_FIELDS = (
    "file pointer to relocation table",
    "file pointer to line numbers",
    "number of relocations",
    "number of line numbers",
)
TRAILING = re.compile(r"\s+-([fsa])$")
ALIGNMENT = 0x00F00000
"""IMAGE_SCN_ALIGN_*; linked images leave it empty."""
SUBSYSTEMS = {1: "Native", 2: "Windows GUI", 3: "Windows CUI"}
MACHINES = {0x8664: "X64", 0x14C: "i386", 0xAA64: "ARM64"}
# winnt.h, IMAGE_SCN_*.
SECTION_FLAGS = {
    0x20: "Code",
    0x40: "Initialized Data",
    0x80: "Uninitialized Data",
    0x02000000: "Discardable",
    0x04000000: "Not Cached",
    0x08000000: "Not Paged",
    0x10000000: "Shared",
}


@dataclass(frozen=True, slots=True)
class Headers:
    """The parts of `!dh` that were asked for."""

    image: PeImage
    with_file: bool
    with_sections: bool

    def lines(self) -> Iterator[str]:
        if self.with_file:
            yield from self._file()
            yield from self._optional()
            yield from self._directories()
        if self.with_sections:
            for number, section in enumerate(self.image.sections, 1):
                yield from _section_lines(number, section)
            if self.image.debug_entries:
                yield from self._debug()

    def _file(self) -> Iterator[str]:
        image = self.image
        yield ""
        yield "File Type: DLL" if image.characteristics & 0x2000 else "File Type: EXECUTABLE IMAGE"
        yield "FILE HEADER VALUES"
        yield f"{image.machine:8X} machine ({MACHINES.get(image.machine, 'unknown')})"
        yield f"{len(image.sections):8X} number of sections"
        stamp = "" if image.reproducible else times.image_time(image.timestamp)
        yield f"{image.timestamp:8X} time date stamp {stamp}".rstrip()
        yield ""
        yield f"{image.symbol_table[0]:8X} file pointer to symbol table"
        yield f"{image.symbol_table[1]:8X} number of symbols"
        yield f"{image.optional_size:8X} size of optional header"
        yield f"{image.characteristics:8X} characteristics"
        for bit, name in FILE_CHARACTERISTICS.items():
            if image.characteristics & bit:
                yield f"{'':12}{name}"
        yield ""

    def _optional(self) -> Iterator[str]:
        image = self.image
        yield "OPTIONAL HEADER VALUES"
        yield f"{0x20B if image.is_64 else 0x10B:8X} magic #"
        linker, os_version, image_version, subsystem = (
            f"{major}.{minor:02}"
            for major, minor in (
                image.linker_version,
                image.os_version,
                image.image_version,
                image.subsystem_version,
            )
        )
        yield f"{linker:>8} linker version"
        for size, what in zip(image.code_sizes, CODE_SIZES, strict=True):
            yield f"{size:8X} size of {what}"
        yield f"{image.entry_rva:8X} address of entry point"
        yield f"{image.code_rva:8X} base of code"
        yield f"{'':9}----- new -----"
        yield f"{image.image_base:016x} image base"
        yield f"{image.section_alignment:8X} section alignment"
        yield f"{image.file_alignment:8X} file alignment"
        yield f"{image.subsystem:8X} subsystem ({SUBSYSTEMS.get(image.subsystem, 'unknown')})"
        yield f"{os_version:>8} operating system version"
        yield f"{image_version:>8} image version"
        yield f"{subsystem:>8} subsystem version"
        yield f"{image.size_of_image:8X} size of image"
        yield f"{image.size_of_headers:8X} size of headers"
        yield f"{image.checksum:8X} checksum"
        for size, what in zip(image.reserve_sizes, RESERVE_SIZES, strict=True):
            yield f"{size:016x} size of {what}"
        yield f"{image.dll_characteristics:8X}  DLL characteristics"
        for bit, name in DLL_CHARACTERISTICS.items():
            if image.dll_characteristics & bit:
                yield f"{'':12}{name}"

    def _directories(self) -> Iterator[str]:
        for directory, name in zip(self.image.directories, DIRECTORY_NAMES, strict=True):
            yield f"{directory.rva:8X} [{directory.size:8X}] address [size] of {name} Directory"
        yield ""

    def _debug(self) -> Iterator[str]:
        entries = self.image.debug_entries
        view = self.image.codeview
        yield ""
        yield f"Debug Directories({len(entries)})"
        yield "\tType       Size     Address  Pointer"
        for entry in entries:
            kind = DEBUG_TYPES.get(entry.type, f"({entry.type:6})")
            row = f"\t{kind:8} {entry.size:6x} {entry.rva:11x} {entry.raw_offset:8x}"
            if kind == "cv" and view is not None:
                row += f"\tFormat: RSDS, guid, {view.age:x}, {view.pdb_name}"
            yield row
        yield ""


def _section_lines(number: int, section: Section) -> Iterator[str]:
    flags = section.characteristics
    yield ""
    yield f"SECTION HEADER #{number:X}"
    yield f"{section.name:>8} name"
    yield f"{section.virtual_size:8X} virtual size"
    yield f"{section.rva:8X} virtual address"
    yield f"{section.raw_size:8X} size of raw data"
    yield f"{section.raw_offset:8X} file pointer to raw data"
    for number, what in zip(section.coff, COFF_FIELDS, strict=True):
        yield f"{number:8X} {what}"
    yield f"{flags:8X} flags"
    for bit, name in SECTION_FLAGS.items():
        if flags & bit:
            yield f"{'':9}{name}"
    if not flags & ALIGNMENT:
        yield f"{'':9}(no align specified)"
    access = " ".join(
        word
        for bit, word in ((1 << 29, "Execute"), (1 << 30, "Read"), (1 << 31, "Write"))
        if flags & bit
    )
    yield f"{'':9}{access}"


@command(
    "!dh",
    summary="Headers of an image.",
    group="symbols",
    params=(Param("base", "module", "module name or image base"),),
    options=(
        Option("-f", "file headers"),
        Option("-s", "section headers"),
        Option("-a", "both, as without a switch"),
        HELP_LETTER,
    ),
    needs=Caps.READ,
    see_also=("!lmi", "lm"),
)
def dh(session: Session, args: Arguments, name: str) -> Headers:
    """Reads the mapped image."""
    given = set(args.switches("f", "s", "a"))
    text = args.rest()
    while (after := TRAILING.search(text)) is not None:
        # `!dh nt -f` is what most people type.
        given.add(after[1])
        text = text[: after.start()]
    if not text:
        raise ArgumentError("!dh needs a module's name or base address")
    base = session.symbols.module_named(text)
    address = base.base if base else session.evaluate(text)
    try:
        image = PeImage.from_memory(session.memory, address, name=f"{address:#x}")
    except FormatError as error:
        raise ArgumentError(f"no image there: {error}") from error
    only_file = "f" in given and "a" not in given
    only_sections = "s" in given and "a" not in given
    return Headers(
        image,
        with_file=not only_sections or only_file,
        with_sections=not only_file or only_sections,
    )
