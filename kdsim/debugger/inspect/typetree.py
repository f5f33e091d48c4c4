"""A value of any type as `dt` shows it: one line a field, nested as deep as asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.text import address as tick
from kdsim.debugger.text import signed
from kdsim.errors import MemoryFault
from kdsim.symbols.memory import Memory
from kdsim.symbols.types import (
    Array,
    BaseType,
    BitField,
    Enum,
    Field,
    Function,
    Pointer,
    Record,
    Type,
)

HIDDEN_PREFIX = "_Padding"
"""Filler members of the layouts headers; a real PDB has none of that name."""

INDENT = 3
NAME_WIDTH = 16
TEXT_LIMIT = 256
UNREADABLE = "????"


@dataclass(frozen=True, slots=True)
class FieldLine:
    """One field: where it is, what it is called, its value or type."""

    depth: int
    offset: int
    name: str
    text: str

    def __str__(self) -> str:
        pad = " " * (INDENT * (self.depth + 1))
        return f"{pad}+0x{self.offset:03x} {self.name:{NAME_WIDTH}} : {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Style:
    """The options of `dt` that shape the tree.

    Attributes:
        depth: levels of nested records to open.
        verbose: sizes and counts in type texts.
        arrays: elements to show of an array; 0 shows only its kind.
    """

    depth: int = 0
    verbose: bool = False
    arrays: int = 0


def visible_fields(record: Record) -> list[Field]:
    return [field for field in record.fields if not field.name.startswith(HIDDEN_PREFIX)]


class TypeTree:
    """Renders fields, with values when an address is given."""

    def __init__(self, memory: Memory, style: Style) -> None:
        self._memory = memory
        self._style = style
        self.failure: MemoryFault | None = None
        """The last value that could not be read."""

    def read(self, va: int, size: int) -> bytes:
        return self._memory.read(va, size)

    def fields(
        self, record: Record, address: int | None, names: tuple[str, ...] = (), depth: int = 0
    ) -> Iterator[FieldLine]:
        """The lines of a record; `names`, when given, are prefixes of the fields wanted."""
        base = 0 if address is None else address
        for field in visible_fields(record):
            if names and not any(_matches(field.name, name) for name in names):
                continue
            place = None if address is None else base + field.offset
            text = self.type_text(field.type) if place is None else self.value(field.type, place)
            yield FieldLine(depth, field.offset, field.name, text)
            if depth < self._style.depth:
                yield from self._nested(field.type, place, depth + 1)

    def _nested(self, kind: Type, place: int | None, depth: int) -> Iterator[FieldLine]:
        if isinstance(kind, Record):
            yield from self.fields(kind, place, depth=depth)
        elif isinstance(kind, Array) and isinstance(kind.element, Record) and place is not None:
            for index in range(min(kind.count, self._style.arrays)):
                where = place + index * kind.element.size
                yield FieldLine(
                    depth, index * kind.element.size, f"[{index:02}]", kind.element.name
                )
                yield from self.fields(kind.element, where, depth=depth + 1)

    def type_text(self, kind: Type) -> str:
        if isinstance(kind, Record) and self._style.verbose:
            count = len(visible_fields(kind))
            return f"{kind.kind} {kind.name}, {count} elements, 0x{kind.size:x} bytes"
        return kind.name

    def value(self, kind: Type, place: int) -> str:
        """The value of `kind` at an address; what cannot be read says so."""
        try:
            return self._value(kind, place)
        except MemoryFault as error:
            self.failure = error
            return UNREADABLE

    def _value(self, kind: Type, place: int) -> str:
        if isinstance(kind, BaseType):
            return scalar(kind, self._memory.read(place, kind.size)) if kind.size else "Void"
        if isinstance(kind, BitField):
            raw = int.from_bytes(self._memory.read(place, kind.size), "little")
            return bits((raw >> kind.position) & ((1 << kind.length) - 1), kind.length)
        if isinstance(kind, Pointer):
            return self._pointer(kind, place)
        if isinstance(kind, Enum):
            raw = int.from_bytes(self._memory.read(place, kind.size), "little")
            return enumerator(kind, raw)
        if isinstance(kind, Array):
            return self._array(kind, place)
        if isinstance(kind, Record):
            return self._record(kind, place)
        return kind.name

    def _pointer(self, kind: Pointer, place: int) -> str:
        value = int.from_bytes(self._memory.read(place, kind.size), "little")
        if not value:
            return "(null) "
        target = kind.target
        text = f"0x{tick(value)} {target.name}"
        if isinstance(target, BaseType) and target.kind in ("char", "wchar"):
            return f'{text} "{self._text(value, target)}"'
        if isinstance(target, Function):
            return f"0x{tick(value)} {target.name}".rstrip()
        return text

    def _text(self, va: int, kind: BaseType) -> str:
        """NUL-terminated text behind a pointer; empty when unreadable."""
        step = kind.size
        found = bytearray()
        try:
            while len(found) < TEXT_LIMIT * step:
                unit = self._memory.read(va + len(found), step)
                if not any(unit):
                    break
                found += unit
        except MemoryFault:
            return UNREADABLE
        return found.decode("utf-16-le" if step == 2 else "latin-1", "replace")

    def _array(self, kind: Array, place: int) -> str:
        element = kind.element
        head = f"[{kind.count}] "
        if isinstance(element, BaseType) and element.size == 1:
            raw = self._memory.read(place, min(kind.size, TEXT_LIMIT)).split(b"\0", 1)[0]
            text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in raw)
            return f'{head} "{text}"'
        if isinstance(element, BaseType | Pointer | Enum) and self._style.arrays:
            shown = range(min(kind.count, self._style.arrays))
            values = (self.value(element, place + index * element.size) for index in shown)
            return f"{head}{', '.join(values)}"
        if isinstance(element, BaseType):
            return f"{head}{self._value(element, place)}"
        return f"{head}{element.name}"

    def _record(self, kind: Record, place: int) -> str:
        """A few records show their point on the line, as WinDbg does."""
        if kind.name == "_LIST_ENTRY":
            links = [int.from_bytes(self._memory.read(place + at, 8), "little") for at in (0, 8)]
            return f"_LIST_ENTRY [ 0x{tick(links[0])} - 0x{tick(links[1])} ]"
        if kind.name in ("_UNICODE_STRING", "_STRING"):
            return f'{kind.name} "{self._counted(kind, place)}"'
        if kind.name in ("_LARGE_INTEGER", "_ULARGE_INTEGER"):
            value = int.from_bytes(self._memory.read(place, 8), "little")
            return f"{kind.name} 0x{tick(value) if value >> 32 else format(value, 'x')}"
        return kind.name

    def _counted(self, kind: Record, place: int) -> str:
        length_at, length_type = kind.find("Length")
        length = int.from_bytes(self._memory.read(place + length_at, length_type.size), "little")
        buffer = int.from_bytes(self._memory.read(place + kind.offset("Buffer"), 8), "little")
        if not length or not buffer:
            return ""
        raw = self._memory.read(buffer, length)
        return raw.decode("utf-16-le" if kind.name == "_UNICODE_STRING" else "latin-1", "replace")


def _matches(name: str, wanted: str) -> bool:
    """A field is asked for by its name, by a prefix with `*`, or by the start of its name."""
    wanted = wanted.rstrip(".")
    if wanted.endswith("*"):
        return name.lower().startswith(wanted[:-1].lower())
    return name.lower() == wanted.lower()


def unsigned(value: int) -> str:
    """A bare digit below 10, else hex: `dt`'s rule for unsigned numbers."""
    return str(value) if value < 10 else f"0x{value:x}"


def scalar(kind: BaseType, raw: bytes) -> str:
    """A number, character or float in `dt`'s way."""
    if kind.kind == "float":
        return f"{struct.unpack('<f' if kind.size == 4 else '<d', raw)[0]:g}"
    value = int.from_bytes(raw, "little")
    if kind.kind == "int":
        return f"0n{signed(value, 8 * kind.size)}"
    if kind.kind == "wchar":
        return f"0x{value:x} '{_character(value)}'"
    if kind.size == 1 and kind.kind in ("uint", "char"):
        number = signed(value, 8) if kind.kind == "char" else value
        return f"{number if number < 0 else f'0x{number:x}'} '{_character(value)}'"
    if kind.size == 8 and value >> 32:
        return f"0x{tick(value)}"
    return unsigned(value)


def _character(value: int) -> str:
    return chr(value) if 0x20 <= value < 0x7F else ""


def bits(value: int, length: int) -> str:
    """`0y0101` for a few bits, hex with its length for many."""
    if length <= 8:
        return (
            f"0y{value:0{length}b}" if length == 1 else f"0y{value:0{length}b} ({unsigned(value)})"
        )
    return f"0y{value:0{length}b} (0x{value:x})"


def enumerator(kind: Enum, raw: int) -> str:
    value = signed(raw, 8 * kind.size)
    name = kind.name_of(value) or kind.name_of(raw)
    return f"0n{value} ( {name} )" if name else f"0n{value} (No matching name)"
