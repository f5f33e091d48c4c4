"""One image and its symbols: `!lmi`, `!chksym`, `!imgreloc`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import as_found
from kdsim.debugger.commands.modules import REPRODUCIBLE, is_reproducible, named
from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import ArgumentError, KdsimError
from kdsim.symbols.pdb import Pdb

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.space import Module

DEBUG_STRIPPED = 0x200
"""IMAGE_FILE_DEBUG_STRIPPED."""
AMD64 = 0x8664
# winnt.h, IMAGE_DEBUG_TYPE_*.
DEBUG_TYPES = {2: "CODEVIEW", 4: "MISC", 11: "CLSID", 12: "VC_FEATURE", 13: "POGO", 16: "REPRO"}


class DebugData(NamedTuple):
    """One entry of the debug directory."""

    type: str
    size: int
    rva: int
    raw_offset: int


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """An image, its debug data and its symbols.

    Attributes:
        asked: what the user called it.
        age, guid, pdb_name: of the CODEVIEW entry.
        status: what kind of symbols it has.
    """

    asked: str
    module: str
    base: int
    image_name: str
    machine: int
    timestamp: int
    time: str
    size: int
    checksum: int
    characteristics: int
    debug: tuple[DebugData, ...]
    guid: str
    age: int
    pdb_name: str
    status: str
    problem: str
    pdb_path: str

    def lines(self) -> Iterator[str]:
        stripped = " stripped" if self.characteristics & DEBUG_STRIPPED else ""
        rows = (
            ("Module", self.module),
            ("Base Address", f"{self.base:016x}"),
            ("Image Name", self.image_name),
            ("Machine Type", f"{self.machine} ({'X64' if self.machine == AMD64 else 'other'})"),
            ("Time Stamp", f"{self.timestamp:x} {self.time}"),
            ("Size", f"{self.size:x}"),
            ("CheckSum", f"{self.checksum:x}"),
            ("Characteristics", f"{self.characteristics:x}{stripped}"),
            ("Debug Data Dirs", "Type  Size     VA  Pointer"),
        )
        yield f"Loaded Module Info: [{self.asked}] "
        yield from (_labelled(*row) for row in rows)
        yield from self._debug_lines()
        yield _labelled("Image Type", "MEMORY   - Image read successfully from loaded memory.")
        yield from self._symbol_lines()

    def _debug_lines(self) -> Iterator[str]:
        for entry in self.debug:
            place = f"{entry.type:>21} {entry.size:5x}, {entry.rva:5x}, {entry.raw_offset:7x}"
            if entry.type == "CODEVIEW" and self.guid:
                yield f"{place} RSDS - GUID: {{{_guid(self.guid)}}}"
                yield f"{'':15}Age: {self.age:x}, Pdb: {self.pdb_name}"
            else:
                yield f"{place} [{'Data not mapped' if entry.size else 'no data'}]"

    def _symbol_lines(self) -> Iterator[str]:
        if self.pdb_path:
            kind = "private symbols & lines" if self.status == "private pdb" else "public symbols"
            loaded = "Symbols loaded successfully from symbol store."
            yield _labelled("Symbol Type", f"PDB      - {loaded}")
            yield f"{'':17}{self.pdb_path}"
            yield _labelled("Load Report", f"{kind}, not source indexed")
            yield f"{'':17}{self.pdb_path}"
        else:
            export = self.status == "export"
            kind = "EXPORT  " if export else "NONE    "
            yield _labelled("Symbol Type", f"{kind} - {self.problem}")
            yield _labelled("Load Report", "export symbols" if export else "no symbols loaded")


def _labelled(label: str, value: str) -> str:
    return f"{label:>15}: {value}".rstrip()


@command(
    "!lmi",
    summary="A module in detail: headers, debug data, symbols.",
    group="symbols",
    params=(Param("module", "module", "name or address"),),
    needs=Caps.READ,
    see_also=("lm", "!dh"),
)
def lmi(session: Session, args: Arguments, name: str) -> ModuleInfo:
    """Reads the image's headers and debug directory from target memory."""
    text = args.rest()
    if not text:
        raise ArgumentError("!lmi needs a module's name or address")
    module = named(session, text)
    session.symbols.load(module)
    image, code = module.image, module.image.codeview
    return ModuleInfo(
        asked=text,
        module=module.name,
        base=module.base,
        image_name=module.image_name,
        machine=image.machine,
        timestamp=module.timestamp,
        time=REPRODUCIBLE if is_reproducible(module) else times.image_time(module.timestamp),
        size=module.size,
        checksum=module.checksum,
        characteristics=image.characteristics,
        debug=tuple(
            DebugData(DEBUG_TYPES.get(e.type, f"TYPE {e.type}"), e.size, e.rva, e.raw_offset)
            for e in image.debug_entries
        ),
        guid=code.guid if code else "",
        age=code.age if code else 0,
        pdb_name=code.pdb_name if code else "",
        status=module.status,
        problem=module.problem,
        pdb_path=str(module.pdb_path) if module.pdb else "",
    )


def _guid(text: str) -> str:
    """`606FF669-409B-00F7-FC8C-61A9C1670129`."""
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return "-".join(parts)


@dataclass(frozen=True, slots=True)
class SymbolCheck:
    """What an image wants of its symbol file, and what the file is."""

    image_name: str
    timestamp: int
    size: int
    pdb_name: str
    guid: str
    age: int
    loaded: str
    found_guid: str
    found_age: int

    @property
    def matches(self) -> bool:
        return (self.guid, self.age) == (self.found_guid, self.found_age)

    def lines(self) -> Iterator[str]:
        yield self.image_name
        yield f"    Timestamp: {self.timestamp:08X}"
        yield f"  SizeOfImage: {self.size:X}"
        yield f"          pdb: {self.pdb_name}"
        yield f"      pdb sig: {_guid(self.guid)}"
        yield f"          age: {self.age:x}"
        yield ""
        if not self.loaded:
            yield "No symbol file is loaded."
            return
        name = PurePath(self.loaded).name
        yield f"Loaded pdb is {self.loaded}"
        yield ""
        yield name
        yield f"      pdb sig: {_guid(self.found_guid)}"
        yield f"          age: {self.found_age:x}"
        yield ""
        yield f"{'MATCH' if self.matches else 'MISMATCH'}: {name} and {self.image_name}"


@command(
    "!chksym",
    "!itoldyouso",
    summary="Whether an image and its symbol file belong together.",
    group="symbols",
    params=(
        Param("module", "module", "name or address"),
        Param("pdb", "file", "check this file instead of the loaded one", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!lmi", "lm", ".reload"),
)
def check_symbols(session: Session, args: Arguments, name: str) -> SymbolCheck:
    """Compares signature and age of the image's debug directory with those of the PDB."""
    text = args.word()
    file = args.rest().strip('"')
    if not text:
        raise ArgumentError(f"{name} needs a module's name or address")
    module = named(session, text)
    session.symbols.load(module)
    code = module.image.codeview
    if code is None:
        raise ArgumentError(f"{module.image_name} names no PDB")
    pdb = Pdb.open(Path(file)) if file else module.pdb
    loaded = file or (str(module.pdb_path) if module.pdb_path else "")
    return SymbolCheck(
        module.image_name,
        module.timestamp,
        module.size,
        code.pdb_name,
        code.guid,
        code.age,
        loaded,
        pdb.guid if pdb else "",
        pdb.age if pdb else 0,
    )


@dataclass(frozen=True, slots=True)
class Relocation:
    """Where an image lies, and where its file wanted it."""

    base: int
    module: str
    preferred: int
    problem: str

    def line(self) -> str:
        place = f"{self.base:016x} {self.module} -"
        if self.problem:
            return f"{place} {self.problem}"
        if self.preferred == self.base:
            return f"{place} at preferred address"
        return f"{place} RELOCATED from {self.preferred:016x}"


@dataclass(frozen=True, slots=True)
class Relocations:
    images: tuple[Relocation, ...]

    def lines(self) -> Iterator[str]:
        yield from (image.line() for image in self.images)


@command(
    "!imgreloc",
    summary="Which images lie where they were linked for.",
    group="symbols",
    params=(Param("base", "module", "only this one", optional=True),),
    needs=Caps.READ,
    see_also=("lm", "!dh"),
)
def image_relocations(session: Session, args: Arguments, name: str) -> Relocations:
    """The preferred base is the one in the image file; the loader changes the mapped header."""
    text = args.rest()
    chosen = [named(session, text)] if text else session.symbols.modules
    ordered = sorted(chosen, key=lambda module: module.base)
    return as_found(session, map(_relocation, ordered), Relocations)


def _relocation(module: Module) -> Relocation:
    try:
        return Relocation(module.base, module.name, module.image.image_base, "")
    except KdsimError as error:
        return Relocation(module.base, module.name, 0, str(error))
