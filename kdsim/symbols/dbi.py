"""The DBI stream of a PDB: modules, section contributions, section headers, address maps."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.codeview import text, words
from kdsim.symbols.msf import MsfFile

NONE = 0xFFFF
_HEADER = struct.Struct("<iIIHHHHHHiiiiiIiiHHI")
_MODULE = struct.Struct("<I28xHHIIIHHIII")
_SECTION = struct.Struct("<8sIIIIIIHHI")
_CONTRIBUTION_SIZES = {0xEFFE0000 + 19970605: 28, 0xEFFE0000 + 20140516: 32}
_CONTRIBUTION = struct.Struct("<HHiiIH")
_STRIPPED = 0x0002
_OMAP_TO_SOURCE, _OMAP_FROM_SOURCE, _SECTIONS, _ORIGINAL_SECTIONS = 3, 4, 5, 10
_EXECUTE = 0x2000_0000


class ModuleInfo(NamedTuple):
    """One object file of the link, and where its symbols are."""

    name: str
    object_name: str
    stream: int
    symbol_bytes: int
    c11_bytes: int
    c13_bytes: int


class ImageSection(NamedTuple):
    """A section header as the linker saw it."""

    name: str
    rva: int
    size: int
    characteristics: int

    @property
    def executable(self) -> bool:
        return bool(self.characteristics & _EXECUTE)


class Dbi:
    """The stream's header and its parts, each decoded when asked for."""

    def __init__(self, msf: MsfFile) -> None:
        self._msf = msf
        data = msf.required(3, "debug information stream")
        if len(data) < _HEADER.size:
            raise FormatError(f"{msf.name}: the debug information stream has no header")
        header = _HEADER.unpack_from(data)
        signature, _, self.age, self.globals, _, self.publics, _, self.records, _ = header[:9]
        sizes = [*header[9:14], header[15], header[16]]
        self.flags: int = header[17]
        self.machine: int = header[18]
        if signature != -1 or min(sizes) < 0 or sum(sizes) + _HEADER.size > len(data):
            raise FormatError(f"{msf.name}: the debug information stream is damaged")
        modules, contributions, sections, sources, servers, optional, edit = sizes
        start = _HEADER.size
        self._modules = bytes(data[start : start + modules])
        start += modules
        self._contributions = bytes(data[start : start + contributions])
        start += contributions + sections + sources + servers + edit
        self._optional = array("H", bytes(data[start : start + optional // 2 * 2]))

    @property
    def stripped(self) -> bool:
        """A public PDB: private symbols were taken out."""
        return bool(self.flags & _STRIPPED)

    def _optional_stream(self, index: int) -> bytes:
        number = self._optional[index] if index < len(self._optional) else NONE
        return b"" if number == NONE else bytes(self._msf.stream(number))

    @cached_property
    def modules(self) -> list[ModuleInfo]:
        """The object files, in link order."""
        data, position = self._modules, 0
        result: list[ModuleInfo] = []
        while position + _MODULE.size <= len(data):
            _, _, stream, symbols, c11, c13, *_ = _MODULE.unpack_from(data, position)
            name, position = text(data, position + _MODULE.size)
            object_name, position = text(data, position)
            position += -position & 3
            result.append(ModuleInfo(name, object_name, stream, symbols, c11, c13))
        return result

    @cached_property
    def sections(self) -> tuple[ImageSection, ...]:
        """The section headers that symbols count in (those before any reordering)."""
        raw = self._optional_stream(_ORIGINAL_SECTIONS) if self._moved else b""
        raw = raw or self._optional_stream(_SECTIONS)
        headers = _SECTION.iter_unpack(raw[: len(raw) // _SECTION.size * _SECTION.size])
        return tuple(
            ImageSection(name.rstrip(b"\0").decode("latin-1"), rva, size, flags)
            for name, size, rva, _, _, _, _, _, _, flags in headers
        )

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return tuple(section.rva for section in self.sections)

    def rva(self, segment: int, offset: int) -> int | None:
        """Address of a symbol; None for one that is in no section (an absolute)."""
        if not 0 < segment <= len(self._starts):
            return None
        address = self._starts[segment - 1] + offset
        return self._moved.image(address) if self._moved else address

    def section_of(self, rva: int) -> int:
        """Number of the section an address is in or behind, from 1; 0 before the first."""
        return bisect_right(self._starts, rva)

    def executable(self, segment: int) -> bool:
        """Whether a section holds code."""
        return 0 < segment <= len(self.sections) and self.sections[segment - 1].executable

    @cached_property
    def _moved(self) -> AddressMap | None:
        """The map of an image whose code was reordered after linking."""
        forward = self._optional_stream(_OMAP_FROM_SOURCE)
        backward = self._optional_stream(_OMAP_TO_SOURCE)
        return AddressMap(forward, backward) if forward and backward else None

    def linked(self, rva: int) -> int:
        """The address before reordering; the same for all but images with address maps."""
        return self._moved.linked(rva) if self._moved else rva

    @cached_property
    def _pieces(self) -> tuple[array[int], list[tuple[int, int]]]:
        """Starts of the section contributions, sorted, with `(end, module)` of each."""
        data = self._contributions
        size = _CONTRIBUTION_SIZES.get(int.from_bytes(data[:4], "little"))
        rows: list[tuple[int, int, int]] = []
        if size is not None:
            starts = self._starts
            for position in range(4, len(data) - size + 1, size):
                segment, _, offset, length, _, module = _CONTRIBUTION.unpack_from(data, position)
                if 0 < segment <= len(starts) and length > 0 and offset >= 0:
                    begin = starts[segment - 1] + offset
                    rows.append((begin, begin + length, module))
        rows.sort()
        return array("Q", (row[0] for row in rows)), [(row[1], row[2]) for row in rows]

    def module_at(self, rva: int) -> int | None:
        """Index of the module whose contribution contains an address of the linked image."""
        starts, pieces = self._pieces
        index = bisect_right(starts, rva) - 1
        if index < 0 or rva >= pieces[index][0]:
            return None
        return pieces[index][1]


class AddressMap:
    """OMAP: pairs of addresses, each valid up to the next; 0 means the code was dropped."""

    def __init__(self, from_source: bytes, to_source: bytes) -> None:
        self._from = _split(from_source)
        self._to = _split(to_source)

    def image(self, rva: int) -> int | None:
        return _translate(self._from, rva)

    def linked(self, rva: int) -> int:
        return _translate(self._to, rva) or rva


def _split(data: bytes) -> tuple[array[int], array[int]]:
    pairs = words(data[: len(data) // 8 * 8])
    return pairs[::2], pairs[1::2]


def _translate(pairs: tuple[array[int], array[int]], rva: int) -> int | None:
    sources, targets = pairs
    index = bisect_right(sources, rva) - 1
    if index < 0 or not targets[index]:
        return None
    return targets[index] + rva - sources[index]
