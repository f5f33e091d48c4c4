"""Physical memory: one run of bytes from address 0, shared with every processor's engine."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterator

from kdsim.errors import MemoryFault, UserError

PAGE_SIZE = 4096
PAGE_SHIFT = 12

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_ZERO_PAGE = bytes(PAGE_SIZE)


def parse_size(text: str) -> int:
    """Bytes of a size such as "512M", "2G" or "65536"; a multiple of the page size."""
    match = re.fullmatch(r"(\d+)([KMG]?)B?", text.strip().upper())
    if match is None:
        raise UserError(f"'{text}' is not a size; write for instance 512M")
    size = int(match[1]) * _UNITS[match[2]]
    if size == 0 or size % PAGE_SIZE:
        raise UserError(f"a RAM size must be a positive multiple of 4 KiB, and '{text}' is not")
    return size


class PhysicalMemory:
    """RAM of `size` bytes (an int or text like "512M"), all zero and sparse.

    `view` and `qwords` reach it without a check beyond Python's own; `read` and `write` raise
    MemoryFault outside it, as a bus error would.
    """

    def __init__(self, size: int | str) -> None:
        self.size = parse_size(size) if isinstance(size, str) else size
        if self.size <= 0 or self.size % PAGE_SIZE:
            raise UserError(f"a RAM size must be a positive multiple of 4 KiB, not {self.size}")
        # A memory file rather than an anonymous mapping: it can tell where its holes are, so a
        # save need not touch pages that the machine never did.
        self._file = os.memfd_create("kdsim-ram") if hasattr(os, "memfd_create") else -1
        if self._file >= 0:
            os.truncate(self._file, self.size)
        self._mapping = mmap.mmap(self._file, self.size)
        self.view = memoryview(self._mapping)
        self.qwords = self.view.cast("Q")
        self.pointer = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)

    @property
    def pages(self) -> int:
        return self.size >> PAGE_SHIFT

    def read(self, pa: int, size: int) -> bytes:
        self._check(pa, size)
        return bytes(self.view[pa : pa + size])

    def write(self, pa: int, data: bytes) -> None:
        self._check(pa, len(data))
        self.view[pa : pa + len(data)] = data

    def read_u64(self, pa: int) -> int:
        """The 8 bytes at `pa`, which must be aligned."""
        self._check(pa, 8)
        return self.qwords[pa >> 3]

    def write_u64(self, pa: int, value: int) -> None:
        self._check(pa, 8)
        self.qwords[pa >> 3] = value

    def _check(self, pa: int, size: int) -> None:
        if pa < 0 or size < 0 or pa + size > self.size:
            first = pa if not 0 <= pa < self.size else self.size
            raise MemoryFault(first, max(pa + size - first, 1), "physical address outside RAM")

    def used_pages(self) -> Iterator[tuple[int, memoryview]]:
        """(page number, bytes) of every page that is not all zero, ascending."""
        for start, end in self._extents():
            for pa in range(start, end, PAGE_SIZE):
                page = self.view[pa : pa + PAGE_SIZE]
                if page != _ZERO_PAGE:
                    yield pa >> PAGE_SHIFT, page

    def _extents(self) -> Iterator[tuple[int, int]]:
        if self._file < 0:
            yield 0, self.size
            return
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self._file, end, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole follows
                return
            end = os.lseek(self._file, start, os.SEEK_HOLE)
            yield start, end
