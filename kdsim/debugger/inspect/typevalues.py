"""Values of any type as `dt` writes them on a line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from uuid import UUID

from kdsim.debugger.text import PLAIN, IntegerStyle, signed
from kdsim.debugger.text import address as tick
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

TEXT_LIMIT = 256
UNREADABLE = "????"
CHARACTERS = ("char", "wchar")
COUNTED_STRINGS = ("_UNICODE_STRING", "_STRING")
LARGE_INTEGERS = ("_LARGE_INTEGER", "_ULARGE_INTEGER")


def visible_fields(record: Record) -> list[Field]:
    return [field for field in record.fields if not field.name.startswith(HIDDEN_PREFIX)]


class TypeValues:
    """Renders types, and values of them in one memory."""

    def __init__(
        self,
        memory: Memory,
        *,
        verbose: bool = False,
        integers: IntegerStyle = PLAIN,
        describe: Callable[[int], str | None] | None = None,
    ) -> None:
        """`describe` names the function at an address, for function pointers."""
        self.memory = memory
        self.verbose = verbose
        self._integers = integers
        self.failure: MemoryFault | None = None
        """The last value that could not be read."""
        self._describe = describe

    def type_text(self, kind: Type) -> str:
        """The type alone; `-v` adds sizes and counts."""
        if not self.verbose:
            return kind.name
        match kind:
            case Record():
                count = len(visible_fields(kind))
                return f"{kind.kind} {kind.name}, {count} elements, 0x{kind.size:x} bytes"
            case Enum():
                return f"Enum {kind.name},  {len(kind.values)} total enums"
            case Pointer():
                return f"Ptr{kind.size * 8} to {self.type_text(kind.target)}"
            case Array():
                return f"[{kind.count}] {self.type_text(kind.element)}"
            case BitField():
                return f"Bitfield {kind.name}"
        return kind.name

    def value(self, kind: Type, place: int) -> str:
        """The value of `kind` at an address; what cannot be read says so."""
        try:
            return self._value(kind, place)
        except MemoryFault as error:
            self.failure = error
            return UNREADABLE

    def _is_wide_text(self, kind: BaseType) -> bool:
        return self._integers.unicode and kind.kind == "uint" and kind.size == 2

    def _is_text(self, kind: BaseType) -> bool:
        """Whether an array of these is shown as a string."""
        return kind.kind in CHARACTERS or kind.size == 1 or self._is_wide_text(kind)

    def _points_to_text(self, kind: BaseType) -> bool:
        """Of bytes that are no characters a pointer shows the first one."""
        return kind.kind in CHARACTERS or kind.name == "UChar" or self._is_wide_text(kind)

    def integer(self, place: int, size: int) -> int:
        return int.from_bytes(self.memory.read(place, size), "little")

    def _value(self, kind: Type, place: int) -> str:
        match kind:
            case BaseType():
                if not kind.size:
                    return "Void"
                return scalar(kind, self.memory.read(place, kind.size), self._integers)
            case BitField():
                raw = self.integer(place, kind.size)
                return bits((raw >> kind.position) & ((1 << kind.length) - 1), kind.length)
            case Pointer():
                return self.pointer(kind, self.integer(place, kind.size))
            case Enum():
                return enumerator(kind, self.integer(place, kind.size))
            case Array():
                return self._array(kind, place)
            case Record():
                return f"{self.type_text(kind)} {self.summary(kind, place)}".rstrip()
        return kind.name

    def pointer(self, kind: Pointer, value: int) -> str:
        """A pointer and what is worth saying of its target."""
        if not value:
            return "(null) "
        target, text = kind.target, f"0x{tick(value)}"
        match target:
            case BaseType() if self._points_to_text(target):
                return f'{text}  "{self._text(value, target)}"'
            case BaseType() if not target.size:
                return f"{text} {target.name}"
            case Function():
                name = self._function(value)
                return f"{text} {target.name} {name}".rstrip()
            case BaseType() | Pointer() | Enum():
                return f"{text} -> {self._pointee(target, value)}"
            case Record():
                summary = self._pointee_summary(target, value)
                return f"{text} {self.type_text(target)} {summary}".rstrip()
        return f"{text} {target.name}"

    def _function(self, va: int) -> str:
        """`tidy!Unload+0`: the distance is always there."""
        name = self._describe(va) if self._describe else ""
        if not name:
            return ""
        symbol, _, distance = name.partition("+")
        return f"{symbol}+{distance.removeprefix('0x') or '0'}"

    def _pointee(self, kind: Type, va: int) -> str:
        """Behind `->`: a value that cannot be read is no reason for the read error at the end."""
        try:
            return self._value(kind, va)
        except MemoryFault:
            return UNREADABLE

    def _pointee_summary(self, kind: Record, va: int) -> str:
        try:
            return self.summary(kind, va)
        except MemoryFault:
            return ""

    def _text(self, va: int, kind: BaseType) -> str:
        """NUL-terminated text behind a pointer; empty when unreadable."""
        step = kind.size
        found = bytearray()
        try:
            while len(found) < TEXT_LIMIT * step:
                unit = self.memory.read(va + len(found), step)
                if not any(unit):
                    break
                found += unit
        except MemoryFault:
            return UNREADABLE
        return found.decode("utf-16-le" if step == 2 else "latin-1", "replace")

    def _array(self, kind: Array, place: int) -> str:
        """The count and the first element; all of it where it is text."""
        element = kind.element
        head = f"[{kind.count}] "
        if isinstance(element, BaseType) and self._is_text(element):
            step = element.size
            raw = self.memory.read(place, min(kind.size, TEXT_LIMIT * step))
            text = raw.decode("utf-16-le" if step == 2 else "latin-1", "replace")
            return f'{head} "{_printable(text.split(chr(0), 1)[0])}"'
        if isinstance(element, Record) or not kind.count:
            return f"{head}{self.type_text(element)}"
        return f"{head}{self._value(element, place)}"

    def summary(self, kind: Record, place: int) -> str:
        """What a few well-known records show on their line; else nothing."""
        if kind.name == "_LIST_ENTRY":
            links = [self.integer(place + at, 8) for at in (0, 8)]
            return f"[ 0x{tick(links[0])} - 0x{tick(links[1])} ]"
        if kind.name in COUNTED_STRINGS:
            return f'"{self.counted(kind, place)}"'
        if kind.name in LARGE_INTEGERS:
            value = self.integer(place, 8)
            return f"0x{tick(value) if value >> 32 else format(value, 'x')}"
        if kind.name == "_GUID":
            return f"{{{UUID(bytes_le=self.memory.read(place, 16))}}}"
        return ""

    def counted(self, kind: Record, place: int) -> str:
        """The text of a _UNICODE_STRING or _STRING."""
        length_at, length_type = kind.find("Length")
        length = self.integer(place + length_at, length_type.size)
        buffer = self.integer(place + kind.offset("Buffer"), 8)
        if not length or not buffer:
            return ""
        raw = self.memory.read(buffer, length)
        return raw.decode("utf-16-le" if kind.name == "_UNICODE_STRING" else "latin-1", "replace")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() and ord(char) < 0x7F else "." for char in text)


def unsigned(value: int) -> str:
    """A bare digit below 10, else hex: `dt`'s rule for unsigned numbers."""
    return str(value) if value < 10 else f"0x{value:x}"


def scalar(kind: BaseType, raw: bytes, integers: IntegerStyle = PLAIN) -> str:
    """A number, character or float in `dt`'s way."""
    if kind.kind == "float":
        return f"{struct.unpack('<f' if kind.size == 4 else '<d', raw)[0]:g}"
    value = int.from_bytes(raw, "little")
    if kind.kind == "int" or (kind.kind == "uint" and kind.size > 1):
        text = integers.text(value, kind.size, kind.c_name)
        if text:
            return text
    if kind.kind == "int":
        return f"0n{signed(value, 8 * kind.size)}"
    if kind.kind == "wchar":
        return f"{hexadecimal(value)} '{_character(value)}'"
    if kind.kind == "char":
        return f"{signed(value, 8)} '{_character(value)}'"
    if kind.size == 1 and kind.kind == "uint":
        return f"{hexadecimal(value)} '{_character(value)}'"
    if kind.size == 8 and value >> 32:
        return f"0x{tick(value)}"
    return unsigned(value)


def hexadecimal(value: int) -> str:
    """Of a byte even a single digit has its `0x`; only nothing is a bare 0."""
    return f"0x{value:x}" if value else "0"


def _character(value: int) -> str:
    return chr(value) if 0x20 <= value < 0x7F else ""


def bits(value: int, length: int) -> str:
    """`0y101`; what is longer than a digit has its number behind it: `0y00110 (0x6)`."""
    text = f"0y{value:0{length}b}"
    return text if length <= 4 else f"{text} ({hexadecimal(value)})"


def enumerator(kind: Enum, raw: int) -> str:
    value = signed(raw, 8 * kind.size)
    name = kind.name_of(value) or kind.name_of(raw)
    return f"0n{value} ( {name} )" if name else f"0n{value} (No matching name)"
