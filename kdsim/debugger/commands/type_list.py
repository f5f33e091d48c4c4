"""Lists of types and variables: `dt nt!_KPR*`, `dt -y nt!_EPRO`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.inspect.typetree import FieldLine, Style, TypeTree
from kdsim.debugger.text import address as tick
from kdsim.errors import SymbolError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.commands.type_request import TypeRequest
    from kdsim.debugger.session import Session
    from kdsim.symbols.types import Type


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One name: a variable has an address, a type has none. `fields` are those of `-d`."""

    name: str
    address: int | None
    size: int | None
    fields: tuple[FieldLine, ...] = ()


@dataclass(frozen=True, slots=True)
class TypeList:
    """The names that fit a pattern."""

    heading: tuple[str, ...]
    rows: tuple[TypeRow, ...]
    sizes: bool

    def lines(self) -> Iterator[str]:
        yield from self.heading
        for row in self.rows:
            place = "" if row.address is None else tick(row.address)
            if self.sizes:
                size = "   " if row.size is None else f"{row.size:03x}"
                yield f"{place:17}   {size} {row.name}"
            elif place:
                yield f"{place}  {row.name}"
            else:
                yield f"          {row.name}"
            yield from map(str, row.fields)


def list_types(session: Session, request: TypeRequest) -> TypeList:
    """All types, globals and statics whose names fit."""
    heading: tuple[str, ...] = ()
    if request.has("v"):
        size = "" if request.size is None else f", Size = 0x{request.size:x}"
        heading = (
            f"Enumerating symbols matching {request.name}{size}",
            f"{'Address':19}Size Symbol",
        )
    headings = iter([heading])
    rows = _rows(session, request)
    found = in_pieces(
        session, rows, lambda piece: TypeList(next(headings, ()), tuple(piece), request.has("v"))
    )
    if not found.rows:
        raise SymbolError(f"Symbol {request.name} not found.")
    return found


def prefix_matches(session: Session, request: TypeRequest) -> TypeList | None:
    """`-y`: the names that begin so, when they are more than one."""
    name = request.name
    request.name = f"{name}*"
    try:
        rows = tuple(row for row in _rows(session, request) if row.address is None)
    finally:
        request.name = name
    if not rows:
        raise SymbolError(f"Symbol {name}* not found.")
    return TypeList((), rows, request.has("v"))


def _rows(session: Session, request: TypeRequest) -> Iterator[TypeRow]:
    module, _, pattern = request.name.rpartition("!")
    module, pattern = module or "*", pattern or "*"
    # `-s` and `-e` enumerate types; with `-v` every symbol shows, with a type or without.
    if not request.has("t"):
        yield from _variables(session, request, f"{module}!{pattern}")
    space = session.symbols
    need_type = request.has("v") or request.has("d") or request.size is not None
    for found in space.modules_like(module):
        for name in space.type_names(found.name, pattern):
            kind = space.type(f"{found.name}!{name}") if need_type else None
            if request.size is not None and (kind is None or kind.size != request.size):
                continue
            fields = _fields(session, kind) if request.has("d") else ()
            yield TypeRow(f"{found.name}!{name}", None, kind.size if kind else None, fields)


def _variables(session: Session, request: TypeRequest, pattern: str) -> Iterator[TypeRow]:
    for hit in session.symbols.match(pattern):
        symbol = hit.symbol
        if symbol.kind == "constant":
            continue
        if not request.has("v") and (symbol.kind != "data" or symbol.type is None):
            continue
        size = symbol.extent or None
        if request.size is None or size == request.size:
            yield TypeRow(hit.name, hit.va, size)


def _fields(session: Session, kind: Type | None) -> tuple[FieldLine, ...]:
    if not isinstance(kind, Record):
        return ()
    return tuple(TypeTree(session.memory, Style(verbose=True)).fields(kind, None))
