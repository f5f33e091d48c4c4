"""CodeView's built-in types (type indices below 0x1000) under the names WinDbg prints."""

from __future__ import annotations

from kdsim.errors import FormatError
from kdsim.symbols.types import VOID, BaseKind, BaseType, Pointer, Type

FIRST_RECORD = 0x1000

_KINDS: dict[int, tuple[str, int, BaseKind, str]] = {
    0x08: ("HRESULT", 4, "int", "HRESULT"),
    0x10: ("Char", 1, "char", "char"),
    0x11: ("Int2B", 2, "int", "short"),
    0x12: ("Int4B", 4, "int", "long"),
    0x13: ("Int8B", 8, "int", "int64"),
    0x14: ("Int16B", 16, "int", "int128"),
    0x20: ("UChar", 1, "uint", "unsigned char"),
    0x21: ("Uint2B", 2, "uint", "unsigned short"),
    0x22: ("Uint4B", 4, "uint", "unsigned long"),
    0x23: ("Uint8B", 8, "uint", "unsigned int64"),
    0x24: ("Uint16B", 16, "uint", "unsigned int128"),
    0x30: ("Bool", 1, "bool", "bool"),
    0x31: ("Bool", 2, "bool", "bool"),
    0x32: ("Bool", 4, "bool", "bool"),
    0x33: ("Bool", 8, "bool", "bool"),
    0x40: ("Float", 4, "float", "float"),
    0x41: ("Double", 8, "float", "double"),
    0x42: ("Float10B", 10, "uint", "long double"),
    0x43: ("Float16B", 16, "uint", "long double"),
    0x46: ("Float2B", 2, "float", "half"),
    0x68: ("Char", 1, "int", "char"),
    0x69: ("UChar", 1, "uint", "unsigned char"),
    0x70: ("Char", 1, "char", "char"),
    0x71: ("Wchar", 2, "wchar", "wchar_t"),
    0x72: ("Int2B", 2, "int", "short"),
    0x73: ("Uint2B", 2, "uint", "unsigned short"),
    0x74: ("Int4B", 4, "int", "int"),
    0x75: ("Uint4B", 4, "uint", "unsigned int"),
    0x76: ("Int8B", 8, "int", "int64"),
    0x77: ("Uint8B", 8, "uint", "unsigned int64"),
    0x78: ("Int16B", 16, "int", "int128"),
    0x79: ("Uint16B", 16, "uint", "unsigned int128"),
    0x7A: ("Wchar", 2, "wchar", "char16_t"),
    0x7B: ("Char32", 4, "uint", "char32_t"),
    0x7C: ("Char", 1, "char", "char8_t"),
}
_BASES: dict[int, BaseType] = {kind: BaseType(*row) for kind, row in _KINDS.items()}
_BASES[0x00] = BaseType("<NoType>", 0, "void", "<NoType>")
_BASES[0x03] = VOID
_NULLPTR = 0x103
_POINTER_SIZES = {1: 2, 2: 4, 3: 4, 4: 4, 5: 6, 6: 8, 7: 16}

_BY_NAME = {base.name.lower(): base for base in reversed(_BASES.values())}
_BY_NAME |= {base.c_name: base for base in reversed(_BASES.values())}
_BY_NAME |= {
    "__int64": _BASES[0x13],
    "unsigned __int64": _BASES[0x23],
    "unsigned": _BASES[0x75],
}

_cache: dict[int, Type] = {}


def builtin(index: int) -> Type:
    """The built-in type of an index below 0x1000; bits 8..10 make it a pointer."""
    known = _cache.get(index)
    if known is None:
        known = _cache[index] = _build(index)
    return known


def _build(index: int) -> Type:
    base = _BASES.get(index & 0xFF)
    mode = index >> 8 & 7
    if index == _NULLPTR:
        return Pointer(VOID)
    if base is None or index >> 11:
        raise FormatError(f"built-in type 0x{index:x} is unknown")
    return Pointer(base, _POINTER_SIZES[mode]) if mode else base


def builtin_named(name: str) -> BaseType | None:
    """A base type by WinDbg's or C's name (`Uint4B`, `unsigned long`)."""
    return _BY_NAME.get(name.lower())
