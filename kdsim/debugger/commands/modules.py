"""Modules: `lm`, `ld`, `.reload`, `!lmi`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import modules
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, KdsimError, SymbolError
from kdsim.symbols.wildcard import matches

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.pe import PeImage
    from kdsim.symbols.space import Module
    from kdsim.symbols.version import VersionInfo

FLAG_LETTERS = "olvukecsDfnpti"
USER_SPACE_END = 1 << 47
REPRODUCIBLE = "(This is a reproducible build file hash, not a timestamp)"
# winnt.h, IMAGE_DEBUG_TYPE_*.
DEBUG_TYPES = {2: "CODEVIEW", 4: "MISC", 11: "CLSID", 12: "VC_FEATURE", 13: "POGO", 16: "REPRO"}
# verrsrc.h, VOS_* and VFT_*.
FILE_SYSTEMS = {0x4: "Win32", 0x10001: "DOS Win16", 0x10004: "DOS Win32", 0x40004: "NT Win32"}
FILE_TYPES = {1: "App", 2: "Dll", 3: "Driver", 4: "Font", 5: "VxD", 7: "Static Lib"}


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """One line of `lm`, or with `v` a block."""

    start: int
    end: int
    name: str
    status: str
    image: str
    details: tuple[str, ...] = ()

    def line(self, *, show_image: bool) -> str:
        text = f"{tick(self.start)} {tick(self.end)}   {self.name:<10} "
        return (text + (self.image if show_image else self.status)).rstrip()


@dataclass(frozen=True, slots=True)
class ModuleList:
    """What `lm` found."""

    rows: tuple[ModuleRow, ...]
    unloaded: tuple[modules.UnloadedDriver, ...]
    names_only: bool
    show_image: bool
    quiet: bool

    def lines(self) -> Iterator[str]:
        if self.names_only:
            yield from (row.name for row in self.rows)
            return
        if not self.quiet:
            yield "start             end                 module name"
        for row in self.rows:
            yield row.line(show_image=self.show_image)
            yield from row.details
        if self.unloaded:
            yield ""
            yield "Unloaded modules:"
            for gone in self.unloaded:
                yield f"{tick(gone.start)} {tick(gone.end)}   {gone.name}"


@dataclass(slots=True)
class _Selection:
    """The options of one `lm`."""

    letters: str = ""
    pattern: str = "*"
    path_pattern: str = ""
    address: int | None = None
    names_only: bool = False

    def has(self, letter: str) -> bool:
        return letter in self.letters

    @property
    def filtered(self) -> bool:
        return self.pattern != "*" or bool(self.path_pattern) or self.address is not None


def _selection(args: Arguments, glued: str) -> _Selection:
    """Options come glued or apart; `m`, `M` and `a` take what follows them."""
    chosen = _Selection()
    pending = glued
    while pending or not args.done:
        if not pending:
            pending = args.word() or ""
        if pending.startswith("1m"):
            chosen.names_only = True
            pending = pending[2:]
            continue
        letter, pending = pending[0], pending[1:]
        if letter == "m":
            chosen.pattern = pending or args.pattern() or "*"
            pending = ""
        elif letter == "M":
            chosen.path_pattern = pending or args.pattern() or "*"
            pending = ""
        elif letter == "a" and not pending:
            chosen.address = args.expression()
        elif letter in FLAG_LETTERS:
            chosen.letters += letter
        else:
            raise args.error()
    return chosen


@command(
    "lm",
    summary="List modules.",
    group="symbols",
    params=(
        Param(
            "options", "flags", "v details, 1m names only, o loaded, l with symbols", optional=True
        ),
        Param("pattern", "module", "m pattern: names that match; a address", optional=True),
    ),
    needs=Caps.NONE,
    see_also=("!lmi", "ld", ".reload", "x", "ln"),
    suffix=r"[A-Za-z]*",
    glued=r"\d?[A-Za-z]",
)
def lm(session: Session, args: Arguments, name: str) -> ModuleList:
    """The session's module list; unloaded drivers from nt!MmUnloadedDrivers."""
    chosen = _selection(args, name[2:])
    rows = []
    for module in sorted(session.symbols.modules, key=lambda m: m.base):
        if not _fits(chosen, module):
            continue
        details = tuple(_details(session, module)) if chosen.has("v") else ()
        rows.append(_row(module, details))
    return ModuleList(
        rows=tuple(rows),
        unloaded=() if chosen.filtered or chosen.has("o") else _unloaded(session),
        names_only=chosen.names_only,
        show_image=chosen.has("f") or chosen.has("n"),
        quiet=False,
    )


def _fits(chosen: _Selection, module: Module) -> bool:
    """Does a module pass `lm`'s filters?"""
    kernel = module.base >= USER_SPACE_END
    return (
        matches(chosen.pattern, module.name)
        and matches(chosen.path_pattern or "*", module.image_path)
        and (chosen.address is None or module.base <= chosen.address < module.end)
        and not (chosen.has("u") and kernel)
        and not (chosen.has("k") and not kernel)
        and not (chosen.has("l") and module.status == "deferred")
        and not (chosen.has("e") and module.pdb is not None)
    )


def _row(module: Module, details: tuple[str, ...]) -> ModuleRow:
    return ModuleRow(
        module.base, module.end, module.name, module.status_text, module.image_path, details
    )


def _unloaded(session: Session) -> tuple[modules.UnloadedDriver, ...]:
    try:
        return tuple(modules.unloaded(Nt(session.symbols, session.memory)))
    except KdsimError:
        # A kernel without that table simply has no list to show.
        return ()


def _details(session: Session, module: Module) -> Iterator[str]:
    """The `v` block of one module."""
    load_quietly(session, module)
    if module.pdb is not None:
        yield f"    Loaded symbol image file: {module.image_name}"
    yield f"    Image path: {module.image_path}"
    yield f"    Image name: {module.image_name}"
    yield f"    Timestamp:        {_time_stamp(module)}"
    yield f"    CheckSum:         {module.checksum:08X}"
    yield f"    ImageSize:        {module.size:08X}"
    version = _version(module)
    if version is not None:
        yield from _version_lines(version)


def _version(module: Module) -> VersionInfo | None:
    try:
        return module.image.version if module.image else None
    except KdsimError:
        return None


def _reproducible(module: Module) -> bool:
    try:
        return module.image.reproducible
    except KdsimError:
        return False


def _time_stamp(module: Module) -> str:
    """As `lm v` shows it."""
    if _reproducible(module):
        return f"{module.timestamp:08X} {REPRODUCIBLE}"
    return f"{times.image_time(module.timestamp)} ({module.timestamp:08X})"


def _version_lines(version: VersionInfo) -> Iterator[str]:
    system = FILE_SYSTEMS.get(version.file_os, "Unknown")
    kind = FILE_TYPES.get(version.file_type, "Unknown")
    yield f"    File version:     {'.'.join(map(str, version.file_version))}"
    yield f"    Product version:  {'.'.join(map(str, version.product_version))}"
    yield f"    File flags:       {version.file_flags:X} (Mask {version.file_flags_mask:X})"
    yield f"    File OS:          {version.file_os:X} {system}"
    yield f"    File type:        {version.file_type:X}.{version.file_subtype:X} {kind}"
    yield "    File date:        00000000.00000000"
    yield f"    Translations:     {version.language[:4]}.{version.language[4:]}"
    yield "    Information from resource tables:"
    for key in (
        "CompanyName",
        "ProductName",
        "InternalName",
        "OriginalFilename",
        "ProductVersion",
        "FileVersion",
        "FileDescription",
        "LegalCopyright",
    ):
        if key in version.strings:
            yield f"        {key + ':':17} {version.strings[key]}"


def load_quietly(session: Session, module: Module) -> None:
    """Load a module's symbols; the module keeps the reason when there are none."""
    try:
        session.symbols.load(module)
    except SymbolError:
        return


def named(session: Session, text: str) -> Module:
    """A module by name (`leaky`, `leaky.sys`) or by an address or expression inside it."""
    found = session.symbols.module_named(text.rpartition(".")[0] or text)
    found = found or session.symbols.module_named(text)
    if found is None:
        try:
            found = session.symbols.module_at(session.evaluate(text))
        except KdsimError:
            found = None
    if found is None:
        raise ArgumentError(f"no module '{text}'")
    return found


@command(
    "ld",
    summary="Load symbols of modules now.",
    group="symbols",
    params=(Param("pattern", "module"),),
    needs=Caps.NONE,
    see_also=(".reload", "lm"),
)
def ld(session: Session, args: Arguments, name: str) -> list[str]:
    """Loads the PDB of every module whose name matches."""
    pattern = args.pattern() or "*"
    args.at_end()
    chosen = [module for module in session.symbols.modules if matches(pattern, module.name)]
    if not chosen:
        raise ArgumentError(f"no module matches '{pattern}'")
    return [
        f"Symbols loaded for {module.name}" if module.pdb else _failure(module)
        for module in _loaded(session, chosen)
    ]


def _loaded(session: Session, chosen: Sequence[Module]) -> Iterator[Module]:
    """The modules, one after the other, their symbols loaded."""
    with session.progress("Loading symbols", len(chosen)) as progress:
        for number, module in enumerate(chosen):
            progress.advance(min(number, 1), module.name)
            load_quietly(session, module)
            yield module


def _failure(module: Module) -> str:
    return f"*** ERROR: no symbols for {module.image_name}: {module.problem}"


@command(
    ".reload",
    summary="Read the module list again; /f loads symbols too.",
    group="symbols",
    params=(
        Param("options", "flags", "/f load now, /i ignore mismatches, /u unload", optional=True),
        Param("module", "module", "only this one", optional=True),
    ),
    needs=Caps.READ,
    see_also=("lm", "ld", ".sympath"),
)
def reload(session: Session, args: Arguments, name: str) -> None:
    """Without a module: the target's whole list. Symbols stay deferred unless /f."""
    given = args.switches("d", "f", "i", "l", "n", "o", "s", "user", "unl", "u", "v", "w")
    wanted = (args.word() or "").partition("=")[0]
    args.at_end()
    out = session.out
    if wanted and "u" in given:
        module = named(session, wanted)
        session.symbols.defer(module)
        out.line(f"Unloaded {module.name}")
        return
    if wanted:
        module = named(session, wanted)
        session.symbols.defer(module)
        if "f" in given or "i" in given:
            session.symbols.load(module)
        return
    if "user" not in given:
        if session.facts is not None:
            out.line(session.facts.connected_line(times.from_unix(session.clock())))
        out.line("Loading Kernel Symbols")
        session.modules.reload()
        loaded = session.symbols.modules
        for start in range(0, len(loaded), 64):
            out.line("." * len(loaded[start : start + 64]))
    out.line("Loading User Symbols")
    out.line()
    out.line("Loading unloaded module list")
    gone = _unloaded(session)
    if gone:
        out.line("." * len(gone))
    if "f" in given:
        _load_all(session)


def _load_all(session: Session) -> None:
    for module in _loaded(session, session.symbols.modules):
        if module.pdb is None:
            session.out.line(_failure(module))


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
    load_quietly(session, module)
    lines = [f"Loaded Module Info: [{text}] "]

    def add(label: str, value: str) -> None:
        lines.append(f"{label:>15}: {value}".rstrip())

    image = module.image
    add("Module", module.name)
    add("Base Address", f"{module.base:016x}")
    add("Image Name", module.image_name)
    add("Machine Type", f"{image.machine} ({'X64' if image.machine == 0x8664 else 'other'})")
    when = REPRODUCIBLE if _reproducible(module) else times.image_time(module.timestamp)
    add("Time Stamp", f"{module.timestamp:x} {when}")
    add("Size", f"{module.size:x}")
    add("CheckSum", f"{module.checksum:x}")
    add("Characteristics", f"{image.characteristics:x}")
    add("Debug Data Dirs", "Type  Size     VA  Pointer")
    lines += _debug_lines(image)
    add("Image Type", "MEMORY   - Image read successfully from loaded memory.")
    add("Symbol Type", _symbol_type(module))
    add("Load Report", module.status_text.strip("()").partition(")")[0])
    return lines


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
    return f"NONE     - {module.problem}"
