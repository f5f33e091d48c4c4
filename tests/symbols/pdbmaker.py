"""Writes small PDBs, so that tests can say exactly what is in them.

It follows the published format (microsoft-pdb, LLVM's PDB documentation) and shares no code with
the reader except the name hash, whose values a linker's own PDB checks (`test_images.py`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from kdsim.symbols.codeview import hash_v1

BLOCK = 512
GUID = bytes(range(16))
GUID_TEXT = "03020100050407060809" + "0A0B0C0D0E0F"
CODE, DATA = 0x6000_0020, 0xC000_0040
SECTIONS = ((b".text", 0x1000, 0x1000, CODE), (b".data", 0x1000, 0x2000, DATA))


def name(text: str) -> bytes:
    return text.encode() + b"\0"


def numeric(value: int) -> bytes:
    return struct.pack("<H", value) if 0 <= value < 0x8000 else struct.pack("<Hq", 0x8009, value)


def record(kind: int, body: bytes, *, pad: bytes = b"\0") -> bytes:
    body += pad * (-(len(body) + 4) % 4)
    return struct.pack("<HH", len(body) + 2, kind) + body


def msf(streams: list[bytes]) -> bytes:
    """Streams laid out with their blocks in descending order, as an incremental linker might."""
    blocks: list[bytes] = []

    def place(data: bytes) -> list[int]:
        pieces = [data[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(data), BLOCK)]
        first = len(blocks) + 3
        blocks.extend(reversed(pieces))
        return list(range(first + len(pieces) - 1, first - 1, -1))

    numbers = [place(stream) for stream in streams]
    directory = struct.pack(f"<{len(streams) + 1}I", len(streams), *map(len, streams))
    for listed in numbers:
        directory += struct.pack(f"<{len(listed)}I", *listed)
    directory_blocks = place(directory)
    (block_map,) = place(struct.pack(f"<{len(directory_blocks)}I", *directory_blocks))
    magic = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
    head = magic + struct.pack("<6I", BLOCK, 1, len(blocks) + 3, len(directory), 0, block_map)
    return head.ljust(BLOCK * 3, b"\0") + b"".join(blocks)


def name_hash(entries: list[tuple[str, int]]) -> bytes:
    """A GSI hash table over (name, record offset)."""
    buckets: dict[int, list[int]] = {}
    for text, offset in entries:
        buckets.setdefault(hash_v1(text.encode()) % 4096, []).append(offset)
    pairs = b""
    offsets = b""
    bitmap = bytearray(516)
    for bucket in sorted(buckets):
        offsets += struct.pack("<I", len(pairs) // 8 * 12)
        bitmap[bucket // 8] |= 1 << bucket % 8
        for offset in buckets[bucket]:
            pairs += struct.pack("<II", offset + 1, 1)
    table = bytes(bitmap) + offsets
    return (
        struct.pack("<4I", 0xFFFFFFFF, 0xEFFE0000 + 19990810, len(pairs), len(table))
        + pairs
        + table
    )


@dataclass
class ModuleMaker:
    """One object file: symbols, lines, and the code it contributes."""

    name: str
    symbols: bytearray = field(default_factory=lambda: bytearray(struct.pack("<I", 4)))
    lines: bytes = b""
    contributions: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, kind: int, body: bytes) -> int:
        offset = len(self.symbols)
        self.symbols += record(kind, body)
        return offset

    def procedure(
        self, text: str, start: int, size: int, type_index: int, inner: list[bytes], *, static: bool
    ) -> int:
        """A procedure with the records `inner`; the offset of its record."""
        kind = 0x110F if static else 0x1110
        offset = len(self.symbols)
        head = struct.pack("<8IHB", 0, 0, 0, size, 0, size, type_index, start, 1, 0) + name(text)
        whole = record(kind, head) + b"".join(inner)
        end = offset + len(whole)
        whole = whole[:8] + struct.pack("<I", end) + whole[12:]
        self.symbols += whole + record(0x0006, b"")
        return offset


class PdbMaker:
    """Collects records; `build` gives the file."""

    def __init__(self, *, hashed: bool = True, stripped: bool = False, age: int = 3) -> None:
        self.types: list[tuple[bytes, int]] = []
        self.symbols = bytearray()
        self.globals: list[tuple[str, int]] = []
        self.publics: list[tuple[str, int]] = []
        self.modules: list[ModuleMaker] = []
        self.hashed = hashed
        self.stripped = stripped
        self.age = age
        self.sections = SECTIONS
        self.original_sections: tuple[tuple[bytes, int, int, int], ...] = ()
        self.omap: tuple[list[tuple[int, int]], list[tuple[int, int]]] | None = None

    # types

    def type(self, kind: int, body: bytes, key: str = "") -> int:
        self.types.append((record(kind, body), hash_v1(key.encode()) % 0x3FFFF))
        return 0x1000 + len(self.types) - 1

    def fields(self, *members: bytes) -> int:
        padded = (member + b"\xf3\xf2\xf1"[3 - (-len(member) % 4) :] for member in members)
        return self.type(0x1203, b"".join(padded))

    def struct(self, text: str, size: int, fields: int, *, forward: bool = False) -> int:
        flags = 0x80 if forward else 0
        body = struct.pack("<HHIII", 0, flags, fields, 0, 0) + numeric(size) + name(text)
        return self.type(0x1505, body, text)

    def pointer(self, target: int) -> int:
        return self.type(0x1002, struct.pack("<II", target, 0x1000C))

    # symbols

    def _add(self, kind: int, body: bytes) -> int:
        offset = len(self.symbols)
        self.symbols += record(kind, body)
        return offset

    def public(self, text: str, segment: int, offset: int, flags: int = 0) -> None:
        body = struct.pack("<IIH", flags, offset, segment) + name(text)
        self.publics.append((text, self._add(0x110E, body)))

    def data(
        self, text: str, type_index: int, segment: int, offset: int, kind: int = 0x110D
    ) -> None:
        body = struct.pack("<IIH", type_index, offset, segment) + name(text)
        self.globals.append((text, self._add(kind, body)))

    def constant(self, text: str, type_index: int, value: int) -> None:
        body = struct.pack("<I", type_index) + numeric(value) + name(text)
        self.globals.append((text, self._add(0x1107, body)))

    def typedef(self, text: str, type_index: int) -> None:
        self.globals.append((text, self._add(0x1108, struct.pack("<I", type_index) + name(text))))

    def reference(self, text: str, module: int, offset: int, *, static: bool) -> None:
        body = struct.pack("<IIH", 0, offset, module + 1) + name(text)
        self.globals.append((text, self._add(0x1127 if static else 0x1125, body)))

    def module(self, text: str) -> ModuleMaker:
        self.modules.append(ModuleMaker(text))
        return self.modules[-1]

    # the file

    def build(self, strings: bytes = b"") -> bytes:
        streams = [b"", self._info(), b"", b"", b"", b""]
        streams[5] = self._type_hashes()
        streams[2] = self._tpi()
        streams[4] = b""
        first = len(streams)
        streams += [bytes(module.symbols) + module.lines for module in self.modules]
        streams += [name_hash(self.globals), struct.pack("<7I", *[0] * 7) + name_hash(self.publics)]
        streams += [bytes(self.symbols), _sections(self.sections), strings]
        end = len(streams)
        optional = [0xFFFF] * 11
        optional[5] = end - 2
        if self.omap:
            streams += [b"".join(struct.pack("<II", *pair) for pair in part) for part in self.omap]
            streams.append(_sections(self.original_sections))
            optional[3], optional[4], optional[10] = end, end + 1, end + 2
        streams[1] = self._info(end - 1)
        streams[3] = self._dbi(first, end - 5, end - 4, end - 3, optional)
        return msf(streams)

    def write(self, path: Path, strings: bytes = b"") -> Path:
        path.write_bytes(self.build(strings))
        return path

    def _info(self, names: int = 0) -> bytes:
        table = (
            struct.pack("<3I", 1, 1, 1) + struct.pack("<2I", 1, 0) + struct.pack("<2I", 0, names)
        )
        text = name("/names")
        head = struct.pack("<III", 20000404, 0, self.age) + GUID
        return head + struct.pack("<I", len(text)) + text + table

    def _tpi(self) -> bytes:
        data = b"".join(raw for raw, _ in self.types)
        count = len(self.types)
        places = (0, count * 4, count * 4, 8, 0, 0)
        hashes = 5 if self.hashed else 0xFFFF
        head = struct.pack(
            "<5I2H2I", 20040203, 56, 0x1000, 0x1000 + count, len(data), hashes, 0xFFFF, 4, 0x3FFFF
        )
        return head + struct.pack("<6I", *places) + data

    def _type_hashes(self) -> bytes:
        values = b"".join(struct.pack("<I", value) for _, value in self.types)
        return values + struct.pack("<II", 0x1000, 0)

    def _dbi(self, first: int, gsi: int, psi: int, symbols: int, optional: list[int]) -> bytes:
        modules = contributions = b""
        for index, module in enumerate(self.modules):
            sizes = (len(module.symbols), 0, len(module.lines), 0, 0, 0, 0, 0)
            row = struct.pack("<I28xHHIIIHHIII", 0, 0, first + index, *sizes)
            row += name(module.name) + name("")
            modules += row + b"\0" * (-len(row) % 4)
            for segment, offset, size in module.contributions:
                row = struct.pack("<HHiiIHHII", segment, 0, offset, size, CODE, index, 0, 0, 0)
                contributions += row
        contributions = struct.pack("<I", 0xEFFE0000 + 19970605) + contributions
        debug = struct.pack(f"<{len(optional)}H", *optional)
        flags = 2 if self.stripped else 0
        head = struct.pack("<iIIHHHHHH", -1, 19990903, self.age, gsi, 0, psi, 0, symbols, 0)
        sizes = (len(modules), len(contributions), 0, 0, 0)
        head += struct.pack("<5i", *sizes) + struct.pack(
            "<IiiHHI", 0, len(debug), 0, flags, 0x8664, 0
        )
        return head + modules + contributions + debug


def _sections(rows: tuple[tuple[bytes, int, int, int], ...]) -> bytes:
    packed = (
        struct.pack("<8sIIIIIIHHI", text, size, rva, size, 0, 0, 0, 0, 0, flags)
        for text, size, rva, flags in rows
    )
    return b"".join(packed)


def member(text: str, type_index: int, offset: int) -> bytes:
    return struct.pack("<HHI", 0x150D, 3, type_index) + numeric(offset) + name(text)


def enumerator(text: str, value: int) -> bytes:
    return struct.pack("<HH", 0x1502, 3) + numeric(value) + name(text)


def local(text: str, type_index: int, flags: int = 0) -> bytes:
    return record(0x113E, struct.pack("<IH", type_index, flags) + name(text))


def in_register(number: int, start: int, size: int, *gaps: tuple[int, int]) -> bytes:
    body = struct.pack("<HHIHH", number, 0, start, 1, size)
    return record(0x1141, body + b"".join(struct.pack("<HH", *gap) for gap in gaps))


def in_frame(offset: int, start: int, size: int) -> bytes:
    return record(0x1142, struct.pack("<iIHH", offset, start, 1, size))


def line_table(
    start: int, size: int, lines: list[tuple[int, int]], file: int = 0, name_offset: int = 1
) -> bytes:
    """C13 subsections: one contribution of one file, and that file's checksum entry."""
    rows = b"".join(struct.pack("<II", offset, line | 0x8000_0000) for offset, line in lines)
    block = struct.pack("<III", file, len(lines), 12 + len(rows)) + rows
    body = struct.pack("<IHHI", start, 1, 0, size) + block
    checksums = struct.pack("<IBBH", name_offset, 0, 0, 0)
    parts = ((0xF2, body), (0xF4, checksums))
    return b"".join(struct.pack("<II", kind, len(data)) + data for kind, data in parts)


def string_table(*texts: str) -> bytes:
    data = b"\0" + b"".join(name(text) for text in texts)
    return struct.pack("<III", 0xEFFEEFFE, 1, len(data)) + data
