"""Symbols: `x` lists those that fit a pattern, `ln` those near an address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.commands.variables import (
    SORTING,
    Keys,
    declared_value,
    place_text,
    sort_rows,
    variable_value,
)
from kdsim.debugger.disassembly import undecorated
from kdsim.debugger.language.typed_text import type_name
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import Variable, scope_variables
from kdsim.errors import SymbolError
from kdsim.symbols.types import Array, Function

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module
    from kdsim.symbols.space import Located

SWITCHES = ("0", "1", "2", "D", "t", "v", "s:", "q", "p", "f", "d", "a", "A", "n", "N", "z", "Z")
NO_PARAMETERS = "(<no parameter info>)"
NO_TYPE = "<no type information>"
LETTERS = f" {' '.join(ascii_uppercase)}"
"""`/D` begins with links to the symbols of each letter."""


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """One hit of `x`; a variable in a register has no address."""

    va: int | None
    place: str
    name: str
    type: str
    note: str
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class SymbolList:
    """What `x` found, and the options that shape its lines."""

    rows: tuple[SymbolRow, ...]
    style: str
    types: bool
    quoted: bool
    tight: bool
    links: bool

    def lines(self) -> Iterator[str]:
        if self.links:
            yield LETTERS
            yield ""
        for row in self.rows:
            yield self._line(row).rstrip()

    def _line(self, row: SymbolRow) -> str:
        name = f'@!"{row.name}"' if self.quoted else row.name
        if self.style == "0":
            return row.place
        if self.style == "1":
            return name
        if self.style == "2":
            return f"{row.place:17}          {name}"
        text = f"{row.type} {name}" if self.types else name
        gap = "" if self.tight and row.note.startswith("(") else " "
        text = f"{text}{gap}{row.note}"
        if self.style == "v":
            return f"{row.kind:11}{row.place:17} {row.size:4x} {text}"
        return f"{row.place:17} {text}"


@command(
    "x",
    summary="Symbols that match a pattern.",
    group="symbols",
    params=(Param("pattern", "symbol", "module!name with * ? [] # +; alone: locals"),),
    options=(
        Option("/0", "addresses only"),
        Option("/1", "names only"),
        Option("/2", "addresses and names"),
        Option("/t", "with types"),
        Option("/v", "with what kind of symbol it is, and its size"),
        Option("/q", 'names as expressions take them, @!"name"'),
        Option("/p", "without the blank in front of parentheses"),
        Option("/f", "only functions"),
        Option("/d", "only data"),
        Option("/s", "only symbols of this size", "<size>"),
        *SORTING,
        Option("/D", "with the links of a graphical debugger"),
    ),
    needs=Caps.NONE,
    see_also=("ln", "dt", "lm", "dv"),
    examples=("x nt!Ex*Pool*", "x /t /n leaky!*"),
    glued=r"[/*]",
)
def examine(session: Session, args: Arguments, name: str) -> SymbolList:
    """Publics, globals and static functions of the module's PDB."""
    given = args.switches(*SWITCHES)
    pattern = args.pattern() if args.peek().startswith(("@!", '"')) else args.rest()
    args.at_end()
    size = session.evaluate(given["s"]) if "s" in given else 0
    if pattern in (None, "", "*"):
        rows = [_local_row(session, variable) for variable in _locals(session)]
    else:
        wanted = pattern if "!" in pattern else f"*!{pattern}"
        rows = list(_rows(session, wanted, given))
        _check_module(session, wanted, found=bool(rows))
    # A size that is not known could be any.
    rows = [row for row in rows if not size or row.size in (0, size)]
    sort_rows(rows, given, _SORTED_BY, "a")
    style = next((letter for letter in ("0", "1", "2", "v") if letter in given), "")
    return SymbolList(tuple(rows), style, "t" in given, "q" in given, "p" in given, "D" in given)


def _rows(session: Session, pattern: str, given: dict[str, str]) -> Iterator[SymbolRow]:
    # The bare styles show neither types nor values, so none is looked up for them.
    bare = not {"0", "1", "2"}.isdisjoint(given) and {"s", "z", "Z"}.isdisjoint(given)
    kinds = {letter: kind for letter, kind in (("f", "function"), ("d", "data")) if letter in given}
    for hit in session.symbols.match(pattern):
        session.check_interrupt()
        kind = hit.symbol.kind
        if kind == "constant" or (kinds and kind not in kinds.values()):
            continue
        if bare:
            yield SymbolRow(hit.va, tick(hit.va), undecorated(hit.name), "", "", 0, "")
        else:
            yield _row(session, hit)


def _row(session: Session, hit: Located) -> SymbolRow:
    symbol = hit.symbol
    source = "pub" if symbol.is_public else "prv"
    word = {"function": "func", "data": "global"}.get(symbol.kind, symbol.kind)
    kind = symbol.type
    declared = "<NoType>" if kind is None else _declared(session, hit)
    return SymbolRow(
        hit.va,
        tick(hit.va),
        undecorated(hit.name),
        declared,
        _note(session, hit),
        symbol.extent,
        f"{source} {word}",
    )


def _declared(session: Session, hit: Located) -> str:
    kind = hit.symbol.type
    if isinstance(kind, Function):
        return type_name(kind.result)
    return "<NoType>" if kind is None else type_name(kind).replace("* [", "*[")


def _note(session: Session, hit: Located) -> str:
    """`= value` of a variable, `(parameters)` of a function."""
    kind = hit.symbol.type
    if hit.symbol.kind == "function":
        if not isinstance(kind, Function):
            return NO_PARAMETERS
        return f"({', '.join(map(type_name, kind.parameters)) or 'void'})"
    if kind is None:
        return f"= {NO_TYPE}"
    if isinstance(kind, Array):
        return f"= {type_name(kind).replace('* [', '*[')}"
    return f"= {declared_value(session, kind, hit.va)}"


def _locals(session: Session) -> list[Variable]:
    found = scope_variables(session)
    if not found:
        raise SymbolError("Unable to enumerate locals, no private symbols for this frame")
    return found


def _local_row(session: Session, variable: Variable) -> SymbolRow:
    kind = "param" if variable.is_parameter else "local"
    return SymbolRow(
        variable.address,
        place_text(variable),
        variable.name,
        type_name(variable.type),
        f"= {variable_value(variable, session)}",
        variable.type.size,
        f"prv {kind}",
    )


def _check_module(session: Session, pattern: str, *, found: bool) -> None:
    """`x foo!*` with no such module is a mistake; `x nt!nothing*` merely finds nothing."""
    module, _, _ = pattern.partition("!")
    plain = module.isidentifier()
    if not found and plain and session.symbols.module_named(module) is None:
        raise SymbolError(f"Couldn't resolve 'x {pattern}': no module '{module}'")


_SORTED_BY: Keys[SymbolRow] = {
    "n": lambda row: row.name.lower(),
    "z": lambda row: row.size,
    "a": lambda row: row.va or 0,
}


@dataclass(frozen=True, slots=True)
class NearestSymbols:
    """The symbol at or below an address, and the next one."""

    line: str
    below: str
    above: str
    exact: tuple[str, ...]
    links: bool

    def lines(self) -> Iterator[str]:
        if self.links:
            yield from ("Browse module", "Set bu breakpoint", "")
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
    params=(
        Param("address", "expression", "without one: where the processor stands", optional=True),
    ),
    options=(Option("/D", "with the links of a graphical debugger"),),
    needs=Caps.NONE,
    see_also=("x", "lm", "u"),
)
def nearest(session: Session, args: Arguments, name: str) -> NearestSymbols | None:
    """The symbol that holds the address and the one that follows it."""
    given = args.switches("D")
    address = args.optional_address()
    args.at_end()
    va = session.instruction_pointer if address is None else address
    return nearest_symbols(session, va, links="D" in given)


def nearest_symbols(session: Session, va: int, *, links: bool = False) -> NearestSymbols | None:
    """The symbol at or below an address and the next; None where there is none."""
    found = session.symbols.nearest(va)
    if found is None:
        return None
    symbol, distance = found
    offset = f"+0x{distance:x}" if distance else ""
    below = f"({tick(symbol.va)})   {symbol.name}{offset}"
    exact = () if distance else tuple(_exact(session, symbol))
    above = _following(symbol.module, va)
    return NearestSymbols(_source(session, va), below, above, exact, links)


def _exact(session: Session, symbol: Located) -> Iterator[str]:
    """Every name of the address, the one shown first."""
    names = [symbol.symbol]
    if symbol.module.source is not None:
        names += (
            other
            for other in symbol.module.source.at(symbol.symbol.rva)
            if other.name != symbol.symbol.name
        )
    for name in names:
        hit = type(symbol)(symbol.module, name)
        yield f"{hit.name} {_note(session, hit)}"


def _following(module: Module, va: int) -> str:
    """The first symbol above an address."""
    symbol = module.source.after(va - module.base) if module.source else None
    return f"({tick(module.base + symbol.rva)})   {module.name}!{symbol.name}" if symbol else ""


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
