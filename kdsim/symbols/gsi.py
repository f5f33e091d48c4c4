"""The name hash of the global and public symbol streams.

A header, `(record offset + 1, references)` pairs sorted by bucket, a bitmap of 4097 buckets and,
for each bucket that is not empty, where its pairs begin (counted in the 12 bytes a pair had in
memory).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kdsim.errors import FormatError
from kdsim.symbols.codeview import Bytes, hash_v1, words

_HEADER = struct.Struct("<4I")
_SIGNATURE = 0xFFFF_FFFF
_VERSION = 0xEFFE0000 + 19990810
_BUCKETS = 4096
_BITMAP = (_BUCKETS // 32 + 1) * 4
_MEMORY_PAIR = 12
PUBLICS_HEADER = 28


class NameHash:
    """Record offsets by name hash."""

    def __init__(self, data: Bytes, name: str) -> None:
        if len(data) < _HEADER.size:
            raise FormatError(f"{name}: a symbol hash table is missing")
        signature, version, pairs, buckets = _HEADER.unpack_from(data)
        if signature != _SIGNATURE or version != _VERSION:
            raise FormatError(f"{name}: a symbol hash table has an unknown version")
        if _HEADER.size + pairs + buckets > len(data) or pairs % 8:
            raise FormatError(f"{name}: a symbol hash table is cut short")
        start = _HEADER.size
        self._pairs = words(data[start : start + pairs])
        table = bytes(data[start + pairs : start + pairs + buckets])
        self._present = int.from_bytes(table[:_BITMAP], "little")
        self._starts = words(table[_BITMAP:])

    def offsets(self, name: str) -> Iterator[int]:
        """Offsets of the symbol records whose names may be `name`."""
        for index in self._bucket(hash_v1(name.encode(errors="replace")) % _BUCKETS):
            yield self._pairs[index * 2] - 1

    def _bucket(self, number: int) -> range:
        """Indices of a bucket's pairs."""
        if not self._present >> number & 1:
            return range(0)
        starts, count = self._starts, len(self._pairs) // 2
        rank = (self._present & (1 << number) - 1).bit_count()
        if rank >= len(starts):
            return range(0)
        following = starts[rank + 1] // _MEMORY_PAIR if rank + 1 < len(starts) else count
        return range(starts[rank] // _MEMORY_PAIR, min(following, count))

    def all(self) -> list[int]:
        """Offsets of all records of this table."""
        return [offset - 1 for offset in self._pairs[::2]]
