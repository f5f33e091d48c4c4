"""Physical memory behind a dump's header: written and read."""

from __future__ import annotations

import bisect
import dataclasses
import struct
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kdsim.dump.header import HEADER_SIZE, PAGE_SIZE, DumpHeader, DumpType, Run
from kdsim.errors import FormatError, MemoryFault

CHUNK_PAGES = 64
"""Pages read and written at once."""

ReadPhysical = Callable[[int, int], bytes]

# What follows the header of other than full dumps; as kdmp-parser's BMP_HEADER64, RDMP_HEADER64.
_BITMAP = struct.Struct("<8s24xQQQ")
_FULL_SIGNATURE, _KERNEL_SIGNATURE = b"FDMPDUMP", b"SDMPDUMP"
_RUN_LIST = struct.Struct("<I8s4xQQ8xQ")
_RUN_LIST_MARKER, _RUN_LIST_SIGNATURE = 0x40, b"RDMPDUMP"
_RUN_LIST_PREFIX = 0x20
"""What the size of the metadata does not count."""


def write_full(stream: BinaryIO, header: DumpHeader, read: ReadPhysical) -> Iterator[int]:
    """Write a complete memory dump; yields how many pages have been written after each piece.

    A page that `read` cannot give is written as zeros.
    """
    total = HEADER_SIZE + header.pages * PAGE_SIZE
    stream.write(dataclasses.replace(header, dump_type=DumpType.FULL, size=total).pack())
    done = 0
    for run in header.runs:
        for first in range(run.base_page, run.base_page + run.pages, CHUNK_PAGES):
            size = min(CHUNK_PAGES, run.base_page + run.pages - first)
            stream.write(_read_pages(read, first, size))
            done += size
            yield done


def write_bitmap(
    stream: BinaryIO,
    header: DumpHeader,
    present: Iterable[int],
    read: ReadPhysical,
    *,
    kernel_only: bool = False,
) -> Iterator[int]:
    """The same with only the pages in `present`, by number; `kernel_only` says whose they are."""
    wanted = sorted(set(present))
    pages = max((run.base_page + run.pages for run in header.runs), default=0)
    if wanted and wanted[-1] >= pages:
        raise FormatError(f"page {wanted[-1]:#x} is not in the machine's memory")
    bitmap = bytearray(-(-pages // 8))
    for page in wanted:
        bitmap[page // 8] |= 1 << page % 8
    start = -(-(HEADER_SIZE + _BITMAP.size + len(bitmap)) // PAGE_SIZE) * PAGE_SIZE
    total = start + len(wanted) * PAGE_SIZE
    kind = DumpType.KERNEL_BITMAP if kernel_only else DumpType.BITMAP
    signature = _KERNEL_SIGNATURE if kernel_only else _FULL_SIGNATURE
    stream.write(dataclasses.replace(header, dump_type=kind, size=total).pack())
    stream.write(_BITMAP.pack(signature, start, len(wanted), pages))
    stream.write(bitmap.ljust(start - HEADER_SIZE - _BITMAP.size, b"\0"))
    done = 0
    for first, size in _stretches(wanted):
        stream.write(_read_pages(read, first, size))
        done += size
        yield done


def _stretches(pages: list[int]) -> Iterator[tuple[int, int]]:
    """(first, how many) neighbours in a sorted list, at most CHUNK_PAGES long."""
    first = size = 0
    for page in pages:
        if size and (page != first + size or size == CHUNK_PAGES):
            yield first, size
            size = 0
        first = first if size else page
        size += 1
    if size:
        yield first, size


def _read_pages(read: ReadPhysical, first: int, size: int) -> bytes:
    data = read(first * PAGE_SIZE, size * PAGE_SIZE)
    if len(data) == size * PAGE_SIZE:
        return data
    pages = (read(page * PAGE_SIZE, PAGE_SIZE) for page in range(first, first + size))
    return b"".join(page.ljust(PAGE_SIZE, b"\0") for page in pages)


class _Stretch(NamedTuple):
    """Pages whose bytes follow each other in the file."""

    first: int
    pages: int
    place: int


class CrashDump:
    """A dump file, opened.

    Errors: FormatError for a damaged or foreign file, OSError when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")
        try:
            self._size = path.stat().st_size
            self.header = DumpHeader.unpack(self._stream.read(HEADER_SIZE))
            start, runs = self._runs()
            self._stretches = self._placed(start, runs)
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        self._stream.close()

    @property
    def pages(self) -> int:
        """How many are in the file."""
        return sum(stretch.pages for stretch in self._stretches)

    def _runs(self) -> tuple[int, Iterable[Run]]:
        """Where the pages begin, and which they are, in the order of the file."""
        match self.header.dump_type:
            case DumpType.FULL:
                return HEADER_SIZE, self.header.runs
            case DumpType.BITMAP | DumpType.KERNEL_BITMAP:
                return self._bitmap()
            case _:
                return self._listed_runs()

    def _placed(self, start: int, runs: Iterable[Run]) -> list[_Stretch]:
        """The runs with their places, by page; FormatError when the file ends too early."""
        found, place = [], start
        for run in runs:
            found.append(_Stretch(run.base_page, run.pages, place))
            place += run.pages * PAGE_SIZE
        self._need(place)
        return sorted(found)

    def _need(self, size: int) -> None:
        if self._size < size:
            raise FormatError(f"{self.path} is truncated: it has {self._size} of {size} bytes")

    def _read(self, size: int) -> bytes:
        self._need(self._stream.tell() + size)
        return self._stream.read(size)

    def _bitmap(self) -> tuple[int, Iterator[Run]]:
        signature, start, present, pages = _BITMAP.unpack(self._read(_BITMAP.size))
        if signature not in (_FULL_SIGNATURE, _KERNEL_SIGNATURE):
            raise FormatError(f"{self.path} has no page bitmap where one should be")
        bitmap = self._read(-(-pages // 8))
        counted = int.from_bytes(bitmap, "little").bit_count()
        if counted != present:
            raise FormatError(f"the bitmap has {counted} pages, its header says {present}")
        # Before there is a run for every other bit of a file of nothing but bitmap.
        self._need(start + present * PAGE_SIZE)
        return start, _runs_of(bitmap)

    def _listed_runs(self) -> tuple[int, list[Run]]:
        """The list ends with the metadata, at an empty run, or when all pages are named."""
        marker, signature, size, start, total = _RUN_LIST.unpack(self._read(_RUN_LIST.size))
        if (marker, signature) != (_RUN_LIST_MARKER, _RUN_LIST_SIGNATURE):
            raise FormatError(f"{self.path} has no list of page runs where one should be")
        if start != HEADER_SIZE + _RUN_LIST_PREFIX + size:
            raise FormatError(f"{self.path}: its list of page runs does not end at its first page")
        table = self._read(max(0, start - HEADER_SIZE - _RUN_LIST.size))
        left = total if self.header.dump_type is DumpType.COMPLETE_RUNS else None
        runs: list[Run] = []
        for base, pages in struct.iter_unpack("<QQ", table[: len(table) // 16 * 16]):
            if pages == 0 or left == 0:
                break
            runs.append(Run(base, pages))
            if left is not None:
                left -= pages
        if left:
            raise FormatError(f"{self.path}: its page runs do not add up to {total} pages")
        return start, runs

    def read_physical(self, pa: int, size: int) -> bytes:
        """Exactly `size` bytes; MemoryFault for a page that was not saved."""
        data = self.read_prefix(pa, size)
        if len(data) < size:
            fault = pa + len(data)
            raise MemoryFault(fault, pa + size - fault, "the page is not in the dump")
        return data

    def read_prefix(self, pa: int, size: int) -> bytes:
        """The bytes up to the first page that was not saved."""
        pieces = []
        while size > 0:
            page, offset = divmod(pa, PAGE_SIZE)
            index = bisect.bisect_right(self._stretches, page, key=attrgetter("first")) - 1
            if index < 0:
                break
            first, pages, place = self._stretches[index]
            if page >= first + pages:
                break
            part = min(size, (first + pages) * PAGE_SIZE - pa)
            self._stream.seek(place + (page - first) * PAGE_SIZE + offset)
            pieces.append(self._stream.read(part))
            pa += part
            size -= part
        return b"".join(pieces)


def _runs_of(bitmap: bytes) -> Iterator[Run]:
    """Neighbours among the set bits, the lowest bit of a byte first."""
    first = pages = 0
    for index, byte in enumerate(bitmap):
        if byte == 0xFF and pages and index * 8 == first + pages:
            pages += 8
            continue
        for bit in range(8):
            if not byte >> bit & 1:
                continue
            page = index * 8 + bit
            if pages and page != first + pages:
                yield Run(first, pages)
                pages = 0
            first = first if pages else page
            pages += 1
    if pages:
        yield Run(first, pages)
