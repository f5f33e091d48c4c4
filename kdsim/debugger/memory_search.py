"""Finding bytes in memory: read piece by piece, or skipped over where the target can search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

NEAR = 0x400
"""Bytes read around a place that the target found; more while places lie close together."""

CHUNK = 0x10000
"""Bytes read at once."""

LEAP = 16 << 20
"""Bytes the target searches at once; Ctrl+C has its turn in between."""


class SearchedMemory(Protocol):
    """What is asked of memory; see `kdsim.debugger.memory.VirtualMemory`."""

    def read_some(self, address: int, size: int) -> bytes: ...

    def skip_hole(self, va: int, end: int) -> int: ...

    def rule_out(self, va: int, size: int, pattern: bytes) -> int: ...


def readable(
    memory: SearchedMemory, start: int, end: int, check: Callable[[], None]
) -> Iterator[tuple[int, bytes]]:
    """The readable pieces of a range, in order; `check` is called between them."""
    at = start
    while at < end:
        check()
        data = memory.read_some(at, min(CHUNK, end - at))
        if data:
            yield at, data
            at += len(data)
        else:
            at = memory.skip_hole(at, end)


def occurrences(
    memory: SearchedMemory, start: int, end: int, pattern: bytes, check: Callable[[], None]
) -> Iterator[int]:
    """Where a pattern lies wholly in the readable memory of a range; places may overlap."""
    size = len(pattern)
    most = max(CHUNK, 2 * size)
    at, wanted = start, most
    while end - at >= size:
        check()
        leap = min(at + LEAP, end)
        place = memory.rule_out(at, leap - at, pattern)
        if place >= leap:
            at, wanted = leap - size + 1, NEAR
            continue
        wanted = min(2 * wanted, most) if place == at else max(NEAR, 2 * size)
        at = place
        piece = min(wanted, end - at)
        data = memory.read_some(at, piece)
        found = data.find(pattern)
        while found >= 0:
            yield at + found
            found = data.find(pattern, found + 1)
        if len(data) < piece:
            at = memory.skip_hole(at + len(data), end)
        else:
            at += len(data) - size + 1
