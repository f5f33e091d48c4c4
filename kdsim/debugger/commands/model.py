"""`dx` and `dtx`: expressions shown as trees, with the types of the target."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.context import SessionContext
from kdsim.debugger.commands.model_expression import ModelExpressions, split
from kdsim.debugger.commands.model_format import Formats, NativeValues, cpp_name, parse_formats
from kdsim.debugger.commands.model_objects import Sequence, Thing, Value
from kdsim.debugger.commands.registry import HELP_LETTER, HELP_SWITCH, Option, Param, command
from kdsim.debugger.language.typed import Typed
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.types import Array, Pointer

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

CHILD_LIMIT = 100
"""Elements of an array or sequence shown at once."""
INDENT = 4
NAME_WIDTH = 16
GAP = " " * 17
"""Between an expression and its value."""
CONTINUED = "[...]"
_OPTION = re.compile(r"-(gc|g|c|n|v|r(\d*))(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Node:
    """One line of the tree and what is below it."""

    name: str
    value: str
    type: str
    children: tuple[Node, ...] = ()

    def line(self, name: str) -> str:
        # What can be done with an object stands where a value has its type.
        is_type = self.type and not self.type.lstrip().startswith("[")
        kind = f"[Type: {self.type}]" if is_type else self.type
        return " ".join(
            part for part in (name, f": {self.value}" if self.value else "", kind) if part
        )

    def lines(self, depth: int = 0) -> Iterator[str]:
        for child in self.children:
            pad = " " * INDENT * (depth + 1)
            yield pad + child.line(f"{child.name:{NAME_WIDTH}}").rstrip()
            yield from child.lines(depth + 1)


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression and its value."""

    expression: str
    node: Node

    def lines(self) -> Iterator[str]:
        yield self.node.line(f"{self.expression}{GAP[1:]}").rstrip()
        yield from self.node.lines()


@dataclass(frozen=True, slots=True)
class Grid:
    """`-g`: a row for each element, a column for each of its members."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def lines(self) -> Iterator[str]:
        widths = [
            max(len(row[n]) for row in (self.columns, *self.rows)) for n in range(len(self.columns))
        ]
        border = "=" * (sum(width + 3 for width in widths) + 1)
        yield border
        yield self._row("=", self.columns, widths)
        yield border
        for row in self.rows:
            yield self._row("-", row, widths)
        yield border

    @staticmethod
    def _row(separator: str, cells: tuple[str, ...], widths: list[int]) -> str:
        texts = (f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        return f"= {f' {separator} '.join(texts)} ="


@dataclass(frozen=True, slots=True)
class _Options:
    depth: int = 1
    skip: int = 0
    raw: bool = False
    grid: bool = False
    cell: int = 0


@command(
    "dx",
    summary="Show a C++ expression, or an object of the debugger, as a tree.",
    group="types",
    params=(Param("expression", "expression", "C++, or an object such as @$cursession"),),
    options=(
        Option("-r[n]", "open n levels, 1 without a number"),
        Option("-g", "a grid, a row for each element"),
        Option("-gc", "a grid whose cells have this width", "<width>"),
        Option("-c", "leave out the first elements", "<count>"),
        Option("-n", "no visualizations, as ,! does"),
        Option("-v", "verbose"),
        HELP_LETTER,
        HELP_SWITCH,
    ),
    needs=Caps.NONE,
    see_also=("dt", "??", "dtx"),
    notes="A format may follow after a comma: x d o b numbers; en nvo enumerations; c character;\n"
    "s sb s8 s8b su sub strings; ! raw; na without addresses; a number or [expression]:\n"
    "so many elements of a pointer.",
)
def dx(session: Session, args: Arguments, name: str) -> Tree | Grid:
    """Values are read with the types of the PDBs; objects from the kernel's lists."""
    options = _options(args)
    text = args.rest()
    if not text:
        raise ArgumentError("dx needs an expression, for instance dx @$curprocess")
    if "@@" in text:
        raise ArgumentError("Error: dx does not switch between the languages of expressions")
    return _show(session, args, text, options)


@command(
    "dtx",
    summary="Show memory as a type, in the way of dx.",
    group="types",
    params=(Param("type", "type"), Param("address", "expression", "where the value lies")),
    options=(
        Option("-r[n]", "open n levels, 1 without a number"),
        Option("-a", "the elements of arrays"),
        HELP_LETTER,
    ),
    needs=Caps.NONE,
    see_also=("dt", "dx"),
)
def dtx(session: Session, args: Arguments, name: str) -> Tree | Grid:
    """`dtx nt!_EPROCESS Address` is `dx (*((nt!_EPROCESS *)Address))`."""
    depth = 1
    while found := re.match(r"-(a|r(\d*))(?=\s|$)", args.peek()):
        args.word()
        # The elements of an array are one level deeper.
        depth = int(found[2] or 1) if found[1].startswith("r") else max(depth, 2)
    kind = args.word()
    if kind is None or args.done:
        raise ArgumentError("dtx needs a type and an address")
    address = args.address()
    args.at_end()
    return _show(session, args, f"(*(({kind} *)0x{address:x}))", _Options(depth))


def _options(args: Arguments) -> _Options:
    depth, skip, cell = 1, 0, 0
    flags: set[str] = set()
    while re.match(r"-[A-Za-z?]", args.peek()):
        found = _OPTION.match(args.peek())
        if found is None:
            raise args.error()
        args.position += found.end()
        if found[1].startswith("r"):
            depth = int(found[2] or 1)
        elif found[1] == "c":
            skip = args.expression()
        elif found[1] == "gc":
            cell = args.expression()
            flags.add("g")
        else:
            flags.add(found[1])
    return _Options(depth, skip, "n" in flags, "g" in flags, cell)


def _show(session: Session, args: Arguments, text: str, options: _Options) -> Tree | Grid:
    assert isinstance(args.context, SessionContext)
    expressions = ModelExpressions(session, args.context)
    expression, *words = split(text)
    length = None
    for word in [word for word in words if word.startswith("[") and word.endswith("]")]:
        length = expressions.number(word[1:-1])
        words.remove(word)
    formats = parse_formats(words, raw=options.raw, length=length)
    value = expressions.value(expression)
    builder = _Builder(session, args.context, formats, options)
    if options.grid and builder.is_iterable(value):
        return builder.grid(value)
    return Tree(text, builder.node("", value, options.depth, options.skip))


class _Builder:
    """Makes trees and grids of values."""

    def __init__(
        self, session: Session, context: SessionContext, formats: Formats, options: _Options
    ) -> None:
        self._session = session
        self._formats = formats
        self._options = options
        self._natives = NativeValues(session, context, formats)

    def node(self, name: str, value: Value, depth: int, skip: int = 0) -> Node:
        """A value with `depth` levels below it."""
        self._session.check_interrupt()
        children: tuple[Node, ...] = ()
        if depth > 0:
            children = tuple(self._children(value, depth - 1, skip))
        return Node(name, self._text(value), self._type(value), children)

    def _text(self, value: Value) -> str:
        match value:
            case Typed():
                if value.type.c_name == "void" and value.address is not None:
                    raise ArgumentError(
                        f"Error: No type (or void) for object at Address 0x{value.address:x}"
                    )
                try:
                    return self._natives.text(value)
                except MemoryFault as fault:
                    return f"Unable to read memory at Address 0x{fault.address:x}"
            case Thing():
                return value.text
            case Sequence():
                return ""
            case bool():
                return "true" if value else "false"
            case int():
                return self._formats.number(value)
        return value

    def _type(self, value: Value) -> str:
        if isinstance(value, Typed):
            return cpp_name(value.type)
        return value.mark if isinstance(value, Thing) else ""

    def _children(self, value: Value, depth: int, skip: int) -> Iterator[Node]:
        rows = self._rows(value)
        elements = islice(rows, skip, None)
        for count, (name, item) in enumerate(elements):
            if count >= CHILD_LIMIT and name.startswith("[") and not name.startswith("[+"):
                yield Node(CONTINUED, "", "")
                return
            if isinstance(value, Typed) and isinstance(item, str):
                yield Node(name, item, "")
            elif name == "[<Raw View>]":
                yield Node(name, "", self._type(item))
            else:
                yield self.node(name, item, depth)
        if skip and not isinstance(value, Thing):
            yield Node(CONTINUED, "", "")

    def _rows(self, value: Value) -> Iterator[tuple[str, Value]]:
        match value:
            case Typed():
                yield from self._natives.children(value)
            case Thing():
                yield from ((name, make()) for name, make in value.members.items())
            case Sequence():
                for index, (key, item) in enumerate(value.rows()):
                    if self._formats.length is not None and index >= self._formats.length:
                        return
                    yield f"[{self._formats.number(key)}]", item

    # -- grids -----------------------------------------------------------------------------------

    def is_iterable(self, value: Value) -> bool:
        if isinstance(value, Typed):
            counted = isinstance(value.type, Pointer) and self._formats.length is not None
            return counted or isinstance(value.type, Array)
        return isinstance(value, Sequence)

    def grid(self, value: Value) -> Grid:
        """Each element is a row; where elements have no members there is one column."""
        columns: dict[str, None] = {}
        rows: list[tuple[str, dict[str, str]]] = []
        for name, item in islice(self._rows(value), self._options.skip, None):
            self._session.check_interrupt()
            cells: dict[str, str] = {}
            for label, member in self._rows(item):
                cells[_column(label)] = self._cell(member)
            if not cells:
                cells[""] = self._cell(item)
            columns.update(dict.fromkeys(cells))
            text = self._text(item) if isinstance(item, Thing) else ""
            rows.append((f"{name} : {text}" if text else name, cells))
            if len(rows) >= CHILD_LIMIT:
                break
        table = tuple((name, *(cells.get(c, "") for c in columns)) for name, cells in rows)
        return Grid(("", *columns), table)

    def _cell(self, value: Value) -> str:
        text = self._text(value) or "{...}"
        width = self._options.cell
        return text[:width] if width else text


def _column(label: str) -> str:
    """`[+0x008] Blink` is the column `Blink`."""
    return label.partition("] ")[2].strip() if label.startswith("[+") else label.strip()
