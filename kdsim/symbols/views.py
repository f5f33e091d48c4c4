"""Typed views: a record's layout laid over memory.

`view.UniqueProcessId` reads that field. Nested records give views, arrays `ArrayView`s, pointers
and enums integers. Every record's accessors are compiled once, so a read costs one dictionary
look-up, one memory read and one unpack. A view keeps no bytes: see `View.snapshot` for reading
ahead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kdsim.errors import FormatError, SymbolError
from kdsim.symbols.memory import Memory, Snapshot
from kdsim.symbols.types import Array, BaseType, BitField, Enum, Field, Pointer, Record, Type

_MAX_LIST = 1 << 20
_CODES = {
    ("uint", 1): "B", ("uint", 2): "H", ("uint", 4): "I", ("uint", 8): "Q",
    ("int", 1): "b", ("int", 2): "h", ("int", 4): "i", ("int", 8): "q",
    ("char", 1): "b", ("wchar", 2): "H",
    ("bool", 1): "?", ("bool", 2): "H", ("bool", 4): "I", ("bool", 8): "Q",
    ("float", 2): "e", ("float", 4): "f", ("float", 8): "d",
}  # fmt: skip


class MissingField(SymbolError, AttributeError):
    """A record has no member of that name."""


class Accessor(NamedTuple):
    """Compiled access to one place: its offset, type, reader and writer."""

    offset: int
    type: Type
    read: Callable[[Memory, int], Any]
    write: Callable[[Memory, int, int | float], None] | None


def read_value(memory: Memory, type: Type, va: int) -> Any:
    """The value of any type at an address: number, `View`, `ArrayView`, or the bytes of others."""
    return _compile(type, 0).read(memory, va)


def write_value(memory: Memory, type: Type, va: int, value: int | float) -> None:
    """Write a number, bit field, enum or pointer."""
    write = _compile(type, 0).write
    if write is None:
        raise SymbolError(f"a value of type {type.name} cannot be written as a whole")
    write(memory, va, value)


def _compile(type: Type, offset: int) -> Accessor:
    if isinstance(type, Record):
        record = type
        return Accessor(offset, type, lambda memory, va: View(memory, record, va + offset), None)
    if isinstance(type, Array):
        array = type
        element = _compile(type.element, 0)
        return Accessor(
            offset, type, lambda memory, va: ArrayView(memory, array, va + offset, element), None
        )
    if isinstance(type, BitField):
        return _compile_bits(type, offset)
    if isinstance(type, Pointer):
        return _scalar(type, offset, ("uint", type.size))
    if isinstance(type, Enum):
        return _scalar(type, offset, (type.base.kind, type.size))
    if isinstance(type, BaseType):
        return _scalar(type, offset, (type.kind, type.size))
    return Accessor(offset, type, lambda memory, va: b"", None)


def _scalar(type: Type, offset: int, key: tuple[str, int]) -> Accessor:
    code = _CODES.get(key)
    size = type.size
    if code is None:
        return _wide(type, offset, key[0] in ("int", "char"))
    unpack, pack = struct.Struct("<" + code).unpack, struct.Struct("<" + code).pack

    def read(memory: Memory, va: int) -> Any:
        return unpack(memory.read(va + offset, size))[0]

    if code in "efd?":

        def write(memory: Memory, va: int, value: int | float) -> None:
            memory.write(va + offset, pack(value))

    else:
        mask = (1 << size * 8) - 1

        def write(memory: Memory, va: int, value: int | float) -> None:
            memory.write(va + offset, (int(value) & mask).to_bytes(size, "little"))

    return Accessor(offset, type, read, write)


def _wide(type: Type, offset: int, signed: bool) -> Accessor:
    """Integers of unusual size, 16 bytes mostly."""
    size = type.size
    mask = (1 << size * 8) - 1

    def read(memory: Memory, va: int) -> int:
        return int.from_bytes(memory.read(va + offset, size), "little", signed=signed)

    def write(memory: Memory, va: int, value: int | float) -> None:
        memory.write(va + offset, (int(value) & mask).to_bytes(size, "little"))

    return Accessor(offset, type, read, write if size else None)


def _compile_bits(type: BitField, offset: int) -> Accessor:
    size, position, length = type.size, type.position, type.length
    mask = (1 << length) - 1
    base = type.base.base if isinstance(type.base, Enum) else type.base
    sign = 1 << (length - 1) if isinstance(base, BaseType) and base.kind == "int" else 0

    def read(memory: Memory, va: int) -> int:
        raw = int.from_bytes(memory.read(va + offset, size), "little") >> position & mask
        return (raw ^ sign) - sign

    def write(memory: Memory, va: int, value: int | float) -> None:
        raw = int.from_bytes(memory.read(va + offset, size), "little")
        raw = raw & ~(mask << position) | (int(value) & mask) << position
        memory.write(va + offset, raw.to_bytes(size, "little"))

    return Accessor(offset, type, read, write)


def accessor(record: Record, path: str) -> Accessor:
    """Compiled access to a member such as `Pcb.Header` or `WaitBlock[1].Thread`.

    Raises:
        MissingField: no such member.
    """
    known = record.accessors.get(path)
    if known is None:
        try:
            offset, type = record.find(path)
        except KeyError as error:
            raise MissingField(f"{record.name} has no field {path}") from error
        known = record.accessors[path] = _compile(type, offset)
    return known


class View:
    """A record at an address. `view["Name"]` reads fields whose names Python or `View` uses."""

    __slots__ = ("address", "memory", "record")

    def __init__(self, memory: Memory, record: Record, va: int) -> None:
        self.memory = memory
        self.record = record
        self.address = va

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, path: str) -> Any:
        known = self.record.accessors.get(path) or accessor(self.record, path)
        return known.read(self.memory, self.address)

    def at(self, path: str) -> int:
        """Address of a member."""
        return self.address + accessor(self.record, path).offset

    def type_of(self, path: str) -> Type:
        """Type of a member."""
        return accessor(self.record, path).type

    def has(self, path: str) -> bool:
        """Whether the record has such a member."""
        try:
            accessor(self.record, path)
        except MissingField:
            return False
        return True

    def set(self, path: str, value: int | float) -> None:
        """Write a number to a member; it is cut to the member's size."""
        known = accessor(self.record, path)
        if known.write is None:
            raise SymbolError(f"{self.record.name}.{path} cannot be written as a whole")
        known.write(self.memory, self.address, value)

    def deref(self, path: str) -> View:
        """The record a pointer member points to."""
        type = self.type_of(path)
        if not isinstance(type, Pointer) or not isinstance(target := type.target, Record):
            raise SymbolError(f"{self.record.name}.{path} is no pointer to a record")
        return View(self.memory, target, self[path])

    def cast(self, record: Record) -> View:
        """Another record at the same address."""
        return View(self.memory, record, self.address)

    def bytes(self) -> bytes:
        """All of the record."""
        return self.memory.read(self.address, self.record.size)

    def snapshot(self) -> View:
        """The same record read in one piece, now: cheap to look at, deaf to later changes."""
        memory = Snapshot(self.memory, self.address, self.record.size)
        return View(memory, self.record, self.address)

    def fields(self) -> Iterator[tuple[Field, Any]]:
        """Every field with its value."""
        return ((field, self[field.name]) for field in self.record.fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return self.address == other.address and self.record is other.record

    def __hash__(self) -> int:
        return hash((self.address, id(self.record)))

    def __repr__(self) -> str:
        return f"<{self.record.name} at 0x{self.address:x}>"


class ArrayView:
    """An array at an address; indexing reads an element, slicing a list of them."""

    __slots__ = ("_element", "address", "array", "memory")

    def __init__(
        self, memory: Memory, array: Array, va: int, element: Accessor | None = None
    ) -> None:
        self.memory = memory
        self.array = array
        self.address = va
        self._element = element or _compile(array.element, 0)

    def __len__(self) -> int:
        return self.array.count

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self._element.read(self.memory, self.at(index))

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def at(self, index: int) -> int:
        """Address of an element."""
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"{self.array.name}: no element {index}")
        return self.address + index * self.array.element.size

    def set(self, index: int, value: int | float) -> None:
        """Write a number to an element."""
        if self._element.write is None:
            raise SymbolError(f"an element of {self.array.name} cannot be written as a whole")
        self._element.write(self.memory, self.at(index), value)

    def bytes(self) -> bytes:
        """All of the array."""
        return self.memory.read(self.address, self.array.size)

    def text(self) -> str:
        """Characters up to the first NUL; two-byte elements are UTF-16."""
        if self.array.element.size == 2:
            return self.bytes().decode("utf-16-le", "replace").partition("\0")[0]
        return self.bytes().partition(b"\0")[0].decode("latin-1")

    def __repr__(self) -> str:
        return f"<{self.array.name} at 0x{self.address:x}>"


def containing_record(memory: Memory, record: Record, field: str, va: int) -> View:
    """The record that has `field` at `va`."""
    return View(memory, record, va - accessor(record, field).offset)


def list_entries(memory: Memory, head: int, record: Record, field: str) -> Iterator[View]:
    """The records on a doubly linked list, in the order of Flink.

    Raises:
        FormatError: the list comes back to an entry other than its head.
        MemoryFault: an entry cannot be read; those before it have been given.
    """
    offset = accessor(record, field).offset
    seen: set[int] = set()
    entry = int.from_bytes(memory.read(head, 8), "little")
    while entry != head:
        if entry in seen or len(seen) >= _MAX_LIST:
            raise FormatError(f"the list at 0x{head:x} never returns to its head")
        seen.add(entry)
        following = int.from_bytes(memory.read(entry, 8), "little")
        yield View(memory, record, entry - offset)
        entry = following
