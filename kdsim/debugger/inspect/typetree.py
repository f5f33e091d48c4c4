"""A record as `dt` shows it: one line a field, nested as deep as asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect.typevalues import TypeValues, visible_fields
from kdsim.debugger.text import PLAIN, IntegerStyle
from kdsim.errors import MemoryFault
from kdsim.symbols.memory import Memory
from kdsim.symbols.types import Array, Field, Pointer, Record, Type
from kdsim.symbols.wildcard import has_wildcard, matches

INDENT = 3
NAME_WIDTH = 16
_SUBSCRIPT = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True, slots=True)
class FieldLine:
    """One field, or one element of an array: where it is, its name, its value or type."""

    depth: int
    offset: int
    name: str
    text: str

    def __str__(self) -> str:
        return self.line()

    def line(self, width: int = NAME_WIDTH, *, offsets: bool = True, indent: bool = True) -> str:
        """As text; `width` of the names' column."""
        pad = " " * (INDENT * (self.depth + 1)) if indent else ""
        if self.name.startswith("["):
            # An element stands one column behind the field it belongs to.
            return f"{pad[: 1 - INDENT]}{self.name} {self.text}".rstrip()
        place = f"+0x{self.offset:03x} " if offsets else ""
        return f"{pad}{place}{self.name:{width}} : {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Style:
    """The options of `dt` that shape the tree.

    Attributes:
        depth: levels of nested records to open (`-r2`).
        pointers: levels down to which pointers are followed.
        arrays: elements of an array to show, each on its line; 0 means all, None not at all.
        elements: open the elements of arrays of records too (`-b`).
        verbose: sizes and counts in type texts.
        integers: what `.typeopt` says.
    """

    depth: int = 0
    pointers: int = 0
    arrays: int | None = None
    elements: bool = False
    verbose: bool = False
    integers: IntegerStyle = PLAIN


@dataclass(frozen=True, slots=True)
class Wanted:
    """A field the user asked for.

    Attributes:
        path: `Pcb.Header[1]` as its parts; an empty part means all fields of that level.
        prefix: the last part is only the beginning of a name.
        arrays: as in `Style`, for this field.
    """

    path: tuple[str, ...]
    prefix: bool = False
    arrays: int | None = None

    @property
    def subscript(self) -> int | None:
        """The one element of an array that is wanted."""
        found = _SUBSCRIPT.search(self.path[0])
        return int(found[1]) if found else None

    def names(self, field: str) -> bool:
        """Whether it means this field; a name with a dot behind it is a prefix."""
        name = _SUBSCRIPT.sub("", self.path[0]).lower()
        if has_wildcard(name):
            return matches(name, field)
        if self.subscript is None and (self.prefix or len(self.path) > 1):
            return field.lower().startswith(name)
        return field.lower() == name or not name

    @property
    def deeper(self) -> Wanted | None:
        """What is wanted inside the field."""
        if len(self.path) == 1:
            return None
        return Wanted(self.path[1:], self.prefix, self.arrays)


class TypeTree:
    """Renders fields, with values when an address is given."""

    def __init__(
        self, memory: Memory, style: Style, describe: Callable[[int], str | None] | None = None
    ) -> None:
        self._style = style
        self.values = TypeValues(
            memory, verbose=style.verbose, integers=style.integers, describe=describe
        )

    @property
    def failure(self) -> MemoryFault | None:
        """The last value that could not be read."""
        return self.values.failure

    def fields(
        self,
        record: Record,
        address: int | None,
        wanted: tuple[Wanted, ...] = (),
        depth: int = 0,
    ) -> Iterator[FieldLine]:
        """The lines of a record; of the `wanted` fields only, when there are any."""
        for field in visible_fields(record):
            asked = [name for name in wanted if name.names(field.name)]
            place = None if address is None else address + field.offset
            if not wanted:
                yield from self._field(field, place, [], None, depth)
            for subscript in dict.fromkeys(name.subscript for name in asked):
                same = [name for name in asked if name.subscript == subscript]
                yield from self._field(field, place, same, subscript, depth)

    def _field(
        self,
        field: Field,
        place: int | None,
        asked: list[Wanted],
        subscript: int | None,
        depth: int,
    ) -> Iterator[FieldLine]:
        kind, offset, name = field.type, field.offset, field.name
        if subscript is not None and isinstance(kind, Array):
            name, kind = f"{name}[{subscript}]", kind.element
            offset += subscript * kind.size
            place = None if place is None else place + subscript * kind.size
        inner = tuple(deeper for name in asked if (deeper := name.deeper))
        if inner:
            yield FieldLine(depth, offset, name, self._opened(kind, place))
            yield from self._inside(kind, place, inner, depth)
            return
        arrays = next((w.arrays for w in asked if w.arrays is not None), self._style.arrays)
        if arrays is not None and isinstance(kind, Array):
            yield FieldLine(depth, offset, name, "")
            yield from self.elements(kind, place, arrays, depth + 1)
            return
        opened = depth < self._style.depth
        is_listed = opened and self._style.elements and place is not None
        is_listed = is_listed and isinstance(kind, Array) and isinstance(kind.element, Record)
        yield FieldLine(depth, offset, name, "" if is_listed else self._text(kind, place))
        if opened:
            yield from self._nested(kind, place, depth)

    def _text(self, kind: Type, place: int | None) -> str:
        if place is None:
            return self.values.type_text(kind)
        return self.values.value(kind, place)

    def _opened(self, kind: Type, place: int | None) -> str:
        """A record that is opened by a dot shows no type, since its fields follow."""
        if not isinstance(kind, Record):
            return self._text(kind, place)
        if place is None:
            return ""
        try:
            return self.values.summary(kind, place)
        except MemoryFault:
            return ""

    def elements(
        self, kind: Array, place: int | None, limit: int, depth: int
    ) -> Iterator[FieldLine]:
        """`[00] value` lines; an element that is a record shows its fields."""
        step = kind.element.size
        for index in range(min(kind.count, limit) if limit else kind.count):
            where = None if place is None else place + index * step
            yield FieldLine(depth, index * step, f"[{index:02}]", self._opened(kind.element, where))
            if isinstance(kind.element, Record):
                yield from self.fields(kind.element, where, depth=depth)

    def _nested(self, kind: Type, place: int | None, depth: int) -> Iterator[FieldLine]:
        """What `-r` and `-b` open."""
        if isinstance(kind, Array) and isinstance(kind.element, Record):
            if self._style.elements and place is not None:
                yield from self.elements(kind, place, 0, depth + 1)
            else:
                yield from self.fields(kind.element, place, depth=depth + 1)
        elif isinstance(kind, Record) or depth < self._style.pointers:
            yield from self._inside(kind, place, (), depth)

    def _inside(
        self, kind: Type, place: int | None, wanted: tuple[Wanted, ...], depth: int
    ) -> Iterator[FieldLine]:
        """The fields of a record, or of the one a pointer leads to."""
        if isinstance(kind, Pointer):
            if place is not None:
                try:
                    place = self.values.integer(place, kind.size)
                except MemoryFault:
                    return
                if not place:
                    return
            kind = kind.target
        if isinstance(kind, Record):
            yield from self.fields(kind, place, wanted, depth + 1)
