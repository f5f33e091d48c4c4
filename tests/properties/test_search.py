"""`s` finds the same places whether the target searches or the debugger reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdsim.debugger import memory_search
from kdsim.debugger.memory import CachedMemory, VirtualMemory
from kdsim.debugger.memory_search import occurrences
from kdsim.errors import MemoryFault
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.ram import PhysicalMemory
from kdsim.target.ntos import memory_requests
from kdsim.target.ntos.memory_requests import read_memory, search_memory
from kdsim.target.ntos.memory_search import runs, search
from kdsim.target.ntos.requests import Debuggee
from kdsim.wire.manipulate import Api, Manipulate
from kdsim.wire.requests import Requests

PAGE = 0x1000
PAGES = 24
BASE = 0xFFFFC000_001FA000
"""The pages from here cross the border of a page table."""
ANSWERS = {Api.READ_VIRTUAL: read_memory, Api.SEARCH_MEMORY: search_memory}
ROOT, TABLES, POOL = 0x1000, 0x2000, 0x10000


class Layout(NamedTuple):
    """Which frame each virtual page has (None: not mapped), and what is written over it."""

    frames: list[int | None]
    writes: list[tuple[int, bytes]]


def build(layout: Layout) -> AddressSpace:
    ram = PhysicalMemory(POOL + PAGES * PAGE)
    free = iter(range(TABLES, POOL, PAGE))
    space = AddressSpace(ram, ROOT, lambda: next(free))
    for index, frame in enumerate(layout.frames):
        if frame is not None:
            space.map(BASE + index * PAGE, POOL + frame * PAGE, PAGE)
    for offset, data in layout.writes:
        ram.write(POOL + offset, data[: PAGES * PAGE - offset])
    return space


class Reading:
    """A backend that only reads."""

    def __init__(self, space: AddressSpace) -> None:
        def ask(message: Manipulate) -> Manipulate:
            debuggee = Debuggee(cast("Any", None), cast("Any", None), space, 0x10000)
            return ANSWERS[message.api](debuggee, message)

        self.requests = Requests(ask, 0x10000, 0x400)

    def read_virtual(self, va: int, size: int) -> bytes:
        return self.requests.read(Api.READ_VIRTUAL, va, size)


class Searching(Reading):
    """A backend that offers `MemorySearch` as well."""

    def search_virtual(self, va: int, size: int, pattern: bytes) -> int:
        return self.requests.search(va, size, pattern)


def places(backend: Reading, start: int, size: int, pattern: bytes) -> list[int]:
    memory = VirtualMemory(cast("Any", backend), cast("CachedMemory", None))
    return list(occurrences(memory, start, start + size, pattern, lambda: None))


def by_the_pages(space: AddressSpace, start: int, size: int, pattern: bytes) -> list[int]:
    """The definition: readable pages put together, and every place in them looked at."""
    stretches: list[tuple[int, bytes]] = []
    for page in range(start & -PAGE, start + size, PAGE):
        first, last = max(page, start), min(page + PAGE, start + size)
        try:
            data = space.read(first, last - first)
        except MemoryFault:
            continue
        if stretches and sum(map(len, stretches[-1][1:]), stretches[-1][0]) == first:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + data)
        else:
            stretches.append((first, data))
    everywhere = re.compile(b"(?=%s)" % re.escape(pattern), re.DOTALL)
    return [va + hit.start() for va, data in stretches for hit in everywhere.finditer(data)]


@contextmanager
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_search, "NEAR", 0x20)
        patch.setattr(memory_search, "CHUNK", 0x300)
        patch.setattr(memory_search, "LEAP", 0x1800)
        patch.setattr(memory_requests, "MAX_SEARCH", 0x1400)
        yield


frames = st.lists(
    st.one_of(st.none(), st.integers(0, PAGES - 1)), min_size=PAGES, max_size=PAGES
) | st.just(list(range(PAGES)))
patterns = st.binary(min_size=1, max_size=4).filter(any) | st.sampled_from([b"QQQ", b"Ab" * 3])
writes = st.lists(
    st.tuples(
        st.integers(0, PAGES * PAGE - 1) | st.integers(1, PAGES - 1).map(lambda n: n * PAGE - 2),
        patterns.flatmap(lambda p: st.just(p * 2)) | st.just(b"QQQQQ"),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(st.builds(Layout, frames, writes), patterns, st.integers(0, 9000), st.integers(0, 90000))
@example(Layout(list(range(PAGES)), [(2 * PAGE - 2, b"QQQQQ")]), b"QQQ", 1, PAGES * PAGE)
@example(Layout([0, None] * (PAGES // 2), [(PAGE - 2, b"QQQ")]), b"QQQ", 0, PAGES * PAGE)
@example(Layout([3] * PAGES, [(3 * PAGE, b"Q"), (4 * PAGE - 2, b"QQ")]), b"QQQ", 0, PAGES * PAGE)
def test_both_ways_find_what_is_there(
    layout: Layout, pattern: bytes, offset: int, size: int
) -> None:
    space, start = build(layout), BASE + offset
    expected = by_the_pages(space, start, size, pattern)
    assert places(Reading(space), start, size, pattern) == expected
    assert places(Searching(space), start, size, pattern) == expected
    with small_pieces():
        assert places(Reading(space), start, size, pattern) == expected
        assert places(Searching(space), start, size, pattern) == expected


@given(st.builds(Layout, frames, st.just([])), st.integers(0, 9000), st.integers(1, 90000))
def test_runs_are_the_readable_memory(layout: Layout, offset: int, size: int) -> None:
    space, start = build(layout), BASE + offset
    found = list(runs(space, start, start + size))
    assert all(run.size > 0 and space.physical(run.va) == run.pa for run in found)
    assert not any(
        (left.va + left.size, left.pa + left.size) == (right.va, right.pa)
        for left, right in pairwise(found)
    )
    pages = {page for run in found for page in range(run.va & -PAGE, run.va + run.size, PAGE)}
    assert pages == {
        page
        for page in range(start & -PAGE, start + size, PAGE)
        if page - BASE >> 12 < PAGES and layout.frames[page - BASE >> 12] is not None
    }


def test_runs_of_large_pages_and_of_none() -> None:
    """2 MB by a directory entry; memory without RAM behind it and half the space are no runs."""
    ram = PhysicalMemory(4 << 20)
    space = AddressSpace(ram, ROOT, iter(range(TABLES, POOL, PAGE)).__next__)
    large = 0xFFFFC000_00400000
    space.map(large + 0x200000, 0x100000)
    directory = TABLES + PAGE  # the second table that `map` made
    ram.write_u64(directory + 2 * 8, 0x200000 | 0x83)
    ram.write_u64(directory + 4 * 8, 0x40000000 | 0x83)
    assert list(runs(space, 0, 1 << 64)) == [
        (large, 0x200000, 0x200000),
        (large + 0x200000, 0x100000, PAGE),
    ]
    assert search(space, 0, 1 << 64, b"x", 1 << 30) == (None, 0x201000)
