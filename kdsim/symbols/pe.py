"""PE images (x64 and x86), from a file or from memory they were mapped to.

Headers are checked at construction; exports, imports, relocations, unwind and version data are
decoded when first asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.codeview import guid_text
from kdsim.symbols.memory import Memory

if TYPE_CHECKING:
    from kdsim.symbols.version import VersionInfo

MACHINE_AMD64, MACHINE_I386 = 0x8664, 0x014C

EXPORT, IMPORT, RESOURCE, EXCEPTION, _, RELOCATION, DEBUG = range(7)

_DOS_LFANEW = 0x3C
_FILE_HEADER = struct.Struct("<HHIIIHH")
_OPTIONAL_64 = struct.Struct("<HBBIIIII QIIHHHHHHIIIIHHQQQQII")
_OPTIONAL_32 = struct.Struct("<HBBIIIIII IIIHHHHHHIIIIHHIIIIII")
_SECTION = struct.Struct("<8sIIIIIIHHI")
_DEBUG_ENTRY = struct.Struct("<IIHHIIII")
_EXPORT_TABLE = struct.Struct("<IIHHIIIIIII")
_IMPORT_ENTRY = struct.Struct("<5I")
_RUNTIME_FUNCTION = struct.Struct("<III")
_DEBUG_CODEVIEW = 2
_DEBUG_REPRO = 16
_MAX_IMAGE = 1 << 31
_MAX_TABLE = 1 << 20
_MAX_NAME = 4096
_CHUNK = 4080  # a multiple of a function entry, below a page


class Section(NamedTuple):
    """A section header; `coff`: places and counts of relocations and line numbers."""

    name: str
    rva: int
    virtual_size: int
    raw_offset: int
    raw_size: int
    characteristics: int
    coff: tuple[int, ...] = (0, 0, 0, 0)

    @property
    def size(self) -> int:
        return self.virtual_size or self.raw_size


class Directory(NamedTuple):
    """A data directory; both 0 when there is none."""

    rva: int
    size: int


class Export(NamedTuple):
    """An exported name or ordinal; a forwarder names another module's export instead."""

    name: str
    ordinal: int
    rva: int
    forwarder: str = ""


class Exports(NamedTuple):
    """The export directory. `by_name` keeps the table's order."""

    name: str
    by_name: dict[str, Export]
    by_ordinal: dict[int, Export]


class Import(NamedTuple):
    """One imported function; `name` is empty for an import by ordinal."""

    dll: str
    name: str
    ordinal: int
    iat_rva: int


class CodeView(NamedTuple):
    """The debug directory's link to a PDB. `guid` has 32 upper-case hexadecimal digits."""

    guid: str
    age: int
    pdb_name: str

    @property
    def key(self) -> str:
        """What a symbol store files the PDB under."""
        return f"{self.guid}{self.age:x}"


class DebugEntry(NamedTuple):
    """One entry of the debug directory."""

    type: int
    timestamp: int
    size: int
    rva: int
    raw_offset: int


class RuntimeFunction(NamedTuple):
    """One `.pdata` entry: code from `begin` to `end` (exclusive) and its unwind information."""

    begin: int
    end: int
    unwind_rva: int


class FunctionTable:
    """`.pdata`, searched in place: only the parts the search touches are read."""

    def __init__(self, read: Callable[[int, int], bytes], rva: int, size: int) -> None:
        self._read = read
        self._rva = rva
        self._size = size // _RUNTIME_FUNCTION.size * _RUNTIME_FUNCTION.size
        self._chunks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self._size // _RUNTIME_FUNCTION.size

    def __getitem__(self, index: int) -> RuntimeFunction:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, offset = divmod(index * _RUNTIME_FUNCTION.size, _CHUNK)
        chunk = self._chunks.get(number)
        if chunk is None:
            start = number * _CHUNK
            chunk = self._read(self._rva + start, min(_CHUNK, self._size - start))
            self._chunks[number] = chunk
        return RuntimeFunction(*_RUNTIME_FUNCTION.unpack_from(chunk, offset))

    def __iter__(self) -> Iterator[RuntimeFunction]:
        return (self[index] for index in range(len(self)))

    def find(self, rva: int) -> RuntimeFunction | None:
        """The entry whose code covers `rva`; None for a leaf function."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            entry = self[middle]
            if rva < entry.begin:
                high = middle
            elif rva >= entry.end:
                low = middle + 1
            else:
                return entry
        return None


class PeImage:
    """A PE image; see `from_file` and `from_memory`. All addresses are RVAs.

    Attributes:
        machine, timestamp, characteristics: of the file header.
        symbol_table: file offset and count of COFF symbols; optional_size: of the optional header.
        checksum, size_of_image, size_of_headers, entry_rva, image_base, subsystem,
        section_alignment, dll_characteristics: of the optional header.
        code_sizes: of code, initialised and uninitialised data.
        reserve_sizes: of the stack (reserve, commit) and of the heap.
        sections, directories: the tables behind it.
    """

    def __init__(self, read: Callable[[int, int], bytes], name: str) -> None:
        """`read(rva, size)` gives mapped bytes; for headers these equal the file's."""
        self._read = read
        self.name = name
        header = self._headers()
        machine, count, timestamp, symbols_at, symbols, optional_size, characteristics = header[0]
        self.machine: int = machine
        self.timestamp: int = timestamp
        self.characteristics: int = characteristics
        self.symbol_table: tuple[int, int] = (symbols_at, symbols)
        self.optional_size: int = optional_size
        self._optional(header[1], optional_size)
        table = self._table(header[1] + optional_size, count * _SECTION.size)
        self.sections = tuple(self._section(row) for row in _SECTION.iter_unpack(table))

    @classmethod
    def from_file(cls, data: bytes, name: str = "image") -> PeImage:
        """An image in its file layout."""
        layout = _FileLayout(data, name)
        image = cls(layout.read, name)
        layout.map(image)
        return image

    @classmethod
    def headers_only(cls, data: bytes, name: str = "image") -> PeImage:
        """An image of which only the first page is at hand; directories cannot be read."""
        return cls(_FileLayout(data, name).read, name)

    @classmethod
    def from_memory(cls, memory: Memory, base: int, name: str = "image") -> PeImage:
        """An image mapped at `base`. Reads may raise MemoryFault, now and later."""
        return cls(lambda rva, size: memory.read(base + rva, size), name)

    # -- headers ---------------------------------------------------------------------------------

    def _headers(self) -> tuple[tuple[int, ...], int]:
        """The file header and the place of the optional header."""
        if self._read(0, 2) != b"MZ":
            raise FormatError(f"{self.name}: not an executable image (no MZ)")
        (start,) = struct.unpack("<I", self._read(_DOS_LFANEW, 4))
        if not 4 <= start <= 0x1000:
            raise FormatError(f"{self.name}: the PE header is at 0x{start:x}")
        if self._read(start, 4) != b"PE\0\0":
            raise FormatError(f"{self.name}: not an executable image (no PE signature)")
        header = _FILE_HEADER.unpack(self._read(start + 4, _FILE_HEADER.size))
        return header, start + 4 + _FILE_HEADER.size

    def _optional(self, start: int, size: int) -> None:
        (magic,) = struct.unpack("<H", self._read(start, 2))
        layout = {0x20B: _OPTIONAL_64, 0x10B: _OPTIONAL_32}.get(magic)
        if layout is None or size < layout.size:
            raise FormatError(
                f"{self.name}: optional header 0x{magic:x} of {size} bytes is unknown"
            )
        row = layout.unpack(self._read(start, layout.size))
        if magic == 0x10B:  # PE32 has BaseOfData before the image base
            row = row[:8] + row[9:]
        self.is_64 = magic == 0x20B
        self.linker_version: tuple[int, int] = row[1:3]
        self.code_sizes: tuple[int, int, int] = row[3:6]
        self.entry_rva: int = row[6]
        self.code_rva: int = row[7]
        self.image_base: int = row[8]
        self.section_alignment: int = row[9]
        self.file_alignment: int = row[10]
        self.os_version: tuple[int, int] = row[11:13]
        self.image_version: tuple[int, int] = row[13:15]
        self.subsystem_version: tuple[int, int] = row[15:17]
        self.size_of_image: int = row[18]
        self.size_of_headers: int = row[19]
        self.checksum: int = row[20]
        self.subsystem: int = row[21]
        self.dll_characteristics: int = row[22]
        self.reserve_sizes: tuple[int, int, int, int] = row[23:27]
        count = min(row[28], 16, (size - layout.size) // 8)
        table = self._read(start + layout.size, count * 8)
        pairs = [Directory(*pair) for pair in struct.iter_unpack("<II", table)]
        self.directories = tuple(pairs) + (Directory(0, 0),) * (16 - len(pairs))
        if not 0 < self.size_of_image < _MAX_IMAGE:
            raise FormatError(f"{self.name}: size of image 0x{self.size_of_image:x} is impossible")

    def _section(self, row: tuple[bytes, int, int, int, int, int, int, int, int, int]) -> Section:
        name, size, rva, raw_size, raw, *coff, characteristics = row
        if rva + (size or raw_size) > _MAX_IMAGE:
            raise FormatError(f"{self.name}: a section lies outside the image")
        text = name.rstrip(b"\0").decode("latin-1")
        return Section(text, rva, size, raw, raw_size, characteristics, tuple(coff))

    # -- reading ---------------------------------------------------------------------------------

    def read(self, rva: int, size: int) -> bytes:
        """Mapped bytes.

        Raises:
            FormatError: outside the image.
            MemoryFault: from memory, where it cannot be read.
        """
        if rva < 0 or size < 0 or rva + size > self.size_of_image:
            raise FormatError(f"{self.name}: 0x{rva:x} (+0x{size:x}) lies outside the image")
        return self._read(rva, size)

    def _table(self, rva: int, size: int) -> bytes:
        if size > _MAX_TABLE * 16:
            raise FormatError(f"{self.name}: a table of 0x{size:x} bytes is impossible")
        return self.read(rva, size)

    def _text(self, rva: int) -> str:
        """A NUL-terminated name. Read piecemeal: the next page may be missing from memory."""
        raw = b""
        while len(raw) < _MAX_NAME:
            room = min(64, 0x1000 - (rva + len(raw)) % 0x1000, self.size_of_image - rva - len(raw))
            piece = self.read(rva + len(raw), max(room, 1))
            end = piece.find(b"\0")
            if end >= 0:
                return (raw + piece[:end]).decode("latin-1")
            raw += piece
        raise FormatError(f"{self.name}: a name at 0x{rva:x} has no end")

    def section_at(self, rva: int) -> Section | None:
        """The section that holds an address."""
        return next((s for s in self.sections if s.rva <= rva < s.rva + s.size), None)

    # -- directories -----------------------------------------------------------------------------

    @cached_property
    def exports(self) -> Exports:
        directory = self.directories[EXPORT]
        if not directory.rva:
            return Exports("", {}, {})
        row = _EXPORT_TABLE.unpack(self.read(directory.rva, _EXPORT_TABLE.size))
        _, _, _, _, name, base, functions, names, table, name_table, ordinal_table = row
        if functions > _MAX_TABLE or names > _MAX_TABLE:
            raise FormatError(f"{self.name}: the export directory is damaged")
        rvas = struct.unpack(f"<{functions}I", self._table(table, functions * 4))
        pointers = struct.unpack(f"<{names}I", self._table(name_table, names * 4))
        ordinals = struct.unpack(f"<{names}H", self._table(ordinal_table, names * 2))
        by_name: dict[str, Export] = {}
        by_ordinal: dict[int, Export] = {}
        for pointer, index in zip(pointers, ordinals, strict=True):
            if index >= functions:
                raise FormatError(f"{self.name}: an export has ordinal {index} of {functions}")
            export = self._export(self._text(pointer), index + base, rvas[index], directory)
            by_name[export.name] = export
            by_ordinal[export.ordinal] = export
        for index, rva in enumerate(rvas):
            if rva and index + base not in by_ordinal:
                by_ordinal[index + base] = self._export("", index + base, rva, directory)
        return Exports(self._text(name) if name else "", by_name, by_ordinal)

    def _export(self, name: str, ordinal: int, rva: int, directory: Directory) -> Export:
        forwarded = directory.rva <= rva < directory.rva + directory.size
        return Export(name, ordinal, rva, self._text(rva) if forwarded else "")

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        directory = self.directories[IMPORT]
        found: list[Import] = []
        position = directory.rva
        while position:
            row = _IMPORT_ENTRY.unpack(self.read(position, _IMPORT_ENTRY.size))
            lookup, _, _, name, addresses = row
            if not name or not addresses:
                break
            found += self._imported(self._text(name), lookup or addresses, addresses)
            position += _IMPORT_ENTRY.size
            if len(found) > _MAX_TABLE:
                raise FormatError(f"{self.name}: the import directory has no end")
        return tuple(found)

    def _imported(self, dll: str, lookup: int, addresses: int) -> Iterator[Import]:
        width = 8 if self.is_64 else 4
        by_ordinal = 1 << width * 8 - 1
        for offset in range(0, _MAX_TABLE, width):
            entry = int.from_bytes(self.read(lookup + offset, width), "little")
            if not entry:
                return
            if entry & by_ordinal:
                yield Import(dll, "", entry & 0xFFFF, addresses + offset)
            else:
                yield Import(dll, self._text((entry & 0x7FFF_FFFF) + 2), 0, addresses + offset)

    @cached_property
    def relocations(self) -> tuple[tuple[int, int], ...]:
        """`(rva, type)` of every base relocation, padding left out."""
        directory = self.directories[RELOCATION]
        table = self._table(directory.rva, directory.size) if directory.rva else b""
        found: list[tuple[int, int]] = []
        position = 0
        while position + 8 <= len(table):
            page, size = struct.unpack_from("<II", table, position)
            if size < 8 or position + size > len(table):
                raise FormatError(f"{self.name}: a relocation block of {size} bytes is damaged")
            entries = struct.unpack_from(f"<{(size - 8) // 2}H", table, position + 8)
            found += ((page + (entry & 0xFFF), entry >> 12) for entry in entries if entry >> 12)
            position += size
        return tuple(found)

    @cached_property
    def debug_entries(self) -> tuple[DebugEntry, ...]:
        directory = self.directories[DEBUG]
        size = directory.size // _DEBUG_ENTRY.size * _DEBUG_ENTRY.size
        table = self._table(directory.rva, size) if directory.rva else b""
        return tuple(
            DebugEntry(kind, stamp, length, rva, raw)
            for _, stamp, _, _, kind, length, rva, raw in _DEBUG_ENTRY.iter_unpack(table)
        )

    @property
    def reproducible(self) -> bool:
        """Its time stamp is a hash of its contents, not a time."""
        return any(entry.type == _DEBUG_REPRO for entry in self.debug_entries)

    @cached_property
    def codeview(self) -> CodeView | None:
        for entry in self.debug_entries:
            if entry.type == _DEBUG_CODEVIEW and entry.rva and 24 < entry.size <= _MAX_NAME:
                raw = self.read(entry.rva, entry.size)
                if raw[:4] == b"RSDS":
                    (age,) = struct.unpack_from("<I", raw, 20)
                    name = raw[24:].partition(b"\0")[0].decode("utf-8", "replace")
                    return CodeView(guid_text(raw[4:20]), age, name)
        return None

    @cached_property
    def functions(self) -> FunctionTable:
        directory = self.directories[EXCEPTION]
        size = directory.size if directory.rva and self.machine == MACHINE_AMD64 else 0
        if size > _MAX_TABLE * 16:
            raise FormatError(f"{self.name}: the function table is too large")
        return FunctionTable(self.read, directory.rva, size)

    @cached_property
    def version(self) -> VersionInfo | None:
        from kdsim.symbols.version import find_version

        directory = self.directories[RESOURCE]
        return find_version(self.read, directory.rva) if directory.rva else None


class _FileLayout:
    """Turns addresses of the image into places of its file."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._headers = len(data)
        self._runs: list[tuple[int, int, int, int]] = []

    def map(self, image: PeImage) -> None:
        """From now on read by section; before that only headers can be read."""
        self._headers = min(image.size_of_headers, len(self._data))
        for section in image.sections:
            length = min(section.raw_size, section.size) if section.raw_offset else 0
            if section.raw_offset + length > len(self._data):
                raise FormatError(f"{self._name}: truncated, section {section.name} is cut short")
            end = section.rva + section.size
            self._runs.append((section.rva, end, section.raw_offset, length))

    def read(self, rva: int, size: int) -> bytes:
        if not self._runs and rva + size > len(self._data):
            raise FormatError(f"{self._name}: truncated, {len(self._data)} bytes")
        for start, end, raw, length in self._runs:
            if start <= rva and rva + size <= end:
                offset = rva - start
                piece = self._data[raw + offset : raw + min(offset + size, length)]
                return bytes(piece).ljust(size, b"\0")
        return self._pieces(rva, size)

    def _pieces(self, rva: int, size: int) -> bytes:
        """A read across headers, sections and the holes between them, which hold zeros."""
        result = bytearray(size)
        head = bytes(self._data[rva : min(rva + size, self._headers)])
        result[: len(head)] = head
        for start, _, raw, length in self._runs:
            low, high = max(start, rva), min(start + length, rva + size)
            if low < high:
                result[low - rva : high - rva] = self._data[raw + low - start : raw + high - start]
        return bytes(result)
