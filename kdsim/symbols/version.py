"""The version resource of an image."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

_RT_VERSION = 16
_SUBDIRECTORY = 0x8000_0000
_FIXED_SIGNATURE = 0xFEEF04BD
_MAX_SIZE = 1 << 16
_MAX_DEPTH = 8

Read = Callable[[int, int], bytes]


class VersionInfo(NamedTuple):
    """VS_VERSIONINFO; `strings` are those of the first language, such as `FileDescription`."""

    file_version: tuple[int, int, int, int]
    product_version: tuple[int, int, int, int]
    file_flags: int
    file_flags_mask: int
    file_os: int
    file_type: int
    file_subtype: int
    language: str
    strings: dict[str, str]


def find_version(read: Read, root: int) -> VersionInfo | None:
    """Search the resource directory at `root` for the first version resource."""
    level = _entry(read, root, root, _RT_VERSION)
    for _ in range(2):  # by name, then by language
        if level is None or not level & _SUBDIRECTORY:
            break
        level = _entry(read, root, root + (level & ~_SUBDIRECTORY), None)
    if level is None or level & _SUBDIRECTORY:
        return None
    rva, size = struct.unpack("<II", read(root + level, 8))
    return parse_version(read(rva, size)) if 0 < size <= _MAX_SIZE else None


def _entry(read: Read, root: int, directory: int, wanted: int | None) -> int | None:
    """Offset of a directory's entry by number; of its first one when `wanted` is None."""
    named, numbered = struct.unpack("<12xHH", read(directory, 16))
    count = named + numbered
    table = read(directory + 16, count * 8)
    for number, offset in struct.iter_unpack("<II", table):
        if wanted is None or number == wanted:
            return int(offset)
    return None


class _Node(NamedTuple):
    key: str
    value: bytes
    children: bytes


def parse_version(data: bytes) -> VersionInfo | None:
    """Decode a VS_VERSIONINFO; None when it has no fixed part."""
    root = next(_nodes(data), None)
    if root is None or len(root.value) < 52:
        return None
    fixed = struct.unpack_from("<13I", root.value)
    if fixed[0] != _FIXED_SIGNATURE:
        return None
    language, strings = "", dict[str, str]()
    for block in _nodes(root.children):
        table = next(_nodes(block.children), None) if block.key == "StringFileInfo" else None
        if table is not None:
            language = table.key
            strings = {node.key: _string(node.value) for node in _nodes(table.children)}
    return VersionInfo(
        _quad(fixed[2], fixed[3]),
        _quad(fixed[4], fixed[5]),
        fixed[7] & fixed[6],
        fixed[6],
        fixed[8],
        fixed[9],
        fixed[10],
        language,
        strings,
    )


def _quad(high: int, low: int) -> tuple[int, int, int, int]:
    return high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF


def _string(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace").partition("\0")[0]


def _nodes(data: bytes) -> Iterator[_Node]:
    """The blocks in `data`: length, value length, text flag, key, then value and children."""
    position = 0
    while position + 6 <= len(data):
        length, value_length, is_text = struct.unpack_from("<HHH", data, position)
        if length < 6 or position + length > len(data):
            return
        block = data[position : position + length]
        end = 6
        while end + 2 <= length and block[end : end + 2] != b"\0\0":
            end += 2
        key = block[6:end].decode("utf-16-le", "replace")
        start = _aligned(end + 2)
        size = value_length * 2 if is_text else value_length
        yield _Node(key, block[start : start + size], block[_aligned(start + size) :])
        position += _aligned(length)


def _aligned(offset: int) -> int:
    return offset + (-offset & 3)
