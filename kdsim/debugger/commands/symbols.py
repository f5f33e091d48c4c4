"""Symbols: `x`, `ln`, the symbol path and the symbol options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect.typetree import Style, TypeTree
from kdsim.debugger.language.typed_text import type_name
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, SymbolError
from kdsim.symbols.store import SymbolPath
from kdsim.symbols.types import BaseType, Enum, Function, Pointer, Record, Type

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module
    from kdsim.symbols.space import Located

MATCH_LIMIT = 100_000

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
class SymbolRow:
    """One hit of `x`."""

    va: int
    name: str
    note: str
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class SymbolList:
    """What `x` found."""

    rows: tuple[SymbolRow, ...]
    style: str

    def lines(self) -> Iterator[str]:
        for row in self.rows:
            if self.style == "0":
                yield tick(row.va)
            elif self.style == "1":
                yield row.name
            elif self.style == "2":
                yield f"{tick(row.va)}          {row.name}"
            elif self.style == "v":
                yield f"{row.kind:11} {tick(row.va)} {row.size:5x} {row.name} {row.note}".rstrip()
            else:
                yield f"{tick(row.va)} {row.name} {row.note}".rstrip()


@command(
    "x",
    summary="Symbols that match a pattern.",
    group="symbols",
    params=(
        Param(
            "options",
            "flags",
            "/0 addresses, /1 names, /2 both, /v sizes, /n by name",
            optional=True,
        ),
        Param("pattern", "symbol", "module!name with * ? [] # +; alone: locals"),
    ),
    needs=Caps.NONE,
    see_also=("ln", "dt", "lm", "dv"),
    glued=r"[/*]",
)
def examine(session: Session, args: Arguments, name: str) -> SymbolList | None:
    """Publics, globals and static functions of the module's PDB."""
    given = args.switches(
        "0", "1", "2", "D", "t", "v", "s:", "q", "p", "f", "d", "a", "A", "n", "N", "z", "Z"
    )
    pattern = args.pattern()
    args.at_end()
    if pattern is None or pattern == "*":
        session.runner("dv")
        return None
    wanted = pattern if "!" in pattern else f"*!{pattern}"
    hits = [
        hit
        for hit in islice(session.symbols.match(wanted), MATCH_LIMIT)
        if hit.symbol.kind != "constant"
        and not ("f" in given and hit.symbol.kind != "function")
        and not ("d" in given and hit.symbol.kind != "data")
    ]
    _check_module(session, wanted, found=bool(hits))
    rows = [_row(session, hit) for hit in hits]
    _sort(rows, given)
    style = next((letter for letter in ("0", "1", "2", "v") if letter in given), "")
    return SymbolList(tuple(rows), style)


def _check_module(session: Session, pattern: str, *, found: bool) -> None:
    """`x foo!*` with no such module is a mistake; `x nt!nothing*` merely finds nothing."""
    module, _, _ = pattern.partition("!")
    plain = module.isidentifier()
    if not found and plain and session.symbols.module_named(module) is None:
        raise SymbolError(f"Couldn't resolve 'x {pattern}': no module '{module}'")


def _sort(rows: list[SymbolRow], given: dict[str, str]) -> None:
    if "n" in given or "N" in given:
        rows.sort(key=lambda row: row.name.lower(), reverse="N" in given)
    elif "z" in given or "Z" in given:
        rows.sort(key=lambda row: row.size, reverse="Z" in given)
    else:
        rows.sort(key=lambda row: row.va, reverse="A" in given)


def _row(session: Session, hit: Located) -> SymbolRow:
    symbol = hit.symbol
    kind = "pub" if symbol.is_public else "prv"
    word = {"function": "func", "data": "global"}.get(symbol.kind, symbol.kind)
    return SymbolRow(hit.va, hit.name, _note(session, hit), symbol.size, f"{kind} {word}")


def _note(session: Session, hit: Located) -> str:
    """`= value` of a variable, `(parameters)` of a function."""
    symbol = hit.symbol
    if symbol.kind == "function":
        kind = symbol.type
        if not isinstance(kind, Function):
            return "(<no parameter info>)"
        return f"({', '.join(map(type_name, kind.parameters)) or 'void'})"
    if symbol.type is None:
        return "= <no type information>"
    return f"= {_value(session, symbol.type, hit.va)}"


def _value(session: Session, kind: Type, va: int) -> str:
    tree = TypeTree(session.memory, Style())
    if isinstance(kind, BaseType | Enum | Pointer):
        return tree.value(kind, va)
    if isinstance(kind, Record):
        return f"{kind.kind} {tree.value(kind, va)}"
    return type_name(kind)


@dataclass(frozen=True, slots=True)
class NearestSymbols:
    """The symbol at or below an address, and the next one."""

    line: str
    below: str
    above: str
    exact: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        if self.line:
            yield self.line
        yield f"{self.below}   |  {self.above}".rstrip(" |")
        if self.exact:
            yield "Exact matches:"
            yield from (f"    {name}" for name in self.exact)


@command(
    "ln",
    summary="The symbols nearest to an address.",
    group="symbols",
    params=(Param("address", "expression"),),
    needs=Caps.NONE,
    see_also=("x", "lm", "u"),
)
def nearest(session: Session, args: Arguments, name: str) -> NearestSymbols | None:
    """The symbol that holds the address and the one that follows it."""
    args.switches("D")
    address = args.optional_address()
    args.at_end()
    return nearest_symbols(session, session.instruction_pointer if address is None else address)


def nearest_symbols(session: Session, va: int) -> NearestSymbols | None:
    found = session.symbols.nearest(va)
    if found is None:
        return None
    symbol, distance = found
    offset = f"+0x{distance:x}" if distance else ""
    below = f"({tick(symbol.va)})   {symbol.name}{offset}"
    exact = () if distance else (f"{symbol.name} {_note(session, symbol)}",)
    return NearestSymbols(_source(session, va), below, _following(symbol.module, va), exact)


def _following(module: Module, va: int) -> str:
    """The first symbol above an address."""
    if module.source is None:
        return ""
    symbol = next(module.source.by_address(above=va - module.base), None)
    if symbol is None:
        return ""
    return f"({tick(module.base + symbol.rva)})   {module.name}!{symbol.name}"


def _source(session: Session, va: int) -> str:
    r"""`C:\kdsim\nt\ex\pool.c(120)+0x4` when the line is known."""
    if not session.settings.load_lines:
        return ""
    source = session.symbols.line(va)
    module = session.symbols.module_at(va)
    if source is None or module is None:
        return ""
    distance = va - module.base - source.rva
    return f"{source.file}({source.line})" + (f"+0x{distance:x}" if distance else "")


def _silent(_line: str) -> None:
    """The log of a quiet symbol path."""


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
    text = args.rest().strip('"')
    if text:
        old = str(session.symbols.path)
        session.symbols.path = SymbolPath.parse(f"{old};{text}" if name.endswith("+") else text)
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
    text = args.rest().strip('"')
    if text:
        old = f"{session.image_path};" if name.endswith("+") and session.image_path else ""
        session.modules.use_image_path(f"{old}{text}")
    return f"Executable image search path is: {session.image_path}"


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
    params=(Param("flags", "flags", "bits to add, with - to remove", optional=True),),
    needs=Caps.NONE,
    see_also=(".sympath",),
)
def symopt(session: Session, args: Arguments, name: str) -> list[str]:
    """Bits of dbghelp's SYMOPT_* options."""
    flags = args.optional_expression()
    args.at_end()
    settings = session.settings
    if flags is not None and name.endswith("-"):
        settings.symbol_options &= ~flags
    elif flags is not None:
        settings.symbol_options |= flags
    value = settings.symbol_options
    names = (f"  0x{bit:8x} - {text}" for bit, text in SYMBOL_OPTIONS.items() if value & bit)
    return [f"Symbol options are 0x{value:X}:", *names]


@command(
    "!sym",
    summary="Say more or less while symbols load.",
    group="symbols",
    params=(Param("mode", "text", "noisy or quiet", optional=True),),
    needs=Caps.NONE,
    see_also=(".reload", ".symopt"),
)
def sym(session: Session, args: Arguments, name: str) -> list[str]:
    """`noisy` prints where each PDB was looked for."""
    mode = args.word()
    args.at_end()
    if mode not in (None, "noisy", "quiet"):
        raise ArgumentError("!sym takes noisy or quiet")
    if mode is not None:
        session.settings.symbol_noise = mode == "noisy"
        session.symbols.path.log = session.out.line if mode == "noisy" else _silent
    return [f"{'noisy' if session.settings.symbol_noise else 'quiet'} mode - symbol prompts off"]
