"""Where symbols come from: the symbol path, the image path, and the options of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import ArgumentError
from kdsim.symbols.store import SymbolPath

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

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


def _path_lines(path: SymbolPath) -> list[str]:
    return [f"Symbol search path is: {path}", f"Expanded Symbol search path is: {path.expanded}"]


@command(
    ".sympath",
    ".sympath+",
    summary="Show or set the symbol path.",
    group="symbols",
    params=(Param("path", "file", "elements separated by semicolons", optional=True),),
    needs=Caps.NONE,
    see_also=(".symfix", ".reload"),
)
def sympath(session: Session, args: Arguments, name: str) -> list[str]:
    """Setting the path loads nothing by itself."""
    old = str(session.symbols.path)
    new = _changed(args, name, old)
    if new != old:
        session.symbols.path = SymbolPath.parse(new)
    return _path_lines(session.symbols.path)


@command(
    ".exepath",
    ".exepath+",
    summary="Show or set where images are looked for.",
    group="symbols",
    params=(Param("path", "file", "elements separated by semicolons", optional=True),),
    needs=Caps.NONE,
    see_also=(".sympath",),
)
def exepath(session: Session, args: Arguments, name: str) -> str:
    new = _changed(args, name, session.image_path)
    if new != session.image_path:
        session.modules.use_image_path(new)
    return f"Executable image search path is: {session.image_path}"


@command(
    ".srcpath",
    ".srcpath+",
    ".lsrcpath",
    ".lsrcpath+",
    summary="Show or set where source files are looked for.",
    group="symbols",
    params=(Param("path", "file", "elements separated by semicolons", optional=True),),
    needs=Caps.NONE,
    see_also=(".sympath", ".lines"),
)
def srcpath(session: Session, args: Arguments, name: str) -> str:
    """A debugger without a client has one source path, so both names mean it."""
    settings = session.settings
    settings.source_path = _changed(args, name, settings.source_path)
    return f"Source search path is: {settings.source_path or '<empty>'}"


@command(
    ".extpath",
    ".extpath+",
    summary="Show or set where extensions are looked for.",
    group="symbols",
    params=(Param("path", "file", "elements separated by semicolons", optional=True),),
    needs=Caps.NONE,
    see_also=(".exepath",),
    notes="Extension DLLs cannot be loaded, so the path only keeps what scripts set.",
)
def extpath(session: Session, args: Arguments, name: str) -> str:
    settings = session.settings
    settings.extension_path = _changed(args, name, settings.extension_path)
    return f"Extension search path is: {settings.extension_path or '<empty>'}"


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
            "bits to add, or with - to remove",
            optional=True,
            bits=tuple((bit, name.removeprefix("SYMOPT_")) for bit, name in SYMBOL_OPTIONS.items()),
        ),
    ),
    needs=Caps.NONE,
    see_also=(".sympath", "!sym"),
)
def symopt(session: Session, args: Arguments, name: str) -> list[str]:
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
    names = (f"  0x{bit:8x} - {text}" for bit, text in SYMBOL_OPTIONS.items() if value & bit)
    return [f"Symbol options are 0x{value:X}:", *names]


@command(
    "!sym",
    summary="Say more or less while symbols load.",
    group="symbols",
    params=(
        Param(
            "mode",
            "word",
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
def sym(session: Session, args: Arguments, name: str) -> str:
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
    noise = "noisy" if settings.symbol_noise else "quiet"
    return f"{noise} mode - symbol prompts {'on' if settings.symbol_prompts else 'off'}"


SUFFIXES = {"a": "A", "w": "W", "n": ""}


@command(
    "ss",
    summary="Show or set the suffix tried for symbols that are not found.",
    group="symbols",
    params=(
        Param(
            "suffix",
            "word",
            optional=True,
            words=(("a", "A, as in CreateFileA"), ("w", "W"), ("n", "none")),
        ),
    ),
    needs=Caps.NONE,
    see_also=("x", "ln"),
)
def symbol_suffix(session: Session, args: Arguments, name: str) -> str:
    """`ss w`: `CreateFile` in an expression means `CreateFileW` too."""
    letter = args.word()
    args.at_end()
    if letter is not None:
        if letter.lower() not in SUFFIXES:
            raise ArgumentError("ss takes a, w or n")
        session.settings.symbol_suffix = SUFFIXES[letter.lower()]
    shown = next(
        key for key, suffix in SUFFIXES.items() if suffix == session.settings.symbol_suffix
    )
    return f"Symbol suffix is {shown}"
