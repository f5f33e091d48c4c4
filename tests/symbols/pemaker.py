"""Writes small x64 images, so that tests can say exactly what is in them."""

from __future__ import annotations

import struct

from .pdbmaker import GUID

CODE, DATA, READ = 0x6000_0020, 0xC000_0040, 0x4000_0040
FILE_ALIGN, PAGE = 0x200, 0x1000
EXPORT, IMPORT, RESOURCE, EXCEPTION, RELOCATION, DEBUG = 0, 1, 2, 3, 5, 6


def aligned(size: int, unit: int) -> int:
    return -(-size // unit) * unit


class PeMaker:
    """Sections and directories; `file` and `mapped` give the two layouts."""

    def __init__(self, *, timestamp: int = 0x6543_2100, base: int = 0x1_4000_0000) -> None:
        self.timestamp = timestamp
        self.base = base
        self.sections: list[tuple[bytes, bytes, int]] = []
        self.directories = [(0, 0)] * 16

    @property
    def next_rva(self) -> int:
        return PAGE + sum(aligned(len(data), PAGE) for _, data, _ in self.sections)

    def section(self, text: bytes, data: bytes, flags: int) -> int:
        rva = self.next_rva
        self.sections.append((text, data, flags))
        return rva

    def directory(self, index: int, data: bytes, flags: int = READ) -> int:
        rva = self.section(b".d%d" % index, data, flags)
        self.directories[index] = (rva, len(data))
        return rva

    # directories

    def exports(self, dll: bytes, functions: dict[str, int], forwarders: dict[str, bytes]) -> None:
        """Names in ascending order, ordinals from 5; one more function without a name at last."""
        rva = self.next_rva
        names = sorted([*functions, *forwarders])
        count = len(names) + 1
        tables = rva + 40
        strings = tables + count * 4 + len(names) * 6
        blob, places = dll + b"\0", {}
        for text in names:
            places[text] = strings + len(blob)
            blob += text.encode() + b"\0"
        targets = dict(functions)
        for text, target in forwarders.items():
            targets[text] = strings + len(blob)
            blob += target + b"\0"
        rvas = [targets[text] for text in names] + [0x1FF0]
        table = struct.pack(f"<{count}I", *rvas)
        table += struct.pack(f"<{len(names)}I", *(places[text] for text in names))
        table += struct.pack(f"<{len(names)}H", *range(len(names)))
        end = tables + count * 4
        head = (0, 0, 0, 0, strings, 5, count, len(names), tables, end, end + len(names) * 4)
        self.directory(EXPORT, struct.pack("<IIHHIIIIIII", *head) + table + blob)

    def imports(self, dll: bytes, names: list[str | int]) -> None:
        rva = self.next_rva
        lookup = rva + 40
        addresses = lookup + (len(names) + 1) * 8
        strings = addresses + (len(names) + 1) * 8
        blob, entries = dll + b"\0", []
        for name in names:
            if isinstance(name, int):
                entries.append(1 << 63 | name)
            else:
                entries.append(strings + len(blob))
                blob += b"\0\0" + name.encode() + b"\0"
        table = struct.pack(f"<{len(names) + 1}Q", *entries, 0)
        head = struct.pack("<5I", lookup, 0, 0, strings, addresses) + bytes(20)
        self.directory(IMPORT, head + table + table + blob)

    def codeview(self, pdb: bytes, age: int = 3) -> None:
        rva = self.next_rva + 28
        body = b"RSDS" + GUID + struct.pack("<I", age) + pdb + b"\0"
        entry = struct.pack("<IIHHIIII", 0, self.timestamp, 0, 0, 2, len(body), rva, 0)
        where = self.section(b".debug", entry + body, READ)
        self.directories[DEBUG] = (where, 28)

    def relocations(self, page: int, offsets: list[int]) -> None:
        entries = [10 << 12 | offset for offset in offsets]
        entries += [0] * (len(entries) % 2)
        body = struct.pack("<II", page, 8 + len(entries) * 2)
        self.directory(RELOCATION, body + struct.pack(f"<{len(entries)}H", *entries))

    def version(self, numbers: tuple[int, int, int, int], strings: dict[str, str]) -> None:
        rva = self.next_rva
        high, low = numbers[0] << 16 | numbers[1], numbers[2] << 16 | numbers[3]
        fixed = struct.pack(
            "<13I", 0xFEEF04BD, 0x10000, high, low, high, low, 0x3F, 0, 4, 3, 7, 0, 0
        )
        rows = [
            _node(key, value.encode("utf-16-le") + b"\0\0", 1) for key, value in strings.items()
        ]
        table = _node("040904B0", b"", 1, rows)
        info = _node("VS_VERSION_INFO", fixed, 0, [_node("StringFileInfo", b"", 1, [table])])
        tree = b""
        for number, following in ((16, 0x8000_0018), (1, 0x8000_0030), (0x409, 0x48)):
            tree += struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, number, following)
        data = struct.pack("<IIII", rva + 0x58, len(info), 0, 0)
        self.directory(RESOURCE, tree + data + info)

    # the image

    def _headers(self) -> bytes:
        size = self.next_rva
        raw = PAGE
        rows, rva = b"", PAGE
        for text, data, flags in self.sections:
            length = aligned(len(data), FILE_ALIGN)
            rows += struct.pack(
                "<8sIIIIIIHHI", text, len(data), rva, length, raw, 0, 0, 0, 0, flags
            )
            raw += length
            rva += aligned(len(data), PAGE)
        dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
        count = len(self.sections)
        header = struct.pack("<HHIIIHH", 0x8664, count, self.timestamp, 0, 0, 240, 0x22)
        optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, 0, 0, 0x1000, 0x1000)
        optional += struct.pack("<QIIHHHHHHI", self.base, PAGE, FILE_ALIGN, 10, 0, 10, 0, 10, 0, 0)
        optional += struct.pack("<IIIHHQQQQII", size, PAGE, 0xABCD, 1, 0, 0, 0, 0, 0, 0, 16)
        for directory in self.directories:
            optional += struct.pack("<II", *directory)
        return (dos.ljust(0x80, b"\0") + b"PE\0\0" + header + optional + rows).ljust(PAGE, b"\0")

    def file(self) -> bytes:
        padded = (data.ljust(aligned(len(data), FILE_ALIGN), b"\0") for _, data, _ in self.sections)
        return self._headers() + b"".join(padded)

    def mapped(self) -> bytes:
        padded = (data.ljust(aligned(len(data), PAGE), b"\0") for _, data, _ in self.sections)
        return self._headers() + b"".join(padded)


def _node(key: str, value: bytes, text: int, children: list[bytes] | None = None) -> bytes:
    head = key.encode("utf-16-le") + b"\0\0"
    body = head + b"\0" * (-(len(head) + 6) % 4) + value
    for child in children or []:
        body += b"\0" * (-(len(body) + 6) % 4) + child
    length = len(value) // 2 if text else len(value)
    return struct.pack("<HHH", len(body) + 6, length, text) + body


def driver(*, pdb: bytes = b"C:\\kdsim\\sample.pdb", age: int = 3) -> PeMaker:
    """An image with one of every directory, and code at 0x1000 and data at 0x2000."""
    maker = PeMaker()
    maker.section(b".text", b"\xcc" * 0x300, CODE)
    maker.section(b".data", bytes(range(256)), DATA)
    functions = {"Outer": 0x1000, "Helper": 0x1040, "Data": 0x2010}
    maker.exports(b"sample.sys", functions, {"Forward": b"nt.Other"})
    maker.imports(b"ntoskrnl.exe", ["DbgPrint", 17, "ExAllocatePool2"])
    maker.codeview(pdb, age)
    maker.relocations(0x2000, [0x10, 0x18, 0x20])
    maker.version((10, 0, 19041, 3570), {"CompanyName": "kdsim", "FileDescription": "a test"})
    table = struct.pack("<6I", 0x1000, 0x1040, 0x3000, 0x1040, 0x1080, 0x3000)
    maker.directory(EXCEPTION, table)
    return maker
