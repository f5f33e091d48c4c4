"""Where symbols come from: the symbol path, the image path, and the options of the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import ArgumentError
from kdsim.symbols.store import SymbolPath

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

PATH = Param("path", "file", "folders, separated by semicolons; + adds them", optional=True)
# dbghelp.h, SYMOPT_*.
SYMBOL_OPTIONS = {
    0x1: "SYMOPT_CASE_INSENSITIVE",
    0x2: "SYMOPT_UNDNAME",
    0x4: "SYMOPT_DEFERRED_LOADS",
    0x8: "SYMOPT_NO_CPP",
    0x10: "SYMOPT_LOAD_LINES",
    0x20: "SYMOPT_OMAP_FIND_NEAREST",
    0x40: "SYMOPT_LOAD_ANYTHING",
    0x80: "SYMOPT_IGNORE_CVREC",
    0x100: "SYMOPT_NO_UNQUALIFIED_LOADS",
    0x200: "SYMOPT_FAIL_CRITICAL_ERRORS",
    0x400: "SYMOPT_EXACT_SYMBOLS",
    0x800: "SYMOPT_ALLOW_ABSOLUTE_SYMBOLS",
    0x1000: "SYMOPT_IGNORE_NT_SYMPATH",
    0x2000: "SYMOPT_INCLUDE_32BIT_MODULES",
    0x4000: "SYMOPT_PUBLICS_ONLY",
    0x8000: "SYMOPT_NO_PUBLICS",
    0x10000: "SYMOPT_AUTO_PUBLICS",
    0x20000: "SYMOPT_NO_IMAGE_SEARCH",
    0x40000: "SYMOPT_SECURE",
    0x80000: "SYMOPT_NO_PROMPTS",
    0x80000000: "SYMOPT_DEBUG",
}


@dataclass(frozen=True, slots=True)
class SymbolSearchPath:
    """The symbol path as it was given, and with its defaults filled in."""

    path: str
    expanded: str

    def lines(self) -> Iterator[str]:
        yield f"Symbol search path is: {self.path}"
        yield f"Expanded Symbol search path is: {self.expanded}"


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Where something else is looked for."""

    title: str
    path: str
    empty: str = ""

    def lines(self) -> Iterator[str]:
        yield f"{self.title} search path is: {self.path or self.empty}"


@command(
    ".sympath",
    ".sympath+",
    summary="Show or set the symbol path.",
    group="symbols",
    params=(PATH,),
    needs=Caps.NONE,
    see_also=(".symfix", ".reload"),
    examples=(r".sympath srv*c:\symbols*https://msdl.microsoft.com/download/symbols;c:\mine",),
)
def sympath(session: Session, args: Arguments, name: str) -> SymbolSearchPath:
    """Setting the path loads nothing by itself."""
    old = str(session.symbols.path)
    new = _changed(args, name, old)
    if new != old:
        session.symbols.path = SymbolPath.parse(new)
    path = session.symbols.path
    return SymbolSearchPath(str(path), path.expanded)


@command(
    ".exepath",
    ".exepath+",
    summary="Show or set where images are looked for.",
    group="symbols",
    params=(PATH,),
    needs=Caps.NONE,
    see_also=(".sympath",),
)
def exepath(session: Session, args: Arguments, name: str) -> SearchPath:
    new = _changed(args, name, session.image_path)
    if new != session.image_path:
        session.modules.use_image_path(new)
    return SearchPath("Executable image", session.image_path)


@command(
    ".srcpath",
    ".srcpath+",
    ".lsrcpath",
    ".lsrcpath+",
    summary="Show or set where source files are looked for.",
    group="symbols",
    params=(PATH,),
    needs=Caps.NONE,
    see_also=(".sympath", ".lines"),
)
def srcpath(session: Session, args: Arguments, name: str) -> SearchPath:
    """A debugger without a client has one source path, so both names mean it."""
    settings = session.settings
    settings.source_path = _changed(args, name, settings.source_path)
    return SearchPath("Source", settings.source_path, "<empty>")


@command(
    ".extpath",
    ".extpath+",
    summary="Show or set where extensions are looked for.",
    group="symbols",
    params=(PATH,),
    needs=Caps.NONE,
    see_also=(".exepath",),
    notes="Extension DLLs cannot be loaded, so the path only keeps what scripts set.",
)
def extpath(session: Session, args: Arguments, name: str) -> SearchPath:
    settings = session.settings
    settings.extension_path = _changed(args, name, settings.extension_path)
    return SearchPath("Extension", settings.extension_path, "<empty>")


def _changed(args: Arguments, name: str, old: str) -> str:
    """A path after `.name path`, `.name+ path` or plain `.name`; `""` empties it."""
    typed = args.rest()
    if not typed:
        return old
    text = typed.strip('"')
    return f"{old};{text}" if name.endswith("+") and old else text


@command(
    ".symfix",
    ".symfix+",
    summary="Set the symbol path to the default symbol server.",
    group="symbols",
    params=(Param("cache", "file", "folder for downloaded symbols", optional=True),),
    needs=Caps.NONE,
    see_also=(".sympath", ".reload"),
)
def symfix(session: Session, args: Arguments, name: str) -> None:
    """As kd, it prints nothing; `.sympath` shows the path."""
    cache = args.rest()
    if name.endswith("+"):
        text = f"{session.symbols.path};srv*"
        session.symbols.path = SymbolPath.parse(text, cache=cache or None)
    else:
        session.symbols.path = SymbolPath.fixed(cache)


@dataclass(frozen=True, slots=True)
class SymbolOptions:
    """The options that are set, by bit."""

    value: int
    names: dict[int, str]

    def lines(self) -> Iterator[str]:
        yield f"Symbol options are 0x{self.value:X}:"
        yield from (f"  0x{bit:8x} - {name}" for bit, name in self.names.items())


@command(
    ".symopt",
    ".symopt+",
    ".symopt-",
    summary="Show or change the symbol options.",
    group="symbols",
    params=(
        Param(
            "flags",
            "flags",
            "bits to add (.symopt+) or to remove (.symopt-)",
            optional=True,
            bits=tuple((bit, name.removeprefix("SYMOPT_")) for bit, name in SYMBOL_OPTIONS.items()),
        ),
    ),
    needs=Caps.NONE,
    see_also=(".sympath", "!sym"),
)
def symopt(session: Session, args: Arguments, name: str) -> SymbolOptions:
    """Bits of dbghelp's SYMOPT_* options."""
    flags = args.optional_expression()
    args.at_end()
    settings = session.settings
    if flags is not None:
        if name.endswith("-"):
            settings.symbol_options &= ~flags
        else:
            settings.symbol_options |= flags & 0xFFFF_FFFF
        session.modules.apply_options()
    value = settings.symbol_options
    return SymbolOptions(value, {b: name for b, name in SYMBOL_OPTIONS.items() if value & b})


@dataclass(frozen=True, slots=True)
class SymbolNoise:
    """How much is said while symbols load."""

    noisy: bool
    prompts: bool

    def lines(self) -> Iterator[str]:
        mode, prompts = "noisy" if self.noisy else "quiet", "on" if self.prompts else "off"
        yield f"{mode} mode - symbol prompts {prompts}"


@command(
    "!sym",
    summary="Say more or less while symbols load.",
    group="symbols",
    params=(
        Param(
            "mode",
            "word",
            "alone: show",
            optional=True,
            words=(
                ("noisy", "print where each file was looked for"),
                ("quiet", "do not"),
                ("prompts", "passwords of symbol servers may be asked for"),
                ("prompts off", "they may not"),
            ),
        ),
    ),
    needs=Caps.NONE,
    see_also=(".reload", ".symopt"),
    notes="No symbol server is asked with a password here, so prompts only keeps the setting.",
)
def sym(session: Session, args: Arguments, name: str) -> SymbolNoise:
    """Without an argument: both states."""
    words = args.rest().lower().split()
    settings = session.settings
    if words in (["noisy"], ["quiet"]):
        settings.symbol_noise = words == ["noisy"]
        session.modules.apply_options()
    elif words in (["prompts"], ["prompts", "off"]):
        settings.symbol_prompts = words == ["prompts"]
    elif words:
        raise ArgumentError("!sym takes noisy, quiet, prompts or prompts off")
    return SymbolNoise(settings.symbol_noise, settings.symbol_prompts)


SUFFIXES = {"a": "A", "w": "W", "n": ""}


@dataclass(frozen=True, slots=True)
class SymbolSuffix:
    """The letter that `ss` takes for a suffix."""

    letter: str

    def lines(self) -> Iterator[str]:
        yield f"Symbol suffix is {self.letter}"


@command(
    "ss",
    summary="Show or set the suffix tried for symbols that are not found.",
    group="symbols",
    params=(
        Param(
            "suffix",
            "word",
            "alone: show",
            optional=True,
            words=(("a", "A, as in CreateFileA"), ("w", "W"), ("n", "none")),
        ),
    ),
    needs=Caps.NONE,
    see_also=("x", "ln"),
)
def symbol_suffix(session: Session, args: Arguments, name: str) -> SymbolSuffix:
    """`ss w`: `CreateFile` in an expression means `CreateFileW` too."""
    letter = args.word()
    args.at_end()
    if letter is not None:
        if letter.lower() not in SUFFIXES:
            raise ArgumentError("ss takes a, w or n")
        session.settings.symbol_suffix = SUFFIXES[letter.lower()]
    current = session.settings.symbol_suffix
    return SymbolSuffix(next(key for key, suffix in SUFFIXES.items() if suffix == current))
