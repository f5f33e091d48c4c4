"""CodeView odds and ends shared by the type and symbol readers: numbers, names, hashes, GUIDs."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator

from kdsim.errors import FormatError

Bytes = bytes | memoryview

_U16 = struct.Struct("<H")
_NUMERIC = {
    0x8000: struct.Struct("<b"),
    0x8001: struct.Struct("<h"),
    0x8002: struct.Struct("<H"),
    0x8003: struct.Struct("<i"),
    0x8004: struct.Struct("<I"),
    0x8009: struct.Struct("<q"),
    0x800A: struct.Struct("<Q"),
}


def words(data: Bytes) -> array[int]:
    """The 32-bit numbers of `data`; a rest of under four bytes is left out."""
    numbers = array("I", bytes(data[: len(data) & ~3]))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def numeric(data: Bytes, offset: int) -> tuple[int, int]:
    """A numeric leaf: its value and the offset behind it."""
    (value,) = _U16.unpack_from(data, offset)
    if value < 0x8000:
        return value, offset + 2
    code = _NUMERIC.get(value)
    if code is None:
        raise FormatError(f"numeric leaf 0x{value:x} is unknown")
    return code.unpack_from(data, offset + 2)[0], offset + 2 + code.size


def text(data: bytes, offset: int) -> tuple[str, int]:
    """A NUL-terminated name and the offset behind it; a missing NUL ends at the end of the data."""
    end = data.find(b"\0", offset)
    if end < 0:
        end = len(data)
    return data[offset:end].decode("utf-8", "replace"), end + 1


def records(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """`(offset, kind, end)` of each length-prefixed record, `offset` being its length field's."""
    unpack = struct.Struct("<HH").unpack_from
    position = start
    while position + 4 <= end:
        length, kind = unpack(data, position)
        following = position + 2 + length
        if length < 2 or following > end:
            raise FormatError(f"a record of {length} bytes at 0x{position:x} is damaged")
        yield position, kind, following
        position = following


def hash_v1(name: bytes) -> int:
    """The name hash of the TPI and GSI tables. Upper and lower case hash alike."""
    whole = len(name) & ~3
    result = 0
    for word in struct.unpack(f"<{whole >> 2}I", name[:whole]):
        result ^= word
    rest = name[whole:]
    if len(rest) >= 2:
        result ^= rest[0] | rest[1] << 8
        rest = rest[2:]
    if rest:
        result ^= rest[0]
    result |= 0x2020_2020
    result ^= result >> 11
    return (result ^ result >> 16) & 0xFFFF_FFFF


def guid_text(raw: bytes) -> str:
    """A GUID as 32 upper-case hexadecimal digits, the way symbol stores spell it."""
    first, second, third = struct.unpack_from("<IHH", raw)
    return f"{first:08X}{second:04X}{third:04X}{raw[8:16].hex().upper()}"
