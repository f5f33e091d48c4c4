"""The kernel's globals, lists and strings, read by name through one memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kdsim.errors import MemoryFault, SymbolError
from kdsim.symbols.memory import Memory
from kdsim.symbols.space import SymbolSpace
from kdsim.symbols.types import BitField, Enum, Record, Type
from kdsim.symbols.views import View

# A list longer than this is taken for a loop or for damage.
LIST_LIMIT = 100_000


class BitSlice(NamedTuple):
    """Where a bit field lies in its record: `(value >> shift) & mask` of the record's bytes."""

    shift: int
    mask: int

    def of(self, value: int) -> int:
        return (value >> self.shift) & self.mask


class Nt:
    """Names and types of one kernel over one memory.

    Errors: SymbolError for a name this kernel does not have, MemoryFault for unreadable memory.
    """

    def __init__(self, symbols: SymbolSpace, memory: Memory) -> None:
        self.symbols = symbols
        self.memory = memory

    def address(self, name: str) -> int:
        return self.symbols.resolve(f"nt!{name}")

    def has(self, name: str) -> bool:
        try:
            self.address(name)
        except SymbolError:
            return False
        return True

    def type(self, name: str) -> Type:
        return self.symbols.type(f"nt!{name}")

    def record(self, name: str) -> Record:
        found = self.type(name)
        if not isinstance(found, Record):
            raise SymbolError(f"nt!{name} is not a structure")
        return found

    def view(self, name: str, va: int) -> View:
        return View(self.memory, self.record(name), va)

    def read_integer(self, va: int, size: int) -> int:
        return int.from_bytes(self.memory.read(va, size), "little")

    def u32(self, name: str) -> int:
        return self.read_integer(self.address(name), 4)

    def pointer(self, name: str) -> int:
        return self.read_integer(self.address(name), 8)

    def enum_name(self, enum: str, value: int) -> str:
        """The enumerator of `value`, or the number when there is none."""
        found = self.type(enum)
        name = found.name_of(value) if isinstance(found, Enum) else None
        return name or str(value)

    def bits(self, record: str, field: str) -> BitSlice:
        """Place of a bit field (or a plain scalar field) in its record."""
        found = self.record(record).by_name.get(field)
        if found is None:
            raise SymbolError(f"nt!{record} has no field {field}")
        if isinstance(found.type, BitField):
            shift = 8 * found.offset + found.type.position
            return BitSlice(shift, (1 << found.type.length) - 1)
        return BitSlice(8 * found.offset, (1 << 8 * found.type.size) - 1)

    def list_addresses(self, head: int) -> Iterator[int]:
        """Addresses of the LIST_ENTRY links behind `head`, until it comes round."""
        link = self.read_integer(head, 8)
        seen: set[int] = set()
        while link not in seen and len(seen) < LIST_LIMIT:
            if link in (head, 0):
                return
            seen.add(link)
            yield link
            link = self.read_integer(link, 8)
        raise MemoryFault(link, 8, f"the list at {head:#x} does not come round")

    def list_entries(self, head: int, record: str, field: str) -> Iterator[View]:
        """The records whose `field` is linked behind the LIST_ENTRY at `head`."""
        layout = self.record(record)
        offset = layout.offset(field)
        for link in self.list_addresses(head):
            yield View(self.memory, layout, link - offset)

    def unicode(self, string: View) -> str:
        """Text of a UNICODE_STRING."""
        return self.memory.read(string.Buffer, string.Length).decode("utf-16-le", "replace")
