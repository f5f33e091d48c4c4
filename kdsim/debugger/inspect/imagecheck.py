"""An image in memory compared with its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.errors import MemoryFault
from kdsim.symbols.memory import Memory
from kdsim.symbols.pe import PeImage, Section

# winnt.h: IMAGE_SCN_*, IMAGE_DIRECTORY_ENTRY_IAT, IMAGE_REL_BASED_*.
DISCARDABLE, EXECUTE, WRITE = 0x02000000, 0x20000000, 0x80000000
IAT = 12
REL_HIGHLOW, REL_DIR64 = 3, 10
RELOCATION_WIDTH = {REL_HIGHLOW: 4, REL_DIR64: 8}
NOP, LOCK = 0x90, 0xF0
STEP = 0x1000


@dataclass(frozen=True, slots=True)
class Difference:
    """Consecutive bytes that are not what the file says."""

    address: int
    expected: bytes
    found: bytes
    section: str

    @property
    def last(self) -> int:
        return self.address + len(self.expected) - 1


@dataclass(frozen=True, slots=True)
class Choice:
    """Which parts of an image are compared.

    Attributes:
        every: all sections that are not discardable; else only code that stays.
        named: sections whose names contain this text.
        start, end: addresses; the end belongs to the range.
        relocate: move the file to where the image is.
        locks: report a `nop` in the place of a `lock` too.
    """

    every: bool = False
    named: str = ""
    start: int = 0
    end: int = (1 << 64) - 1
    relocate: bool = True
    locks: bool = False

    def includes(self, section: Section) -> bool:
        flags = section.characteristics
        if flags & DISCARDABLE:
            return False
        if self.named:
            return self.named in section.name
        if self.every:
            return True
        kept = "PAGE" not in section.name and section.name != "INITKDBG"
        return bool(flags & EXECUTE) and not flags & WRITE and kept


class ImageCheck:
    """Compares one module with its file."""

    def __init__(self, memory: Memory, base: int, image: PeImage, choice: Choice) -> None:
        self._memory = memory
        self._base = base
        self._image = image
        self._choice = choice
        self._moved = base - image.image_base if choice.relocate else 0
        self._relocations = sorted(image.relocations) if self._moved else []
        self.compared = 0
        """Bytes that could be compared so far."""

    def sections(self) -> list[Section]:
        return [section for section in self._image.sections if self._choice.includes(section)]

    def differences(self, section: Section) -> Iterator[Difference]:
        """The mismatches of a section, neighbouring bytes joined."""
        start = max(section.rva, self._choice.start - self._base)
        end = min(section.rva + section.size, self._choice.end - self._base + 1)
        open_at, expected, found = -1, bytearray(), bytearray()
        for rva in range(start, max(start, end), STEP):
            size = min(STEP, end - rva)
            wanted = self._expected(rva, size)
            try:
                actual = self._memory.read(self._base + rva, size)
            except MemoryFault:
                continue
            self.compared += size
            if wanted == actual:
                continue
            for at in self._unequal(rva, wanted, actual):
                if open_at >= 0 and at != open_at + len(expected):
                    yield self._difference(section, open_at, expected, found)
                    open_at = -1
                if open_at < 0:
                    open_at, expected, found = at, bytearray(), bytearray()
                expected.append(wanted[at - rva])
                found.append(actual[at - rva])
        if open_at >= 0:
            yield self._difference(section, open_at, expected, found)

    def _difference(
        self, section: Section, at: int, expected: bytearray, found: bytearray
    ) -> Difference:
        return Difference(self._base + at, bytes(expected), bytes(found), section.name)

    def _unequal(self, rva: int, wanted: bytes, actual: bytes) -> Iterator[int]:
        table = self._image.directories[IAT]
        for index, (want, have) in enumerate(zip(wanted, actual, strict=True)):
            if want == have or table.rva <= rva + index < table.rva + table.size:
                continue
            if not self._choice.locks and {want, have} == {NOP, LOCK}:
                continue
            yield rva + index

    def _expected(self, rva: int, size: int) -> bytes:
        """The file's bytes as the loader would have placed them."""
        data = bytearray(self._image.read(rva, size))
        for at, kind in self._relocations:
            width = RELOCATION_WIDTH.get(kind, 0)
            if at + width <= rva or at >= rva + size or not width:
                continue
            value = int.from_bytes(self._image.read(at, width), "little") + self._moved
            raw = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
            for index, byte in enumerate(raw):
                if 0 <= at + index - rva < size:
                    data[at + index - rva] = byte
        return bytes(data)
