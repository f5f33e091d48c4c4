"""C's types at work: reading and writing values, conversions, names of types."""

from __future__ import annotations

import struct

from kdsim.debugger.language.context import Context
from kdsim.debugger.language.numbers import signed
from kdsim.debugger.language.typed import Typed
from kdsim.symbols.basetypes import builtin_named
from kdsim.symbols.types import Array, BaseType, BitField, Enum, Function, Pointer, Record, Type

Number = int | float

_FLOATS = {4: "<f", 8: "<d"}
_SIGNED = ("int", "char")

# The basic types of the Windows headers; PDBs keep typedefs apart from types.
_TYPEDEFS = {
    "CHAR": "char", "UCHAR": "unsigned char", "BYTE": "unsigned char", "BOOLEAN": "unsigned char",
    "WCHAR": "wchar_t", "SHORT": "short", "USHORT": "unsigned short", "WORD": "unsigned short",
    "INT": "int", "UINT": "unsigned int", "BOOL": "int", "LONG": "long", "ULONG": "unsigned long",
    "DWORD": "unsigned long", "NTSTATUS": "long", "HRESULT": "HRESULT", "INT64": "int64",
    "LONG64": "int64", "LONGLONG": "int64", "UINT64": "unsigned int64",
    "ULONG64": "unsigned int64", "ULONGLONG": "unsigned int64", "DWORD64": "unsigned int64",
    "DWORDLONG": "unsigned int64", "LONG_PTR": "int64", "INT_PTR": "int64",
    "ULONG_PTR": "unsigned int64", "UINT_PTR": "unsigned int64", "DWORD_PTR": "unsigned int64",
    "SIZE_T": "unsigned int64", "SSIZE_T": "int64", "KAFFINITY": "unsigned int64",
    "KIRQL": "unsigned char", "VOID": "void", "HANDLE": "void*", "FLOAT": "float",
    "int8_t": "char", "uint8_t": "unsigned char", "int16_t": "short", "uint16_t": "unsigned short",
    "int32_t": "int", "uint32_t": "unsigned int", "int64_t": "int64", "uint64_t": "unsigned int64",
    "size_t": "unsigned int64", "uintptr_t": "unsigned int64", "intptr_t": "int64",
}  # fmt: skip


def basic(name: str) -> BaseType:
    """A built-in type by its C name."""
    found = builtin_named(name)
    assert found, f"{name} is a built-in type"
    return found


def named_type(context: Context, name: str) -> Type | None:
    """A type by the name a user writes: built in, a Windows typedef, or of the debuggee."""
    if name in _TYPEDEFS:
        base = _TYPEDEFS[name]
        return Pointer(basic("void")) if base == "void*" else basic(base)
    if name.startswith("P") and name[1:] in _TYPEDEFS:
        target = named_type(context, name[1:])
        return Pointer(target) if target else None
    if name.islower() and (found := builtin_named(name)):
        return found
    found_type = context.type(name)
    if found_type is not None:
        return found_type
    # `typedef struct _X { } X, *PX;` is how the Windows headers name their structures.
    module, bang, plain = name.rpartition("!")
    if plain.isupper() and not plain.startswith("_"):
        record = context.type(f"{module}{bang}_{plain}")
        if record is not None:
            return record
        target = context.type(f"{module}{bang}_{plain[1:]}") if plain.startswith("P") else None
        return Pointer(target, context.pointer_size) if target else None
    return None


def load(context: Context, kind: Type, address: int) -> Typed:
    """The value of type `kind` at `address`."""
    if isinstance(kind, Record | Array | Function):
        return Typed(kind, address, address)
    data = context.memory.read(address, kind.size)
    if isinstance(kind, BaseType) and kind.kind == "float" and kind.size in _FLOATS:
        return Typed(kind, struct.unpack(_FLOATS[kind.size], data)[0], address)
    value = int.from_bytes(data, "little")
    if isinstance(kind, BitField):
        value = value >> kind.position & (1 << kind.length) - 1
        if is_signed(kind.base) and value >> kind.length - 1:
            value -= 1 << kind.length
        return Typed(kind, value, address)
    return Typed(kind, fit(kind, value), address)


def store(context: Context, kind: Type, address: int, value: Number) -> None:
    """Write a value; it is cut to the type first, as C does."""
    if isinstance(kind, BitField):
        mask = (1 << kind.length) - 1 << kind.position
        old = int.from_bytes(context.memory.read(address, kind.size), "little")
        merged = old & ~mask | int(value) << kind.position & mask
        context.memory.write(address, merged.to_bytes(kind.size, "little"))
        return
    value = fit(kind, value)
    if isinstance(value, float):
        context.memory.write(address, struct.pack(_FLOATS[kind.size], value))
        return
    bits = value & (1 << kind.size * 8) - 1
    context.memory.write(address, bits.to_bytes(kind.size, "little"))


def is_signed(kind: Type) -> bool:
    """Whether the numbers of a type have a sign."""
    if isinstance(kind, Enum):
        return is_signed(kind.base)
    if isinstance(kind, BitField):
        return is_signed(kind.base)
    return isinstance(kind, BaseType) and kind.kind in _SIGNED


def is_float(kind: Type) -> bool:
    return isinstance(kind, BaseType) and kind.kind == "float"


def is_scalar(kind: Type) -> bool:
    """Has a number for a value."""
    if isinstance(kind, BaseType):
        return kind.kind != "void"
    return isinstance(kind, Pointer | Enum | BitField)


def fit(kind: Type, value: Number) -> Number:
    """`value` cut to what the type can hold."""
    if is_float(kind):
        if kind.size == 4:
            # Beyond its range a float becomes infinite, as the processor's conversion does.
            limit = 3.4028235677973366e38
            if abs(value) >= limit:
                return float("inf") if value > 0 else float("-inf")
            return float(struct.unpack("<f", struct.pack("<f", value))[0])
        return float(value)
    if isinstance(value, float):
        # What no integer can hold becomes the processor's "integer indefinite".
        value = int(value) if abs(value) < 2.0**63 else 1 << 63
    if isinstance(kind, BaseType) and kind.kind == "bool":
        return int(value != 0)
    if is_signed(kind):
        return signed(value, kind.size)
    return value & (1 << kind.size * 8) - 1


def promoted(kind: Type) -> Type:
    """The type an operand takes part with: small integers become int, enumerations their base."""
    if isinstance(kind, Enum | BitField):
        return promoted(kind.base)
    if isinstance(kind, BaseType) and kind.kind != "float" and kind.size < 4:
        return basic("int")
    return kind


def common(left: Type, right: Type) -> Type:
    """C's usual arithmetic conversions for two promoted types."""
    floats = [kind for kind in (left, right) if is_float(kind)]
    if floats:
        return basic("double" if any(kind.size == 8 for kind in floats) else "float")
    wide = max(left, right, key=lambda kind: (kind.size, "long" in kind.c_name))
    unsigned = any(not is_signed(k) and k.size == wide.size for k in (left, right))
    if wide.size == 8:
        return basic("unsigned int64" if unsigned else "int64")
    core = "long" if "long" in wide.c_name or wide.c_name == "HRESULT" else "int"
    return basic(f"unsigned {core}" if unsigned else core)
