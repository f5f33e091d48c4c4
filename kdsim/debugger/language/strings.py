"""Strings in the target's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.errors import MemoryFault, SymbolError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context
    from kdsim.symbols.memory import Memory

_PAGE = 0x1000
LIMIT = 0x4000
"""Bytes after which a string without terminator is cut off."""


def zero_terminated(memory: Memory, va: int, *, wide: bool = False) -> str:
    """The string up to its NUL; what lies before unreadable memory counts as the string."""
    unit = 2 if wide else 1
    data = bytearray()
    while len(data) < LIMIT:
        start = va + len(data)
        size = min(64, _PAGE - start % _PAGE)
        try:
            data += memory.read(start, size)
        except MemoryFault:
            if not data:
                raise
            break
        end = _terminator(data, unit)
        if end >= 0:
            return decode(data[:end], wide=wide)
    return decode(data, wide=wide)


def counted(context: Context, va: int, *, wide: bool = False) -> str:
    """The text of an ANSI_STRING or UNICODE_STRING structure at `va`."""
    name = "nt!_UNICODE_STRING" if wide else "nt!_STRING"
    record = context.type(name)
    if not isinstance(record, Record):
        raise SymbolError(f"the type {name} is not known")

    def member(field: str) -> int:
        found = record.by_name[field]
        data = context.memory.read(va + found.offset, found.type.size)
        return int.from_bytes(data, "little")

    length = member("Length")
    return decode(context.memory.read(member("Buffer"), length), wide=wide) if length else ""


def decode(data: bytes | bytearray, *, wide: bool) -> str:
    """Bytes as text; what is no character becomes a replacement mark."""
    return bytes(data).decode("utf-16-le" if wide else "latin-1", "replace")


def _terminator(data: bytearray, unit: int) -> int:
    """Index of the first NUL of `unit` bytes; -1 when there is none."""
    for index in range(0, len(data) - unit + 1, unit):
        if not any(data[index : index + unit]):
            return index
    return -1
