"""Small PE32+ images, section by section."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

PAGE = 0x1000
CODE, DATA, READ_ONLY = 0x6000_0020, 0xC000_0040, 0x4000_0040
IMAGE_BASE = 0x1_4000_0000


@dataclass
class Maker:
    """Sections follow each other from RVA 0x1000; contents may refer to their own RVA."""

    name: str
    alignment: int = PAGE
    sections: list[tuple[str, bytes, int, int]] = field(default_factory=list)
    directories: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def next_rva(self) -> int:
        size = sum(-(-max(len(data), virtual) // PAGE) for _, data, virtual, _ in self.sections)
        return (size + 1) * PAGE

    def section(self, name: str, data: bytes, flags: int, virtual_size: int = 0) -> int:
        rva = self.next_rva
        self.sections.append((name, data, virtual_size or len(data), flags))
        return rva

    def imports(self, dll: str, *wanted: str | int) -> int:
        """A section with one import descriptor; returns the RVA of the address table."""
        rva = self.next_rva
        table = rva + 0x40
        names = table + (len(wanted) + 1) * 16
        entries, strings = [], b""
        for each in wanted:
            if isinstance(each, int):
                entries.append(1 << 63 | each)
            else:
                entries.append(names + len(strings))
                strings += b"\0\0" + each.encode() + b"\0"
        dll_name = names + len(strings)
        lookup = struct.pack(f"<{len(entries) + 1}Q", *entries, 0)
        addresses = table + len(lookup)
        head = struct.pack("<5I", table, 0, 0, dll_name, addresses).ljust(0x40, b"\0")
        data = head + lookup + lookup + strings + dll.encode() + b"\0"
        self.directories[1] = (rva, 0x28)
        self.section("INIT", data, DATA)
        return addresses

    def exports(self, exported: dict[str, int | str], base: int = 1) -> None:
        """A section with the export directory; text is a forwarder."""
        rva = self.next_rva
        count = len(exported)
        functions = rva + 0x28
        names, ordinals = functions + count * 4, functions + count * 8
        strings_at = ordinals + count * 2
        strings = self.name.encode() + b"\0"
        rvas, pointers = [], []
        for name, target in exported.items():
            pointers.append(strings_at + len(strings))
            strings += name.encode() + b"\0"
            if isinstance(target, str):
                rvas.append(strings_at + len(strings))
                strings += target.encode() + b"\0"
            else:
                rvas.append(target)
        head = struct.pack(
            "<IIHHIIIIIII",
            0, 0, 0, 0, strings_at, base, count, count, functions, names, ordinals,
        )  # fmt: skip
        data = head + struct.pack(f"<{count}I{count}I{count}H", *rvas, *pointers, *range(count))
        data += strings
        self.directories[0] = (rva, len(data))
        self.section(".edata", data, READ_ONLY)

    def relocations(self, *rvas: int, kind: int = 10) -> None:
        blocks = b""
        for rva in rvas:
            blocks += struct.pack("<IIHH", rva & ~0xFFF, 12, kind << 12 | rva & 0xFFF, 0)
        self.directories[5] = (self.next_rva, len(blocks))
        self.section(".reloc", blocks, READ_ONLY)

    def build(self) -> bytes:
        """The file: headers in one page, raw data in file order."""
        raw, table, body = PAGE, b"", b""
        rva = PAGE
        for name, data, virtual, flags in self.sections:
            padded = data.ljust(-(-len(data) // 512) * 512, b"\0")
            row = (name.encode(), virtual, rva, len(padded), raw + len(body), 0, 0, 0, 0, flags)
            table += struct.pack("<8sIIIIIIHHI", *row)
            body += padded
            rva += -(-max(virtual, len(data)) // PAGE) * PAGE
        directories = [self.directories.get(index, (0, 0)) for index in range(16)]
        optional = struct.pack(
            "<HBBIIIII QIIHHHHHHIIIIHHQQQQII",
            0x20B, 14, 0, 0, 0, 0, PAGE, PAGE,
            IMAGE_BASE, self.alignment, 512, 10, 0, 10, 0, 10, 0, 0, rva, PAGE, 0, 1, 0,
            0x10_0000, PAGE, 0x10_0000, PAGE, 0, 16,
        ) + b"".join(struct.pack("<II", *pair) for pair in directories)  # fmt: skip
        header = b"PE\0\0" + struct.pack(
            "<HHIIIHH", 0x8664, len(self.sections), 0, 0, 0, len(optional), 0x22
        )
        head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + header + optional + table
        return head.ljust(PAGE, b"\0") + body
