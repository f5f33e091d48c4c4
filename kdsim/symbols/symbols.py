"""Symbols, and the records of the symbol record stream they come from."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from kdsim.symbols.codeview import numeric, text
from kdsim.symbols.types import Type

SymbolKind = Literal["function", "data", "public", "constant"]

S_CONSTANT, S_UDT, S_LDATA32, S_GDATA32, S_PUB32 = 0x1107, 0x1108, 0x110C, 0x110D, 0x110E
S_LTHREAD32, S_GTHREAD32 = 0x1112, 0x1113
S_PROCREF, S_LPROCREF = 0x1125, 0x1127
DATA_KINDS = frozenset((S_LDATA32, S_GDATA32))
REFERENCE_KINDS = frozenset((S_PROCREF, S_LPROCREF))
SEARCHED = DATA_KINDS | REFERENCE_KINDS | {S_PUB32, S_CONSTANT}
PUBLIC_CODE, PUBLIC_FUNCTION = 1, 2

_PUBLIC = struct.Struct("<IIH")
_REFERENCE = struct.Struct("<IIH")
_NAME_OFFSETS = {
    S_PUB32: 10,
    S_GDATA32: 10,
    S_LDATA32: 10,
    S_PROCREF: 10,
    S_LPROCREF: 10,
    S_UDT: 4,
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in an image.

    Attributes:
        name: without the module.
        rva: address in the image; 0 for a constant.
        size: bytes of code; 0 when the PDB does not tell. For data ask `extent`.
        kind: what it names. "public" is a public name of neither code nor data section.
        is_public: known from the linker's public names alone, so without a type.
        is_static: local to its object file.
        value: of a constant.
    """

    name: str
    rva: int
    size: int
    kind: SymbolKind
    is_public: bool = False
    is_static: bool = False
    value: int | None = None
    type_source: Callable[[], Type] | None = field(default=None, repr=False, compare=False)

    @property
    def type(self) -> Type | None:
        """Its type, when the PDB has one."""
        return None if self.type_source is None else self.type_source()

    @property
    def extent(self) -> int:
        """Bytes the symbol covers, by its own size or its type's."""
        if self.size or self.kind != "data":
            return self.size
        kind = self.type
        return 0 if kind is None else kind.size


def record_name(kind: int, body: bytes) -> str | None:
    """The name in a global or public record; None for records that name nothing."""
    offset = _NAME_OFFSETS.get(kind)
    if offset is None:
        if kind != S_CONSTANT:
            return None
        _, offset = numeric(body, 4)
    return text(body, offset)[0]


def public(body: bytes) -> tuple[int, int, int]:
    """Flags, offset and segment of an S_PUB32."""
    return _PUBLIC.unpack_from(body)


def data(body: bytes) -> tuple[int, int, int]:
    """Type, offset and segment of an S_GDATA32 or S_LDATA32."""
    return _PUBLIC.unpack_from(body)


def reference(body: bytes) -> tuple[int, int]:
    """Module number (from 0) and offset in its stream of an S_PROCREF or S_LPROCREF."""
    _, offset, module = _REFERENCE.unpack_from(body)
    return module - 1, offset


def constant(body: bytes) -> tuple[int, int]:
    """Type and value of an S_CONSTANT."""
    return int.from_bytes(body[:4], "little"), numeric(body, 4)[0]
