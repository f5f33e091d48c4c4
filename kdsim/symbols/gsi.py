"""The name hash of the global and public symbol streams.

A header, `(record offset + 1, references)` pairs sorted by bucket, a bitmap of 4097 buckets and,
for each bucket that is not empty, where its pairs begin (counted in the 12 bytes a pair had in
memory).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from functools import cached_property

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
        self._table = bytes(data[start + pairs : start + pairs + buckets])

    @cached_property
    def _starts(self) -> array[int]:
        """Index of the first pair of every bucket, and the end of the last."""
        count = len(self._pairs) // 2
        bitmap = int.from_bytes(self._table[:_BITMAP], "little")
        offsets = words(self._table[_BITMAP:])
        starts = array("I", [count]) * (_BUCKETS + 1)
        present = [bucket for bucket in range(_BUCKETS) if bitmap >> bucket & 1]
        following = count
        positions = dict(zip(present, offsets, strict=False))
        for bucket in range(_BUCKETS - 1, -1, -1):
            if bucket in positions:
                following = min(positions[bucket] // _MEMORY_PAIR, following)
            starts[bucket] = following
        return starts

    def offsets(self, name: str) -> Iterator[int]:
        """Offsets of the symbol records whose names may be `name`."""
        bucket = hash_v1(name.encode()) % _BUCKETS
        for index in range(self._starts[bucket], self._starts[bucket + 1]):
            yield self._pairs[index * 2] - 1

    def all(self) -> list[int]:
        """Offsets of all records of this table."""
        return [offset - 1 for offset in self._pairs[::2]]
