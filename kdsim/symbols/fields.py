"""Members of records and enums: the field lists of the type stream."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.codeview import numeric, text
from kdsim.symbols.types import VOID, BaseType, Field, Pointer, Record, Type

LF_BCLASS, LF_VBCLASS, LF_IVBCLASS, LF_INDEX = 0x1400, 0x1401, 0x1402, 0x1404
LF_VFUNCTAB, LF_FRIENDCLS, LF_VFUNCOFF = 0x1409, 0x140A, 0x140C
LF_ENUMERATE, LF_FRIENDFCN, LF_MEMBER, LF_STMEMBER = 0x1502, 0x150C, 0x150D, 0x150E
LF_METHOD, LF_NESTTYPE, LF_ONEMETHOD, LF_NESTTYPEEX = 0x150F, 0x1510, 0x1511, 0x1512
LF_BINTERFACE = 0x151A

_NAMED = frozenset((LF_STMEMBER, LF_METHOD, LF_NESTTYPE, LF_NESTTYPEEX, LF_FRIENDFCN))
_NAMELESS = frozenset((LF_VFUNCTAB, LF_FRIENDCLS, LF_INDEX))
_INTRODUCING = frozenset((4, 6))
_MAX_FIELDS = 1 << 16
_U16 = struct.Struct("<H")
_HEAD = struct.Struct("<HI")


class Member(NamedTuple):
    """One entry of a field list; `number` is an offset or an enumerator's value."""

    leaf: int
    type: int
    number: int
    name: str


def members(body: bytes) -> Iterator[Member]:
    """Decode a field list."""
    position, end = 0, len(body)
    while position + 2 <= end:
        if body[position] >= 0xF0:
            position += max(1, body[position] & 0x0F)
            continue
        (leaf,) = _U16.unpack_from(body, position)
        member, position = _member(leaf, body, position + 2)
        yield member


def _member(leaf: int, body: bytes, position: int) -> tuple[Member, int]:
    if leaf == LF_ENUMERATE:
        number, position = numeric(body, position + 2)
        name, position = text(body, position)
        return Member(leaf, 0, number, name), position
    attributes, type_index = _HEAD.unpack_from(body, position)
    position += _HEAD.size
    number, name = 0, ""
    if leaf == LF_MEMBER:
        number, position = numeric(body, position)
        name, position = text(body, position)
    elif leaf in (LF_BCLASS, LF_BINTERFACE):
        number, position = numeric(body, position)
    elif leaf in (LF_VBCLASS, LF_IVBCLASS):
        _, position = numeric(body, position + 4)
        _, position = numeric(body, position)
    elif leaf == LF_ONEMETHOD:
        position += 4 if attributes >> 2 & 7 in _INTRODUCING else 0
        name, position = text(body, position)
    elif leaf in _NAMED:
        name, position = text(body, position)
    elif leaf == LF_VFUNCOFF:
        position += 4
    elif leaf not in _NAMELESS:
        raise FormatError(f"member record 0x{leaf:x} is unknown")
    return Member(leaf, type_index, number, name), position


def member_fields(entries: Iterable[Member], resolve: Callable[[int], Type]) -> tuple[Field, ...]:
    """The data members; those of base classes are taken in at their offsets."""
    fields: list[Field] = []
    for entry in entries:
        if entry.leaf == LF_MEMBER:
            fields.append(Field(entry.name, entry.number, resolve(entry.type)))
        elif entry.leaf == LF_VFUNCTAB:
            fields.append(Field("__VFN_table", 0, Pointer(VOID)))
        elif entry.leaf in (LF_BCLASS, LF_BINTERFACE):
            base = resolve(entry.type)
            if isinstance(base, Record):
                fields += (
                    Field(field.name, entry.number + field.offset, field.type)
                    for field in base.fields
                )
        if len(fields) > _MAX_FIELDS:
            raise FormatError(f"a record of more than {_MAX_FIELDS} fields")
    return tuple(fields)


def enum_values(entries: Iterable[Member], base: BaseType) -> dict[str, int]:
    """Enumerators, brought into the range of the base type (compilers differ in the sign)."""
    bits = base.size * 8
    signed = base.kind in ("int", "char")
    values: dict[str, int] = {}
    for entry in entries:
        if entry.leaf != LF_ENUMERATE:
            continue
        value = entry.number & (1 << bits) - 1
        values[entry.name] = value - (1 << bits) if signed and value >> (bits - 1) else value
    return values
