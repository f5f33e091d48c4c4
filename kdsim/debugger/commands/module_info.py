"""One image and its symbols: `!lmi`, `!chksym`, `!imgreloc`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.modules import REPRODUCIBLE, is_reproducible, named
from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import ArgumentError, KdsimError
from kdsim.symbols.pdb import Pdb

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.pe import PeImage
    from kdsim.symbols.space import Module

DEBUG_STRIPPED = 0x200
"""IMAGE_FILE_DEBUG_STRIPPED."""
# winnt.h, IMAGE_DEBUG_TYPE_*.
DEBUG_TYPES = {2: "CODEVIEW", 4: "MISC", 11: "CLSID", 12: "VC_FEATURE", 13: "POGO", 16: "REPRO"}


@command(
    "!lmi",
    summary="A module in detail: headers, debug data, symbols.",
    group="symbols",
    params=(Param("module", "module", "name or address"),),
    needs=Caps.READ,
    see_also=("lm", "!dh"),
)
def lmi(session: Session, args: Arguments, name: str) -> list[str]:
    """Reads the image's headers and debug directory from target memory."""
    text = args.rest()
    if not text:
        raise ArgumentError("!lmi needs a module's name or address")
    module = named(session, text)
    session.symbols.load(module)
    lines = [f"Loaded Module Info: [{text}] "]

    def add(label: str, value: str) -> None:
        lines.append(f"{label:>15}: {value}".rstrip())

    image = module.image
    add("Module", module.name)
    add("Base Address", f"{module.base:016x}")
    add("Image Name", module.image_name)
    add("Machine Type", f"{image.machine} ({'X64' if image.machine == 0x8664 else 'other'})")
    when = REPRODUCIBLE if is_reproducible(module) else times.image_time(module.timestamp)
    add("Time Stamp", f"{module.timestamp:x} {when}")
    add("Size", f"{module.size:x}")
    add("CheckSum", f"{module.checksum:x}")
    stripped = " stripped" if image.characteristics & DEBUG_STRIPPED else ""
    add("Characteristics", f"{image.characteristics:x}{stripped}")
    add("Debug Data Dirs", "Type  Size     VA  Pointer")
    lines += _debug_lines(image)
    add("Image Type", "MEMORY   - Image read successfully from loaded memory.")
    add("Symbol Type", _symbol_type(module))
    lines += _load_report(module)
    return lines


def _load_report(module: Module) -> Iterator[str]:
    label = f"{'Load Report':>15}: "
    if module.pdb is None:
        yield f"{label}{'export symbols' if module.status == 'export' else 'no symbols loaded'}"
        return
    kind = "private symbols & lines" if module.pdb.is_private else "public symbols"
    yield f"{label}{kind}, not source indexed"
    yield f"{'':17}{module.pdb_path}"


def _debug_lines(image: PeImage) -> Iterator[str]:
    for entry in image.debug_entries:
        kind = DEBUG_TYPES.get(entry.type, f"TYPE {entry.type}")
        place = f"{kind:>21} {entry.size:5x}, {entry.rva:5x}, {entry.raw_offset:7x}"
        view = image.codeview if kind == "CODEVIEW" else None
        if view is not None:
            yield f"{place} RSDS - GUID: {_guid(view.guid)}"
            yield f"{'':15}Age: {view.age:x}, Pdb: {view.pdb_name}"
        else:
            yield f"{place} [{'Data not mapped' if entry.size else 'no data'}]"


def _guid(text: str) -> str:
    """`{606FF669-409B-00F7-FC8C-61A9C1670129}`."""
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return "{" + "-".join(parts) + "}"


def _symbol_type(module: Module) -> str:
    if module.pdb is not None:
        return (
            f"PDB      - Symbols loaded successfully from symbol store.\n{'':17}{module.pdb_path}"
        )
    kind = "EXPORT  " if module.status == "export" else "NONE    "
    return f"{kind} - {module.problem}"


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
        yield f"      pdb sig: {_guid(self.guid)[1:-1]}"
        yield f"          age: {self.age:x}"
        yield ""
        if not self.loaded:
            yield "No symbol file is loaded."
            return
        name = PurePath(self.loaded).name
        yield f"Loaded pdb is {self.loaded}"
        yield ""
        yield name
        yield f"      pdb sig: {_guid(self.found_guid)[1:-1]}"
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


@command(
    "!imgreloc",
    summary="Which images lie where they were linked for.",
    group="symbols",
    params=(Param("base", "module", "only this one", optional=True),),
    needs=Caps.READ,
    see_also=("lm", "!dh"),
)
def image_relocations(session: Session, args: Arguments, name: str) -> Iterator[str]:
    """The preferred base is the one in the image file; the loader changes the mapped header."""
    text = args.rest()
    chosen = [named(session, text)] if text else session.symbols.modules
    for module in sorted(chosen, key=lambda module: module.base):
        session.check_interrupt()
        try:
            preferred = module.image.image_base
        except KdsimError as error:
            yield f"{module.base:016x} {module.name} - {error}"
            continue
        if preferred == module.base:
            yield f"{module.base:016x} {module.name} - at preferred address"
        else:
            yield f"{module.base:016x} {module.name} - RELOCATED from {preferred:016x}"
