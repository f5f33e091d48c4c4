"""MSF 7.0, the file of streams under a PDB.

Superblock (56 bytes): magic, block size, free-map block, block count, directory size, reserved,
block of the directory's block list. The directory holds the stream count, the stream sizes
(0xFFFFFFFF: none) and each stream's block numbers.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from pathlib import Path

from kdsim.errors import FormatError
from kdsim.symbols.codeview import words

MAGIC = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
_SUPERBLOCK = struct.Struct("<32s6I")
_NO_STREAM = 0xFFFF_FFFF
_BLOCK_SIZES = frozenset(1 << shift for shift in range(9, 16))


class MsfFile:
    """Streams of a mapped file. Nothing is read before it is asked for."""

    def __init__(self, data: bytes | mmap.mmap, name: str) -> None:
        self.name = name
        self._data = data
        if len(data) < _SUPERBLOCK.size or data[: len(MAGIC)] != MAGIC:
            raise FormatError(f"{name}: not a program database (no MSF 7.00 signature)")
        fields = _SUPERBLOCK.unpack_from(data)
        _, self._block_size, _, self._blocks, directory_size, _, map_block = fields
        if self._block_size not in _BLOCK_SIZES:
            raise FormatError(f"{name}: block size {self._block_size} is impossible")
        if self._blocks * self._block_size > len(data):
            expected = self._blocks * self._block_size
            raise FormatError(f"{name}: truncated, {len(data)} of {expected} bytes")
        self._read_directory(directory_size, map_block)

    @classmethod
    def open(cls, path: Path) -> MsfFile:
        """Map a file.

        Raises:
            FormatError: unreadable, empty or not an MSF file.
        """
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}: {error}") from error
        return cls(data, str(path))

    def _read_directory(self, size: int, map_block: int) -> None:
        count = self._block_count(size)
        start = map_block * self._block_size
        if size > len(self._data) or start + count * 4 > len(self._data):
            raise FormatError(f"{self.name}: the stream directory lies outside the file")
        blocks = words(self._data[start : start + count * 4])
        directory = self._gather(blocks, size)
        if len(directory) < 4:
            raise FormatError(f"{self.name}: the stream directory is empty")
        (streams,) = struct.unpack_from("<I", directory)
        if streams * 4 + 4 > len(directory):
            raise FormatError(f"{self.name}: {streams} streams do not fit the directory")
        self.sizes = words(directory[4 : 4 + streams * 4])
        self._numbers = words(directory[4 + streams * 4 :])
        self._first: list[int] = []
        first = 0
        for index, length in enumerate(self.sizes):
            if length == _NO_STREAM:
                length = self.sizes[index] = 0
            if length > len(self._data):
                raise FormatError(f"{self.name}: stream {index} is larger than the file")
            self._first.append(first)
            first += self._block_count(length)
        if first > len(self._numbers):
            raise FormatError(f"{self.name}: the stream directory is cut short")

    def _block_count(self, size: int) -> int:
        return int(-(-size // self._block_size))

    def _gather(self, blocks: array[int], size: int) -> memoryview:
        """The bytes of `blocks`: the map itself where they are neighbours, else a copy."""
        block_size = self._block_size
        whole = memoryview(self._data)
        if not blocks:
            return whole[:0]
        if max(blocks) >= self._blocks:
            raise FormatError(f"{self.name}: a block number lies outside the file")
        first = blocks[0]
        if blocks == array("I", range(first, first + len(blocks))):
            return whole[first * block_size : first * block_size + size]
        pieces = (whole[block * block_size : (block + 1) * block_size] for block in blocks)
        return memoryview(b"".join(pieces))[:size]

    def __len__(self) -> int:
        return len(self.sizes)

    def stream(self, index: int) -> memoryview:
        """All of a stream; an index of a stream that is not there gives no bytes."""
        if not 0 <= index < len(self.sizes):
            return memoryview(b"")
        size = self.sizes[index]
        first = self._first[index]
        return self._gather(self._numbers[first : first + self._block_count(size)], size)

    def required(self, index: int, what: str) -> memoryview:
        """A stream that has to be there."""
        data = self.stream(index)
        if not data:
            raise FormatError(f"{self.name}: no {what}")
        return data
