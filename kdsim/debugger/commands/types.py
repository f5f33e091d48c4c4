"""`dt`: types, and memory seen through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect.nt import LIST_LIMIT
from kdsim.debugger.inspect.typetree import FieldLine, Style, TypeTree
from kdsim.debugger.registers import SLOTS
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, SymbolError
from kdsim.symbols.types import Enum, Pointer, Record, Type

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

DEFAULT_LEVELS = 1
BLOCK_LEVELS = 16
NAME_LIMIT = 4096
_SUBSCRIPT = re.compile(r"\[(\d+)\]$")
_FIELD = re.compile(r"(?!0[xnty])[A-Za-z_][\w.*]*$")


@dataclass(frozen=True, slots=True)
class Options:
    """The switches of `dt`."""

    levels: int
    arrays: int
    verbose: bool
    names_only: bool
    no_offsets: bool
    compact: bool
    no_indent: bool
    list_field: str


@dataclass(frozen=True, slots=True)
class TypeDump:
    """A type's fields, or a value of it."""

    heading: str
    rows: tuple[FieldLine, ...]
    options: Options
    problem: str = ""

    def lines(self) -> Iterator[str]:
        if self.heading:
            yield self.heading
        for row in self.rows:
            text = str(row)
            if self.options.no_offsets:
                text = re.sub(r"\+0x[0-9a-f]+ ", "", text, count=1)
            yield text.lstrip() if self.options.no_indent else text
        if self.problem:
            yield self.problem


def _options(args: Arguments) -> Options:
    given = args.switches("a", "b", "c", "d", "e", "i", "o", "p", "r", "s:", "t", "v", "n", "y")
    levels = 0
    if "r" in given:
        levels = DEFAULT_LEVELS
    if "b" in given:
        levels = BLOCK_LEVELS
    return Options(
        levels=levels,
        arrays=10 if "a" in given else 0,
        verbose="v" in given,
        names_only="t" in given,
        no_offsets="o" in given,
        compact="c" in given,
        no_indent="i" in given,
        list_field="",
    )


@command(
    "dt",
    summary="A type's layout, or memory shown as that type.",
    group="symbols",
    params=(
        Param(
            "options", "flags", "-r[n] nested, -v sizes, -b blocks, -o no offsets", optional=True
        ),
        Param("type", "type", "nt!_EPROCESS; with * a list of names; or a global variable"),
        Param("fields", "field", "only these; name. opens one", optional=True),
        Param("address", "expression", "where the value lies", optional=True),
    ),
    needs=Caps.NONE,
    see_also=("x", "dv", "??"),
    glued=r"[-/\s]",
)
def dt(session: Session, args: Arguments, name: str) -> TypeDump | list[str] | None:
    """Types come from the module's PDB; values from memory at the address given."""
    options, levels = _leading_options(args)
    type_name = args.pattern()
    if not type_name:
        raise ArgumentError("dt needs a type, for instance dt nt!_EPROCESS")
    if "*" in type_name or type_name.endswith("!"):
        return _type_names(session, type_name)
    fields = _field_names(session, args)
    list_field = _list_field(args)
    address = args.optional_address()
    fields += _field_names(session, args)
    list_field = list_field or _list_field(args)
    args.at_end()
    tree = TypeTree(session.memory, Style(levels, options.verbose, options.arrays))
    kind, found_at, heading = _resolve(session, type_name, options)
    place = address if address is not None else found_at
    if list_field:
        return _walk_list(session, tree, kind, place, fields, list_field, options)
    return _dump(tree, kind, place, fields, heading, options)


def _leading_options(args: Arguments) -> tuple[Options, int]:
    """Switches first; a number glued to `-r` or `-a` is its depth."""
    text = args.peek()
    numbered = re.match(r"((?:-[A-Za-z]+\s+)*)-(r|a)(\d+)(?=\s|$)", text)
    depth = int(numbered[3]) if numbered and numbered[2] == "r" else 0
    while match := re.match(r"-(r|a)\d+(?=\s|$)", args.peek()):
        args.word()
        if match[1] == "a":
            depth = max(depth, 0)
    options = _options(args)
    while re.match(r"-(r|a)\d+(?=\s|$)", args.peek()):
        args.word()
    return options, depth or options.levels


def _field_names(session: Session, args: Arguments) -> tuple[str, ...]:
    """Words that look like field names rather than like an address."""
    names: list[str] = []
    while not args.done:
        args.switches("n", "y")
        start = args.position
        word = args.word() or ""
        plain = word.rstrip(".").rstrip("*")
        is_number = re.fullmatch(r"[0-9a-fA-F`]+h?", plain) is not None
        if not _FIELD.match(word) or is_number or plain.lower() in SLOTS:
            args.position = start
            break
        if "!" in word or word.startswith("-"):
            args.position = start
            break
        names.append(word)
    return tuple(names)


def _list_field(args: Arguments) -> str:
    given = args.switches("l:")
    return given.get("l", "")


def _type_names(session: Session, pattern: str) -> list[str]:
    module, _, rest = pattern.rpartition("!")
    names = session.symbols.type_names(module or "nt", rest or "*")
    found = list(islice(names, NAME_LIMIT))
    if not found:
        raise SymbolError(f"Symbol {pattern} not found.")
    return [f"          {module or 'nt'}!{found_name}" for found_name in found]


def _resolve(session: Session, name: str, options: Options) -> tuple[Type, int | None, str]:
    """(type, address when `name` is a variable, heading)."""
    subscript = _SUBSCRIPT.search(name)
    plain = name[: subscript.start()] if subscript else name
    try:
        kind = session.symbols.type(plain)
    except SymbolError:
        located = session.symbols.lookup(plain)
        typed = next((found for found in located if found.symbol.type is not None), None)
        if typed is None:
            raise SymbolError(f"Symbol {name} not found.") from None
        assert typed.symbol.type is not None
        return typed.symbol.type, typed.va, ""
    heading = ""
    if options.verbose and isinstance(kind, Record):
        heading = f"{kind.kind} {kind.name}, {len(kind.fields)} elements, 0x{kind.size:x} bytes"
    return kind, None, heading


def _dump(
    tree: TypeTree,
    kind: Type,
    place: int | None,
    fields: tuple[str, ...],
    heading: str,
    options: Options,
) -> TypeDump | list[str]:
    if isinstance(kind, Record):
        rows = tuple(_rows(tree, kind, place, fields))
        if fields and not rows:
            raise ArgumentError(f"{kind.name} has no field {fields[0]}")
        failed = tree.failure
        problem = f"Memory read error {failed.address:016x}" if failed else ""
        return TypeDump(heading, rows, options, problem)
    if isinstance(kind, Enum) and place is None:
        values = (f"   {name} = 0n{value}" for name, value in kind.values.items())
        return [f"Enum {kind.name},  {len(kind.values)} total enums", *values]
    if place is None:
        return [kind.name]
    return [f"{tree.value(kind, place)}"]


def _rows(
    tree: TypeTree, kind: Record, place: int | None, fields: tuple[str, ...]
) -> Iterator[FieldLine]:
    """Fields; `Pcb.` opens one level, `Pcb.Header` follows the path."""
    if not fields:
        yield from tree.fields(kind, place)
        return
    for wanted in fields:
        head, dot, rest = wanted.partition(".")
        for line in tree.fields(kind, place, (head,)):
            yield line
            inner = kind.by_name[line.name].type if dot else None
            at = None if place is None else place + line.offset
            if isinstance(inner, Pointer) and at is not None:
                at = int.from_bytes(tree.read(at, inner.size), "little")
                inner = inner.target
            if isinstance(inner, Record):
                names = (rest,) if rest.strip(".") else ()
                for nested in _rows(tree, inner, at, names):
                    yield FieldLine(nested.depth + 1, nested.offset, nested.name, nested.text)


def _walk_list(
    session: Session,
    tree: TypeTree,
    kind: Type,
    place: int | None,
    fields: tuple[str, ...],
    list_field: str,
    options: Options,
) -> list[str]:
    """`-l Field`: this record, then the one its field points at, and so on."""
    if not isinstance(kind, Record) or place is None:
        raise ArgumentError("dt -l needs a structure and an address")
    try:
        offset, _ = kind.find(list_field)
    except KeyError:
        raise ArgumentError(f"{kind.name} has no field {list_field}") from None
    link_offset = kind.offset(list_field.split(".")[0])
    is_list_entry = isinstance(kind.find(list_field.split(".")[0])[1], Record)
    lines = [f"{list_field} at 0x{tick(place)}"]
    start = place
    for _ in range(LIST_LIMIT):
        lines += [f"{'-' * 45}"]
        lines += TypeDump("", tuple(_rows(tree, kind, place, fields)), options).lines()
        place = int.from_bytes(session.memory.read(place + offset, 8), "little")
        if place and is_list_entry:
            place -= link_offset
        if place in (0, start):
            break
        lines += [f"{list_field} at 0x{tick(place)}"]
    return lines
