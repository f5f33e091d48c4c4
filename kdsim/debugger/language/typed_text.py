"""Typed values as `??` writes them."""

from __future__ import annotations

from kdsim.debugger.language.context import Context
from kdsim.debugger.language.conversions import is_signed
from kdsim.debugger.language.strings import decode, zero_terminated
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.text import PLAIN, IntegerStyle, address
from kdsim.errors import MemoryFault
from kdsim.symbols.types import Array, BaseType, BitField, Enum, Function, Pointer, Record, Type

_STRING_LIMIT = 64
_CHARACTERS = ("char", "unsigned char", "wchar_t")


def type_name(kind: Type) -> str:
    """A type as C declares it: `struct _TEB *`, `unsigned char [15]`."""
    if isinstance(kind, Pointer):
        inner = type_name(kind.target)
        return f"{inner}*" if inner.endswith("*") else f"{inner} *"
    if isinstance(kind, Array):
        return f"{type_name(kind.element)} [{kind.count}]"
    if isinstance(kind, Record):
        return f"{kind.kind} {kind.name}"
    if isinstance(kind, BitField):
        return type_name(kind.base)
    return kind.c_name


def typed_text(context: Context, value: Typed, integers: IntegerStyle = PLAIN) -> str:
    """Type and value on one line; of a record only the type."""
    name = type_name(value.type)
    if isinstance(value.type, Record):
        return name
    return f"{name} {value_text(context, value, integers)}".rstrip()


def value_text(context: Context, value: Typed, integers: IntegerStyle = PLAIN) -> str:
    """The value alone."""
    kind = value.type
    if isinstance(kind, BitField):
        return value_text(context, Typed(kind.base, value.value), integers)
    if isinstance(kind, Enum):
        name = kind.name_of(value.number())
        return f"{name} (0n{value.number()})" if name else f"0n{value.number()}"
    if isinstance(kind, Pointer | Array | Function):
        target = kind.target if isinstance(kind, Pointer) else kind
        text = f"0x{address(value.number())}"
        return f"{text} {_quoted(context, target, value.number())}".rstrip()
    if isinstance(kind, BaseType) and kind.kind == "float":
        return f"{value.value:g}"
    if isinstance(kind, BaseType) and kind.kind == "bool":
        return "true" if value.value else "false"
    number = value.number()
    text = f"0n{number}" if is_signed(kind) else _unsigned(number)
    if kind.c_name not in _CHARACTERS:
        return integers.text(number, kind.size, kind.c_name) or text
    if not is_signed(kind):
        text = f"0x{number:02x}"
    character = number & 0xFFFF
    return f"{text} '{chr(character) if 32 <= character < 127 else ''}'"


def _unsigned(number: int) -> str:
    """A bare digit below 10, hexadecimal from there on, with a tick from 2^32 on."""
    if number < 10:
        return str(number)
    return f"0x{number:x}" if number < 1 << 32 else f"0x{address(number)}"


def _quoted(context: Context, kind: Type, va: int) -> str:
    """The string a pointer to characters, or an array of them, shows."""
    element = kind.element if isinstance(kind, Array) else kind
    if element.c_name not in _CHARACTERS or isinstance(element, Array | Record | Pointer):
        return ""
    wide = element.size > 1
    try:
        if isinstance(kind, Array):
            text = decode(context.memory.read(va, kind.size), wide=wide).split("\0")[0]
        else:
            text = zero_terminated(context.memory, va, wide=wide)
    except MemoryFault:
        return '"--- memory read error at address 0x' + address(va) + ' ---"'
    return f'"{"".join(_shown(char, wide) for char in text[:_STRING_LIMIT])}"'


def _shown(char: str, wide: bool) -> str:
    """Bytes above 127 are letters only to who knows their code page."""
    return char if char.isprintable() and (wide or char.isascii()) else "."
