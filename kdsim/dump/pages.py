"""Physical memory behind a dump's header: written and read."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

from kdsim.dump.header import HEADER_SIZE, PAGE_SIZE, DumpHeader, DumpType
from kdsim.errors import FormatError, MemoryFault

CHUNK_PAGES = 64
"""Pages read and written at once."""

ReadPhysical = Callable[[int, int], bytes]

# SDMP/FDMP header of bitmap dumps; as kdmp-parser's BMP_HEADER64.
_BITMAP = struct.Struct("<8s24xQQQ")
_BITMAP_SIGNATURE = b"FDMPDUMP"
_BITMAP_SIGNATURES = (_BITMAP_SIGNATURE, b"SDMPDUMP")


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
    stream: BinaryIO, header: DumpHeader, present: Iterable[int], read: ReadPhysical
) -> Iterator[int]:
    """The same with only the pages in `present`, by number."""
    wanted = sorted(set(present))
    pages = max((run.base_page + run.pages for run in header.runs), default=0)
    if wanted and wanted[-1] >= pages:
        raise FormatError(f"page {wanted[-1]:#x} is not in the machine's memory")
    bitmap = bytearray(-(-pages // 8))
    for page in wanted:
        bitmap[page // 8] |= 1 << page % 8
    start = -(-(HEADER_SIZE + _BITMAP.size + len(bitmap)) // PAGE_SIZE) * PAGE_SIZE
    total = start + len(wanted) * PAGE_SIZE
    stream.write(dataclasses.replace(header, dump_type=DumpType.BITMAP, size=total).pack())
    stream.write(_BITMAP.pack(_BITMAP_SIGNATURE, start, len(wanted), pages))
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


class CrashDump:
    """A dump file, opened.

    Errors: FormatError for a damaged or foreign file, OSError when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")
        try:
            self.header = DumpHeader.unpack(self._stream.read(HEADER_SIZE))
            self._places = dict(self._find_pages())
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        self._stream.close()

    @property
    def pages(self) -> frozenset[int]:
        """Numbers of the pages that are in the file."""
        return frozenset(self._places)

    def _find_pages(self) -> Iterator[tuple[int, int]]:
        """(page number, its place in the file); FormatError when the file ends too early."""
        runs = self.header.runs
        if self.header.dump_type is DumpType.BITMAP:
            start, numbers = self._bitmap()
        else:
            self._need(HEADER_SIZE + self.header.pages * PAGE_SIZE)
            start = HEADER_SIZE
            numbers = [page for first, size in runs for page in range(first, first + size)]
        self._need(start + len(numbers) * PAGE_SIZE)
        return zip(numbers, count(start, PAGE_SIZE), strict=False)

    def _need(self, size: int) -> None:
        actual = self.path.stat().st_size
        if actual < size:
            raise FormatError(f"{self.path} is truncated: it has {actual} of {size} bytes")

    def _bitmap(self) -> tuple[int, list[int]]:
        """Where the pages begin, and their numbers."""
        self._need(HEADER_SIZE + _BITMAP.size)
        signature, start, present, pages = _BITMAP.unpack(self._stream.read(_BITMAP.size))
        if signature not in _BITMAP_SIGNATURES:
            raise FormatError(f"{self.path} has no page bitmap where one should be")
        self._need(HEADER_SIZE + _BITMAP.size + -(-pages // 8))
        bitmap = self._stream.read(-(-pages // 8))
        numbers = [
            8 * index + bit
            for index, byte in enumerate(bitmap)
            if byte
            for bit in range(8)
            if byte >> bit & 1
        ]
        if len(numbers) != present:
            raise FormatError(f"the bitmap has {len(numbers)} pages, its header says {present}")
        return start, numbers

    def read_physical(self, pa: int, size: int) -> bytes:
        """Exactly `size` bytes; MemoryFault for a page that was not saved."""
        pieces = []
        while size > 0:
            offset = pa % PAGE_SIZE
            part = min(size, PAGE_SIZE - offset)
            place = self._places.get(pa // PAGE_SIZE)
            if place is None:
                raise MemoryFault(pa, size, "the page is not in the dump")
            self._stream.seek(place + offset)
            pieces.append(self._stream.read(part))
            pa += part
            size -= part
        return b"".join(pieces)
