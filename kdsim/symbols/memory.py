"""What every reader and writer of a target's bytes offers."""

from __future__ import annotations

from typing import Protocol

from kdsim.errors import MemoryFault


class Memory(Protocol):
    """Virtual memory of one address space."""

    def read(self, va: int, size: int) -> bytes:
        """Exactly `size` bytes, or MemoryFault."""

    def write(self, va: int, data: bytes) -> None:
        """All of `data`, or MemoryFault."""


class BytesMemory:
    """One run of bytes at a fixed address: a snapshot of a record, a file, a test's memory."""

    __slots__ = ("base", "data")

    def __init__(self, base: int, data: bytes | bytearray | memoryview) -> None:
        self.base = base
        self.data = data

    def read(self, va: int, size: int) -> bytes:
        start = va - self.base
        if start < 0 or size < 0 or start + size > len(self.data):
            raise MemoryFault(va, size, "outside the bytes at hand")
        return bytes(self.data[start : start + size])

    def write(self, va: int, data: bytes) -> None:
        start = va - self.base
        if start < 0 or start + len(data) > len(self.data):
            raise MemoryFault(va, len(data), "outside the bytes at hand")
        if not isinstance(self.data, bytearray | memoryview):
            raise MemoryFault(va, len(data), "a read-only copy")
        self.data[start : start + len(data)] = data


class Snapshot:
    """Memory in which one range was read ahead; the rest is asked of the memory below.

    Reads inside the range never reach the memory below, so they neither cost a round trip nor see
    later changes. Writes go through and are remembered.
    """

    __slots__ = ("_base", "_below", "_data")

    def __init__(self, below: Memory, va: int, size: int) -> None:
        self._below = below
        self._base = va
        self._data = bytearray(below.read(va, size))

    def read(self, va: int, size: int) -> bytes:
        start = va - self._base
        if start >= 0 and start + size <= len(self._data):
            return bytes(self._data[start : start + size])
        return self._below.read(va, size)

    def write(self, va: int, data: bytes) -> None:
        self._below.write(va, data)
        for offset, byte in enumerate(data, va - self._base):
            if 0 <= offset < len(self._data):
                self._data[offset] = byte
