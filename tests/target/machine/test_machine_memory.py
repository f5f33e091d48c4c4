"""RAM and page tables."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import MemoryFault, SimBug, UserError
from kdsim.target.machine.paging import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    LARGE,
    NO_EXECUTE,
    PRESENT,
    USER,
    WRITABLE,
    AddressSpace,
)
from kdsim.target.machine.ram import PAGE_SIZE, PhysicalMemory, parse_size
from tests.target.machine.conftest import DATA, KERNEL, USER_CODE, Guest


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("512M", 512 << 20, id="mega"),
        pytest.param("2G", 2 << 30, id="giga"),
        pytest.param("64kb", 64 << 10, id="kilo"),
        pytest.param(" 8192 ", 8192, id="bytes"),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "12X", "-1M", "4097", "M"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError):
        parse_size(text)


def test_ram_is_zero_sparse_and_writable():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ram = PhysicalMemory("4G")
    assert ram.read((4 << 30) - 16, 16) == bytes(16)
    ram.write(0x1234, b"kernel")
    ram.write_u64(0x2000, 0x1122_3344_5566_7788)
    assert ram.view[0x1234:0x123A] == b"kernel"
    assert ram.read_u64(0x2000) == ram.qwords[0x400] == 0x1122_3344_5566_7788
    assert [number for number, _ in ram.used_pages()] == [1, 2]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize(
    ("pa", "size", "first"),
    [
        pytest.param(0x1_0000, 1, 0x1_0000, id="behind"),
        pytest.param(0xFFFC, 8, 0x1_0000, id="across"),
        pytest.param(-8, 8, -8, id="before"),
        pytest.param(1 << 60, 8, 1 << 60, id="far"),
    ],
)
def test_outside_ram_is_a_fault(pa, size, first):
    ram = PhysicalMemory("64K")
    with pytest.raises(MemoryFault) as caught:
        ram.read(pa, size)
    assert caught.value.address == first
    with pytest.raises(MemoryFault):
        ram.write(pa, bytes(size))


def space_of_three_page_sizes() -> AddressSpace:
    ram = PhysicalMemory("16M")
    pages = iter(range(0x1000, 0x10_0000, PAGE_SIZE))
    space = AddressSpace(ram, next(pages), lambda: next(pages))
    space.map(KERNEL, 0x20_0000, PAGE_SIZE, WRITABLE | NO_EXECUTE)
    directory = ram.read_u64(ram.read_u64(ram.read_u64(space.cr3 + 0xF80) & ~0xFFF))
    assert directory == 0
    return space


def test_walk_names_everything():
    space = space_of_three_page_sizes()
    walk = space.translate(KERNEL + 0x123)
    assert (walk.pa, walk.page_size) == (0x20_0123, 0x1000)
    assert (walk.writable, walk.user, walk.executable) == (True, False, False)
    assert space.ram.read_u64(walk.entry_pa) == walk.entry
    assert space.physical(KERNEL + 0x123) == walk.pa


@pytest.mark.parametrize(
    ("level", "size"), [pytest.param(2, 2 << 20, id="2M"), pytest.param(1, 1 << 30, id="1G")]
)
def test_large_pages(level, size):
    ram = PhysicalMemory("2G" if level == 1 else "16M")
    space = AddressSpace(ram, 0x1000)
    va = 0xFFFF_8000_0000_0000 + size
    for step in range(level):
        shift = (39, 30)[step]
        table = 0x1000 * (step + 1)
        ram.write_u64(table + (va >> shift & 511) * 8, table + 0x1000 | PRESENT | WRITABLE)
    leaf = 0x1000 * (level + 1) + (va >> (30, 21)[level - 1] & 511) * 8
    ram.write_u64(leaf, size | LARGE | PRESENT | WRITABLE | GLOBAL)
    walk = space.translate(va + 0x12345)
    assert (walk.pa, walk.page_size, walk.entry_pa) == (size + 0x12345, size, leaf)
    assert space.physical(va + 0x12345) == size + 0x12345
    space.write(va + size // 2 - 3, b"across pages")
    assert ram.read(size + size // 2 - 3, 12) == b"across pages"
    with pytest.raises(MemoryFault, match="maps a large page"):
        space.protect(va, PAGE_SIZE, writable=False, executable=False)


@pytest.mark.parametrize(
    ("va", "reason"),
    [
        pytest.param(0x0000_8000_0000_0000, "not a canonical address", id="hole"),
        pytest.param(0x1000, r"PML4E not present \(0x0 at 0x1000\)", id="pml4e"),
        pytest.param(KERNEL + (1 << 30), "PDPTE not present", id="pdpte"),
        pytest.param(KERNEL + (2 << 20), "PDE not present", id="pde"),
        pytest.param(KERNEL + 0x1000, "PTE not present", id="pte"),
    ],
)
def test_fault_names_the_level(va, reason):
    space = space_of_three_page_sizes()
    with pytest.raises(MemoryFault, match=reason) as caught:
        space.read(va, 4)
    assert caught.value.address == va


def test_entries_that_lead_outside_ram():
    space = space_of_three_page_sizes()
    space.map(KERNEL + 0x3000, 1 << 40)
    with pytest.raises(MemoryFault, match="outside RAM"):
        space.read(KERNEL + 0x3000, 8)
    with pytest.raises(MemoryFault, match="outside RAM"):
        space.write(KERNEL + 0x3000, b"x")
    space.ram.write_u64(space.cr3, (1 << 40) | PRESENT)
    with pytest.raises(MemoryFault, match="table of its PDPTE is outside RAM"):
        space.translate(0)


def test_reads_are_exact_and_writes_all_or_nothing():
    space = space_of_three_page_sizes()
    space.write(KERNEL + 0xFF8, b"12345678")
    with pytest.raises(MemoryFault) as caught:
        space.read(KERNEL + 0xFF8, 9)
    assert caught.value.address == KERNEL + 0x1000
    with pytest.raises(MemoryFault):
        space.write(KERNEL + 0xFF8, b"abcdefghi")
    assert space.read(KERNEL + 0xFF8, 8) == b"12345678"
    assert space.read_prefix(KERNEL + 0xFF0, 32) == bytes(8) + b"12345678"
    assert space.read_prefix(KERNEL + 0x1000, 8) == b""
    assert space.write_prefix(KERNEL + 0xFFC, b"ABCDEFGH") == 4
    assert space.read(KERNEL + 0xFF8, 8) == b"1234ABCD"


@given(
    offset=st.integers(0, 3 * PAGE_SIZE),
    data=st.binary(max_size=PAGE_SIZE * 2),
    frames=st.permutations(range(5)),
)
def test_scattered_frames_read_back(offset, data, frames):
    ram = PhysicalMemory("1M")
    pages = iter(range(0x1000, 0x8_0000, PAGE_SIZE))
    space = AddressSpace(ram, next(pages), lambda: next(pages))
    for index, frame in enumerate(frames):
        space.map(KERNEL + index * PAGE_SIZE, 0x8_0000 + frame * PAGE_SIZE)
    space.write(KERNEL + offset, data)
    assert space.read(KERNEL + offset, len(data)) == data
    for index, byte in enumerate(data):
        assert ram.view[space.physical(KERNEL + offset + index)] == byte


def test_map_unmap_protect():
    space = space_of_three_page_sizes()
    space.map(USER_CODE, 0x30_0000, 0x3000, USER | WRITABLE)
    walk = space.translate(USER_CODE + 0x2FFF)
    assert (walk.pa, walk.user, walk.writable) == (0x30_2FFF, True, True)
    space.protect(USER_CODE, 0x2000, writable=False, executable=False)
    walk = space.translate(USER_CODE)
    assert (walk.user, walk.writable, walk.executable) == (True, False, False)
    assert space.translate(USER_CODE + 0x2000).writable
    space.unmap(USER_CODE + 0x1000)
    with pytest.raises(MemoryFault):
        space.physical(USER_CODE + 0x1000)
    with pytest.raises(SimBug, match="no source of pages"):
        AddressSpace(space.ram, space.cr3).map(1 << 40, 0)


def test_the_processor_marks_pages_as_used(guest: Guest):
    """Accessed and dirty bits are the hardware's."""
    cpu = guest.start(b"\x48\xa3" + DATA.to_bytes(8, "little") + b"\xf4")  # mov [DATA],rax
    assert not guest.space.translate(DATA).entry & (ACCESSED | DIRTY)
    cpu.run(count=2)
    assert guest.space.translate(DATA).entry & (ACCESSED | DIRTY) == ACCESSED | DIRTY
    assert guest.space.translate(KERNEL).entry & (ACCESSED | DIRTY) == ACCESSED
