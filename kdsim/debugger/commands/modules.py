"""Modules: `lm` lists them, `ld` loads their symbols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import modules
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, KdsimError
from kdsim.symbols.wildcard import matches

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.space import Module
    from kdsim.symbols.version import VersionInfo

FLAG_LETTERS = "olvukecDifnpt"
INSTEAD_OF_SYMBOLS = "ifnpt"
"""Options that show something of the image where the state of its symbols would stand."""
USER_SPACE_END = 1 << 47
REPRODUCIBLE = "(This is a reproducible build file hash, not a timestamp)"
# verrsrc.h, VOS_* and VFT_*.
FILE_SYSTEMS = {0x4: "Win32", 0x10001: "DOS Win16", 0x10004: "DOS Win32", 0x40004: "NT Win32"}
FILE_TYPES = {1: "App", 2: "Dll", 3: "Driver", 4: "Font", 5: "VxD", 7: "Static Lib"}
RESOURCE_STRINGS = (
    "CompanyName",
    "ProductName",
    "InternalName",
    "OriginalFilename",
    "ProductVersion",
    "FileVersion",
    "FileDescription",
    "LegalCopyright",
)
NO_TRANSLATIONS = "0000.04b0 0000.04e4 0409.04b0 0409.04e4"
"""What is looked for in an image without version information."""


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """One line of `lm`, or with `v` a block."""

    start: int
    end: int
    name: str
    letters: str
    status: str
    details: tuple[str, ...] = ()

    def line(self) -> str:
        """A name of more than eight letters pushes what follows to the right."""
        return f"{tick(self.start)} {tick(self.end)}   {self.name:<8} {self.status}".rstrip()


@dataclass(frozen=True, slots=True)
class UnloadedRow:
    """A driver that is gone."""

    start: int
    end: int
    name: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleList:
    """What `lm` found."""

    rows: tuple[ModuleRow, ...]
    unloaded: tuple[UnloadedRow, ...]
    names_only: bool
    links: bool
    headed: bool = True

    def lines(self) -> Iterator[str]:
        if self.names_only:
            yield from (row.name for row in self.rows)
            return
        if self.headed:
            if self.links:
                yield "Browse full module list"
            yield "start             end                 module name"
        for row in self.rows:
            yield row.line()
            yield from row.details
        if self.unloaded:
            yield ""
            yield "Unloaded modules:"
            for gone in self.unloaded:
                yield f"{tick(gone.start)} {tick(gone.end)}   {gone.name}"
                yield from gone.details


@dataclass(slots=True)
class Selection:
    """The options of one `lm`."""

    letters: str = ""
    pattern: str = "*"
    path_pattern: str = ""
    address: int | None = None
    names_only: bool = False
    by_name: bool = False

    def has(self, letter: str) -> bool:
        return letter in self.letters

    @property
    def shows_unloaded(self) -> bool:
        """The list of what is gone follows unless the options ask for what is there."""
        asks_for_loaded = any(map(self.has, "oleu")) or self.address is not None
        return not (asks_for_loaded or self.path_pattern or self.names_only)

    def fits(self, module: Module) -> bool:
        """Does a module pass the filters?"""
        kernel = module.base >= USER_SPACE_END
        return (
            matches(self.pattern, module.name)
            and matches(self.path_pattern or "*", module.image_path)
            and (self.address is None or module.base <= self.address < module.end)
            and not (self.has("u") and not self.has("k") and kernel)
            and not (self.has("k") and not self.has("u") and not kernel)
            and not (self.has("l") and module.status in ("deferred", "none"))
            and not (self.has("e") and not _is_problem(module))
        )


def _is_problem(module: Module) -> bool:
    return module.status in ("none", "export") or bool(module.letters)


def _selection(args: Arguments, glued: str) -> Selection:
    """Options come glued or apart; `m`, `M` and `a` take what follows them."""
    chosen = Selection()
    pending = glued
    while pending or not args.done:
        if not pending:
            pending = args.word() or ""
        if pending.startswith("1m"):
            chosen.names_only = True
            pending = pending[2:]
        elif pending.startswith("sm"):
            chosen.by_name = True
            pending = pending[2:]
        else:
            letter, pending = pending[0], pending[1:]
            pending = _take(args, chosen, letter, pending)
    if sum(map(chosen.has, INSTEAD_OF_SYMBOLS.replace("t", ""))) > 1:
        raise ArgumentError("lm takes only one of i, f, n and p")
    return chosen


def _take(args: Arguments, chosen: Selection, letter: str, pending: str) -> str:
    """One option; answers with the letters that are left."""
    if letter == "m":
        chosen.pattern = pending or args.pattern() or "*"
        return ""
    if letter == "M":
        chosen.path_pattern = pending or args.pattern() or "*"
        return ""
    if letter == "a":
        # `lma fffff800`5e400000`: the letters taken so far were an address.
        args.position -= len(pending)
        chosen.address = args.expression()
        return ""
    if letter not in FLAG_LETTERS:
        raise args.error()
    chosen.letters += letter
    return pending


@command(
    "lm",
    summary="List modules.",
    group="symbols",
    params=(Param("pattern", "module", "behind m, M or a", optional=True),),
    options=(
        Option("v", "details"),
        Option("m", "only names that match", "<pattern>"),
        Option("M", "only paths that match", "<pattern>"),
        Option("a", "only the module at an address", "<address>"),
        Option("o", "only loaded modules"),
        Option("l", "only modules whose symbols are loaded"),
        Option("e", "only modules with a symbol problem"),
        Option("u", "only user modules"),
        Option("k", "only kernel modules"),
        Option("1m", "names and nothing else"),
        Option("sm", "sorted by name"),
        Option("c", "with the checksum"),
        Option("D", "with the links of a graphical debugger"),
        Option("i", "image name instead of the symbols"),
        Option("f", "path instead of the symbols"),
        Option("n", "image name instead of the symbols"),
        Option("p", "mapped image instead of the symbols"),
        Option("t", "time stamp instead of the symbols"),
    ),
    needs=Caps.NONE,
    see_also=("!lmi", "ld", ".reload", "x", "ln"),
    notes="The letters stand behind the name, together or apart: lmvm nt, lm v m nt.",
    suffix=r"[A-Za-z]*",
    glued=r"\d?[A-Za-z]",
)
def lm(session: Session, args: Arguments, name: str) -> ModuleList:
    """The session's module list; unloaded drivers from nt!MmUnloadedDrivers."""
    return module_list(session, _selection(args, name[2:]))


def module_list(session: Session, chosen: Selection) -> ModuleList:
    """`lm`, and what `.reload /l` shows."""
    found = [module for module in session.symbols.modules if chosen.fits(module)]
    found.sort(key=lambda m: (m.name.lower() if chosen.by_name else "", m.base))
    rows = (_row(module, chosen) for module in found)
    unloaded = tuple(_unloaded_rows(session, chosen)) if chosen.shows_unloaded else ()
    headed = iter((True,))
    shown = in_pieces(
        session,
        rows,
        lambda piece: ModuleList(
            tuple(piece), (), chosen.names_only, chosen.has("D"), next(headed, False)
        ),
    )
    return ModuleList(shown.rows, unloaded, shown.names_only, shown.links, shown.headed)


def _row(module: Module, chosen: Selection) -> ModuleRow:
    details = tuple(_details(module, links=chosen.has("D"))) if chosen.has("v") else ()
    status = _status(module, chosen)
    return ModuleRow(module.base, module.end, module.name, module.letters, status, details)


def _status(module: Module, chosen: Selection) -> str:
    """What stands behind the name: the symbols, unless an option asks for the image."""
    parts: list[str] = []
    if chosen.has("c"):
        parts.append(f"{module.checksum:08x}")
    if chosen.has("f"):
        parts.append(module.image_path)
    elif chosen.has("i") or chosen.has("n"):
        parts.append(module.image_name)
    if chosen.has("t"):
        parts.append(time_stamp(module))
    if not any(map(chosen.has, INSTEAD_OF_SYMBOLS)):
        parts.append(f"{module.letters:1} {module.status_text}")
    return " ".join(parts)


def unloaded_drivers(session: Session) -> tuple[modules.UnloadedDriver, ...]:
    try:
        return tuple(modules.unloaded(Nt(session.symbols, session.memory)))
    except KdsimError:
        # A kernel without that table simply has no list to show.
        return ()


def _unloaded_rows(session: Session, chosen: Selection) -> Iterator[UnloadedRow]:
    for gone in unloaded_drivers(session):
        name = gone.name.rpartition(".")[0] or gone.name
        if matches(chosen.pattern, name) or matches(chosen.pattern, gone.name):
            details: tuple[str, ...] = ()
            if chosen.has("v"):
                when = times.session_time(gone.time) if gone.time else ""
                details = (
                    f"    Timestamp: {when or 'unavailable (00000000)'}",
                    "    Checksum:  00000000",
                    f"    ImageSize:  {gone.end - gone.start:08X}",
                )
            yield UnloadedRow(gone.start, gone.end, gone.name, details)


def _details(module: Module, *, links: bool) -> Iterator[str]:
    """The `v` block of one module."""
    if module.source is not None:
        yield f"    Loaded symbol image file: {module.image_name}"
    yield f"    Image path: {module.image_path}"
    yield f"    Image name: {module.image_name}"
    if links:
        yield "    Browse all global symbols  functions  data"
    yield f"    Timestamp:        {time_stamp(module)}"
    yield f"    CheckSum:         {module.checksum:08X}"
    yield f"    ImageSize:        {module.size:08X}"
    version = version_of(module)
    if version is None:
        yield f"    Translations:     {NO_TRANSLATIONS}"
        yield "    Information from resource tables:"
    else:
        yield from _version_lines(version)


def version_of(module: Module) -> VersionInfo | None:
    """Its version resource; None when there is none, or it cannot be read."""
    try:
        return module.image.version
    except KdsimError:
        return None


def is_reproducible(module: Module) -> bool:
    """Whether its timestamp is a hash of its contents."""
    try:
        return module.image.reproducible
    except KdsimError:
        return False


def time_stamp(module: Module) -> str:
    """As `lm v` and `lm t` show it."""
    if not module.timestamp:
        return "unavailable (00000000)"
    if is_reproducible(module):
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
    for key in RESOURCE_STRINGS:
        if key in version.strings:
            yield f"        {key + ':':17} {version.strings[key]}"


def find_module(session: Session, text: str) -> Module | None:
    """A module by its name or its image's: `leaky`, `leaky.sys`."""
    space = session.symbols
    return space.module_named(text.rpartition(".")[0] or text) or space.module_named(text)


def named(session: Session, text: str) -> Module:
    """A module by name (`leaky`, `leaky.sys`) or by an address or expression inside it."""
    found = find_module(session, text)
    if found is None:
        try:
            found = session.symbols.module_at(session.evaluate(text))
        except KdsimError:
            found = None
    if found is None:
        raise ArgumentError(f"no module '{text}'")
    return found


@dataclass(frozen=True, slots=True)
class SymbolLoad:
    """What came of loading one module's symbols."""

    module: str
    loaded: bool
    already: bool
    problem: str

    def line(self) -> str:
        if self.loaded:
            return f"Symbols {'already ' if self.already else ''}loaded for {self.module}"
        return f"Symbols not loaded for {self.module}: {self.problem}"


@dataclass(frozen=True, slots=True)
class SymbolLoads:
    modules: tuple[SymbolLoad, ...]

    def lines(self) -> Iterator[str]:
        yield from (module.line() for module in self.modules)


@command(
    "ld",
    summary="Load symbols of modules now.",
    group="symbols",
    params=(Param("pattern", "module", "of module names", optional=True),),
    options=(Option("/f", "modules by the names of their files", "<pattern>"),),
    needs=Caps.NONE,
    see_also=(".reload", "lm"),
)
def ld(session: Session, args: Arguments, name: str) -> SymbolLoads:
    """Loads the PDB of every module whose name matches."""
    given = args.switches("f:")
    pattern = None if args.done else args.pattern()
    given |= args.switches("f:")
    args.at_end()
    file = given.get("f")
    if not pattern and not file:
        raise ArgumentError("ld needs a module's name or a pattern, for instance ld *")
    chosen = [
        module
        for module in session.symbols.modules
        if (matches(file, module.image_name) if file else matches(pattern or "*", module.name))
    ]
    loads = []
    with session.progress("Loading symbols", len(chosen)) as progress:
        for number, module in enumerate(chosen):
            progress.advance(min(number, 1), module.name)
            loads.append(_load(session, module))
    if not loads:
        raise ArgumentError(f"no module matches '{file or pattern}'")
    return SymbolLoads(tuple(loads))


def _load(session: Session, module: Module) -> SymbolLoad:
    known = module.status != "deferred"
    session.symbols.load(module)
    return SymbolLoad(module.name, module.pdb is not None, known, module.problem)
