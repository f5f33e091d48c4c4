"""`dx`'s format specifiers, and values of C++ types as `dx` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.inspect.typevalues import TypeValues, visible_fields
from kdsim.debugger.language.conversions import is_signed, load
from kdsim.debugger.language.typed import Typed
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.types import (
    Array,
    BaseType,
    BitField,
    Enum,
    Function,
    Pointer,
    Record,
    Type,
)

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context
    from kdsim.debugger.session import Session

BASES = ("x", "d", "o", "b")
STRINGS = {"s": 1, "sb": 1, "s8": 1, "s8b": 1, "su": 2, "sub": 2}
"""Bytes of a character; a `b` at the end leaves the quotes away."""
VISUALIZED = ("_UNICODE_STRING", "_STRING", "_LARGE_INTEGER", "_ULARGE_INTEGER", "_GUID")
NAMES = {"int64": "__int64", "unsigned int64": "unsigned __int64"}
TEXT_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Formats:
    """The format specifiers of one `dx`.

    Attributes:
        base: "x", "d", "o" or "b"; empty: signed numbers decimal, the others hexadecimal.
        string: of STRINGS.
        character, names_only, number_only: `,c`, `,en`, `,nvo`.
        raw: `,!`, and the option -n: no visualizations.
        addresses: `,na` leaves those of pointers away.
        length: elements that a pointer leads to; None: one.
    """

    base: str = ""
    string: str = ""
    character: bool = False
    names_only: bool = False
    number_only: bool = False
    raw: bool = False
    addresses: bool = True
    length: int | None = None

    def number(self, value: int, *, signed: bool = False) -> str:
        base = self.base or ("d" if signed else "x")
        if base == "d":
            return str(value)
        prefix, form = {"x": ("0x", "x"), "o": ("0", "o"), "b": ("0y", "b")}[base]
        return f"{'-' if value < 0 else ''}{prefix}{abs(value):{form}}"


def parse_formats(words: list[str], *, raw: bool, length: int | None) -> Formats:
    """`length` is that of a `,[expression]`, which whoever reads the line evaluates."""
    base = string = ""
    flags: set[str] = set()
    for word in words:
        if word in BASES:
            base = word
        elif word in STRINGS:
            string = word
        elif re.fullmatch(r"\d+|0x[0-9a-f]+", word, re.IGNORECASE):
            length = int(word, 0)
        elif word in ("!", "en", "c", "nd", "nvo", "na"):
            flags.add(word)
        else:
            raise ArgumentError(f"Error: Unknown format specifier '{word}'")
    return Formats(
        base,
        string,
        character="c" in flags,
        names_only="en" in flags,
        number_only="nvo" in flags,
        raw=raw or "!" in flags,
        addresses="na" not in flags,
        length=length,
    )


def cpp_name(kind: Type) -> str:
    """A type as `dx` names it: `_EPROCESS *`, `unsigned char [15]`, without `struct`."""
    match kind:
        case Pointer(target=Function() as function):
            return _signature(function, "(__cdecl*)")
        case Pointer():
            return f"{cpp_name(kind.target)} *"
        case Array():
            counts = [kind.count]
            element = kind.element
            while isinstance(element, Array):
                counts.append(element.count)
                element = element.element
            return f"{cpp_name(element)} {''.join(f'[{count}]' for count in counts)}"
        case BitField():
            return cpp_name(kind.base)
        case Function():
            return _signature(kind, "__cdecl")
    return NAMES.get(kind.c_name, kind.c_name)


def _signature(kind: Function, convention: str) -> str:
    return f"{cpp_name(kind.result)} {convention}({','.join(map(cpp_name, kind.parameters))})"


class NativeValues:
    """Values in the target's memory."""

    def __init__(self, session: Session, context: Context, formats: Formats) -> None:
        self._session = session
        self._context = context
        self._formats = formats
        self._texts = TypeValues(session.memory)

    def text(self, value: Typed) -> str:
        """The value; empty for a record or array that has none of its own."""
        kind, formats = value.type, self._formats
        match kind:
            case Pointer():
                return self._pointer(kind, value.number())
            case Array():
                return self._array(kind, value.number())
            case Record():
                return self._record(kind, value.number())
            case Function():
                return self._function(value.number())
            case BitField():
                return self.text(Typed(kind.base, value.value))
            case Enum():
                number = formats.number(value.number(), signed=True)
                name = kind.name_of(value.number())
                if name is None or formats.number_only:
                    return number
                return name if formats.names_only else f"{name} ({number})"
        return self._scalar(kind, value)

    def _scalar(self, kind: BaseType, value: Typed) -> str:
        formats = self._formats
        if kind.kind == "float":
            return f"{value.value:g}"
        number = value.number()
        if kind.kind == "bool" and not formats.base:
            return "true" if number else "false"
        text = formats.number(number, signed=is_signed(kind))
        is_character = kind.kind in ("char", "wchar") or formats.character
        if is_character and not formats.number_only:
            code = number & 0xFFFF
            text += f" '{chr(code) if 32 <= code < 127 else ''}'"
        return text

    def _pointer(self, kind: Pointer, address: int) -> str:
        head = f"0x{address:x}" if self._formats.addresses else ""
        target = kind.target
        what = ""
        if not self._formats.number_only and address:
            what = self._pointed(target, address)
        return " : ".join(part for part in (head, what) if part) or head

    def _pointed(self, target: Type, address: int) -> str:
        """What is worth saying of a pointer's target."""
        formats = self._formats
        if formats.string:
            return self._string(address, TEXT_LIMIT)
        try:
            match target:
                case Function():
                    return self._function(address)
                case Record():
                    return self._record(target, address)
                case BaseType(kind="char" | "wchar"):
                    return self._texts.pointer(Pointer(target), address).partition("  ")[2]
                case BaseType(size=1) | BaseType(kind="void"):
                    return ""
                case BaseType() | Enum() | Pointer():
                    inner = load(self._context, target, address)
                    return (
                        f"0x{inner.number():x}" if isinstance(target, Pointer) else self.text(inner)
                    )
        except MemoryFault:
            return f"Unable to read memory at Address 0x{address:x}"
        return ""

    def _function(self, address: int) -> str:
        name = self._session.symbols.format(address)
        return name if "+" in name else f"{name}+0x0"

    def _array(self, kind: Array, address: int) -> str:
        """The text of an array of characters."""
        element = kind.element
        if not isinstance(element, BaseType):
            return ""
        if self._formats.string:
            return self._string(address, kind.size)
        if self._formats.raw or (element.size != 1 and element.kind != "wchar"):
            return ""
        raw = self._session.memory.read(address, min(kind.size, TEXT_LIMIT * element.size))
        text = raw.decode("utf-16-le" if element.size == 2 else "latin-1", "replace")
        text = text.split("\0", 1)[0]
        return f'"{text}"' if text and text.isascii() and text.isprintable() else ""

    def _string(self, address: int, limit: int) -> str:
        style = self._formats.string
        step = STRINGS[style]
        raw = self._session.memory.read_some(address, limit * step)
        encoding = {"s": "latin-1", "s8": "utf-8", "su": "utf-16-le"}[style.removesuffix("b")]
        text = raw[: len(raw) // step * step].decode(encoding, "replace").split("\0", 1)[0]
        return text if style.endswith("b") else f'"{text}"'

    def _record(self, kind: Record, address: int) -> str:
        """The visualization of a few records everybody knows."""
        if self._formats.raw or kind.name not in VISUALIZED:
            return ""
        summary = self._texts.summary(kind, address)
        if kind.name in ("_LARGE_INTEGER", "_ULARGE_INTEGER"):
            number = load(self._context, kind.by_name["QuadPart"].type, address)
            return f"{{{self._formats.number(number.number(), signed=True)}}}"
        return summary.upper() if kind.name == "_GUID" else summary

    # -- what is inside --------------------------------------------------------------------------

    def children(self, value: Typed) -> Iterator[tuple[str, Typed | str]]:
        """Label and value of each member or element; a text says why there is none."""
        kind, address = value.type, value.number()
        if isinstance(kind, Pointer):
            if self._formats.length is not None:
                kind = Array(kind.target, self._formats.length)
            else:
                kind = kind.target
                if not address or isinstance(kind, BaseType | Enum | Pointer):
                    return
        if isinstance(kind, Array):
            count = kind.count if self._formats.length is None else self._formats.length
            step = kind.element.size
            for index in range(count):
                yield f"[{index}]", self.load(kind.element, address + index * step)
        elif isinstance(kind, Record):
            if kind.name in VISUALIZED and not self._formats.raw:
                yield "[<Raw View>]", Typed(Record(kind.name, kind.size), address)
                return
            for field in visible_fields(kind):
                label = f"[+0x{field.offset:03x}{_bits(field.type)}] {field.name:16}"
                yield label, self.load(field.type, address + field.offset)

    def load(self, kind: Type, address: int) -> Typed | str:
        try:
            return load(self._context, kind, address)
        except MemoryFault:
            return f"Unable to read memory at Address 0x{address:x}"


def _bits(kind: Type) -> str:
    """` (31:11)`: the highest and the lowest bit of a bit field."""
    if not isinstance(kind, BitField):
        return ""
    return f" ({kind.position + kind.length - 1:2}:{kind.position:2})"
