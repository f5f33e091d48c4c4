"""C13 line tables: which source line an address belongs to."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.codeview import Bytes

_LINES, _CHECKSUMS, _IGNORE = 0xF2, 0xF4, 0x8000_0000
_HIDDEN = frozenset((0xFEEFEE, 0xF00F00))
_NAMES_SIGNATURE = 0xEFFE_EFFE


class SourceLine(NamedTuple):
    """A line of a source file and the code made from it."""

    file: str
    line: int
    rva: int
    size: int


class StringTable:
    """The `/names` stream."""

    def __init__(self, data: Bytes) -> None:
        self._strings = b""
        if len(data) >= 12:
            signature, _, size = struct.unpack_from("<III", data)
            if signature == _NAMES_SIGNATURE:
                self._strings = bytes(data[12 : 12 + size])

    def get(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            return ""
        return self._strings[offset:end].decode("utf-8", "replace")


class LineTable:
    """The lines of one object file, by address."""

    def __init__(
        self,
        data: bytes,
        rva: Callable[[int, int], int | None],
        strings: StringTable,
        name: str,
    ) -> None:
        self._rva = rva
        self._strings = strings
        self._name = name
        parts = list(self._subsections(data))
        self._checksums = b"".join(body for kind, body in parts if kind == _CHECKSUMS)
        rows: list[tuple[int, int, int, int]] = []
        try:
            for kind, body in parts:
                if kind == _LINES:
                    rows += self._rows(body)
        except struct.error as error:
            raise FormatError(f"{name}: a line table is cut short") from error
        rows.sort()
        self._starts = array("Q", (row[0] for row in rows))
        self._rows_by_address = rows

    def _subsections(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        position = 0
        while position + 8 <= len(data):
            kind, size = struct.unpack_from("<II", data, position)
            position += 8
            if position + size > len(data):
                raise FormatError(f"{self._name}: line information is cut short")
            if not kind & _IGNORE:
                yield kind, data[position : position + size]
            position += size + (-size & 3)

    def _rows(self, body: bytes) -> Iterator[tuple[int, int, int, int]]:
        """`(rva, size, line, file)` of one contribution; hidden lines end the one before."""
        offset, segment, _, length = struct.unpack_from("<IHHI", body)
        base = self._rva(segment, offset)
        entries: list[tuple[int, int, int]] = []
        position = 12
        while position + 12 <= len(body):
            file, count, size = struct.unpack_from("<III", body, position)
            if size < 12 + count * 8 or position + size > len(body):
                raise FormatError(f"{self._name}: a block of {count} lines is cut short")
            pairs = struct.iter_unpack("<II", body[position + 12 : position + 12 + count * 8])
            entries += ((start, packed & 0xFF_FFFF, file) for start, packed in pairs)
            position += size
        entries.sort(key=lambda entry: entry[0])
        if base is None or not entries:
            return
        ends = [entry[0] for entry in entries[1:]] + [length]
        for (start, line, file), end in zip(entries, ends, strict=True):
            if end > start and line not in _HIDDEN:
                yield base + start, end - start, line, file

    def at(self, rva: int) -> SourceLine | None:
        """The line whose code covers an address."""
        index = bisect_right(self._starts, rva) - 1
        if index < 0:
            return None
        row = self._rows_by_address[index]
        return self._line(row) if rva < row[0] + row[1] else None

    def all(self) -> Iterator[SourceLine]:
        """Every line with code, by address."""
        return map(self._line, self._rows_by_address)

    def _line(self, row: tuple[int, int, int, int]) -> SourceLine:
        rva, size, line, file = row
        return SourceLine(self.file(file), line, rva, size)

    def file(self, checksum: int) -> str:
        """The source file of a checksum entry."""
        if checksum + 4 > len(self._checksums):
            return ""
        return self._strings.get(struct.unpack_from("<I", self._checksums, checksum)[0])
