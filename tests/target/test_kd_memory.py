"""Requests for memory, virtual and physical, put to a booted target."""

import pytest

from kdsim.wire.manipulate import (
    Api,
    FillArguments,
    MemoryArguments,
    QueryMemoryArguments,
    SearchArguments,
    Status,
)

NOWHERE = 0xFFFF_FF00_0000_0000


def test_reads_are_clipped_to_the_transport(booted):
    base = booted.kernel.base
    reply = booted.one(Api.READ_VIRTUAL, MemoryArguments(base, 0x8000))
    assert reply.status == Status.SUCCESS
    assert len(reply.data) == reply.arguments(MemoryArguments).actual == booted.script.data_limit
    assert reply.data[:2] == b"MZ"


def _edge(booted) -> int:
    """The first byte behind a mapped page: the loader leaves one free behind each structure."""
    pcr = next(booted.kernel.processors()).address & ~0xFFF
    page = pcr
    while booted.system.memory.read_prefix(page, 1):
        page += 0x1000
    return page


@pytest.mark.parametrize(
    ("before", "size", "status", "actual"),
    [
        pytest.param(16, 16, Status.SUCCESS, 16, id="up-to-the-edge"),
        pytest.param(16, 32, Status.UNSUCCESSFUL, 16, id="prefix"),
        pytest.param(0, 4, Status.UNSUCCESSFUL, 0, id="nothing"),
        pytest.param(16, 0, Status.SUCCESS, 0, id="empty"),
    ],
)
def test_unreadable_memory_gives_the_readable_prefix(booted, before, size, status, actual):
    wanted = MemoryArguments(_edge(booted) - before, size)
    reply = booted.one(Api.READ_VIRTUAL, wanted)
    assert (reply.status, len(reply.data)) == (status, actual)
    assert reply.arguments(MemoryArguments).actual == actual


def test_writes_reach_the_writable_prefix_and_pass_read_only_pages(booted):
    edge = _edge(booted)
    old = booted.read(edge - 4, 4)
    reply = booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 4, 8), b"12345678")
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.UNSUCCESSFUL, 4)
    assert booted.read(edge - 4, 4) == b"1234"
    booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 4, 4), old)
    # The kernel's code is read-only to itself, not to its debugger.
    code = booted.kernel.address("KeBugCheckEx")
    byte = booted.read(code, 1)
    reply = booted.one(Api.WRITE_VIRTUAL, MemoryArguments(code, 1), byte)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.SUCCESS, 1)


def test_physical_memory_is_the_same_bytes(booted):
    walk = booted.system.memory.translate(booted.kernel.base)
    reply = booted.one(Api.READ_PHYSICAL, MemoryArguments(walk.pa, 64, actual=2))
    assert reply.data == booted.read(booted.kernel.base, 64)
    end = booted.system.machine.ram.size
    reply = booted.one(Api.READ_PHYSICAL, MemoryArguments(end - 4, 8))
    assert (reply.status, len(reply.data)) == (Status.UNSUCCESSFUL, 4)
    reply = booted.one(Api.WRITE_PHYSICAL, MemoryArguments(0x2000, 3), b"abc")
    assert reply.status == Status.SUCCESS
    assert booted.one(Api.READ_PHYSICAL, MemoryArguments(0x2000, 3)).data == b"abc"
    assert booted.one(Api.WRITE_PHYSICAL, MemoryArguments(end, 1), b"a").status != 0


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        pytest.param(b"This program", Status.SUCCESS, id="found"),
        pytest.param(b"not in there at all", Status.NOT_FOUND, id="absent"),
        pytest.param(b"", Status.INVALID_PARAMETER, id="no-pattern"),
    ],
)
def test_search(booted, pattern, status):
    base = booted.kernel.base
    # Put there what is looked for, across a page border.
    edge = booted.kernel.address("KdPrintDefaultCircularBuffer") | 0xFFF
    booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 5, 12), b"This program")
    wanted = SearchArguments(edge - 0x400, 0x800, len(pattern))
    reply = booted.one(Api.SEARCH_MEMORY, wanted, pattern)
    assert reply.status == status
    if status == Status.SUCCESS:
        assert reply.arguments(SearchArguments).address == edge - 5
    lost = SearchArguments(base - 0x1000, 0x800, 1)
    assert booted.one(Api.SEARCH_MEMORY, lost, b"x").status == Status.UNSUCCESSFUL


@pytest.mark.parametrize("physical", [False, True])
def test_fill(booted, physical):
    va = booted.kernel.address("KdPrintDefaultCircularBuffer")
    address = booted.system.memory.physical(va) if physical else va
    wanted = FillArguments(address, 7, 2 if physical else 1, 3)
    reply = booted.one(Api.FILL_MEMORY, wanted, b"abc")
    assert (reply.status, reply.arguments(FillArguments).length) == (Status.SUCCESS, 7)
    assert booted.read(va, 7) == b"abcabca"
    wrong = wanted._replace(flags=3)
    assert booted.one(Api.FILL_MEMORY, wrong, b"abc").status == Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("KeBugCheckEx", 1 | 4 | 8, id="code"),
        pytest.param("PsLoadedModuleList", 1 | 2 | 8, id="data"),
    ],
)
def test_query_memory(booted, name, flags):
    wanted = QueryMemoryArguments(booted.kernel.address(name))
    found = booted.one(Api.QUERY_MEMORY, wanted).arguments(QueryMemoryArguments)
    assert (found.space, found.flags, found.reserved) == (2, flags, 0)
