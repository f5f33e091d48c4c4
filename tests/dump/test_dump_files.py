"""Dump files: the header's fields, pages by run and by bitmap, and damage."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.dump.header import HEADER_SIZE, PAGE_SIZE, DumpException, DumpHeader, DumpType, Run
from kdsim.dump.pages import CrashDump, write_bitmap, write_full
from kdsim.errors import FormatError, MemoryFault

RUNS = (Run(1, 3), Run(6, 2))

HEADER = DumpHeader(
    major=15,
    minor=19041,
    directory_table_base=0x1000,
    pfn_database=0xFFFF_FA80_0000_0000,
    module_list=0xFFFF_F800_1000_0000,
    process_head=0xFFFF_F800_1000_0100,
    processors=2,
    data_block=0xFFFF_F800_1000_0200,
    runs=RUNS,
    context=bytes(range(256)) * 4 + bytes(1232 - 1024),
    exception=DumpException(0xC000_0005, 0, 0xFFFF_F800_1234_5678, (1, 0x10)),
    bugcheck=(0xC4, 0x62, 1, 2, 3),
    system_time=133_000_000_000_000_000,
    uptime=600_000_000,
    product=1,
    suite=0x110,
    comment="a leak",
)


def memory(pa: int, size: int) -> bytes:
    """Every page is filled with its number."""
    pages = range(pa // PAGE_SIZE, (pa + size) // PAGE_SIZE)
    return b"".join(bytes([page & 0xFF]) * PAGE_SIZE for page in pages)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "full.dmp"
    with path.open("wb") as stream:
        assert list(write_full(stream, HEADER, memory)) == [3, 5]
    return path


@pytest.fixture
def bitmap(tmp_path: Path) -> Path:
    path = tmp_path / "bitmap.dmp"
    with path.open("wb") as stream:
        assert list(write_bitmap(stream, HEADER, [7, 1, 2], memory)) == [2, 3]
    return path


def test_fields_lie_where_other_readers_look() -> None:
    """Offsets of DUMP_HEADER64 in QEMU's win_dump_defs.h."""
    raw = HEADER.pack()
    places = {
        0x00: b"PAGEDU64",
        0x10: (0x1000).to_bytes(8, "little"),
        0x30: (0x8664).to_bytes(4, "little"),
        0x38: (0xC4).to_bytes(4, "little"),
        0x40: (0x62).to_bytes(8, "little"),
        0x80: HEADER.data_block.to_bytes(8, "little"),
        0x88: (2).to_bytes(4, "little"),
        0x90: (5).to_bytes(8, "little"),
        0x348: HEADER.context,
        0xF00: (0xC000_0005).to_bytes(4, "little"),
        0xF98: (1).to_bytes(4, "little"),
        0xFB0: b"a leak\0",
        0x1030: HEADER.uptime.to_bytes(8, "little"),
        0x1044: (0x110).to_bytes(4, "little"),
    }
    assert {place: raw[place : place + len(want)] for place, want in places.items()} == places
    assert len(raw) == HEADER_SIZE


@given(
    runs=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**30)), max_size=42),
    parameters=st.lists(st.integers(0, 2**64 - 1), max_size=15),
    numbers=st.tuples(*[st.integers(0, 2**64 - 1)] * 4),
    comment=st.text("abc 한", max_size=40),
)
def test_header_survives(
    runs: list[tuple[int, int]],
    parameters: list[int],
    numbers: tuple[int, int, int, int],
    comment: str,
) -> None:
    header = dataclasses.replace(
        HEADER,
        runs=tuple(Run(*run) for run in runs),
        exception=DumpException(0x8000_0003, 1, numbers[0], tuple(parameters)),
        bugcheck=(0x50, *numbers),
        comment=comment,
    )
    assert DumpHeader.unpack(header.pack()) == header


def test_a_comment_that_nobody_wrote_is_none() -> None:
    raw = bytearray(HEADER.pack())
    raw[0xFB0 : 0xFB0 + 128] = b"PAGE" * 32
    assert DumpHeader.unpack(raw).comment == ""


def test_full_dump(full: Path) -> None:
    dump = CrashDump(full)
    assert dump.header.size == full.stat().st_size == HEADER_SIZE + 5 * PAGE_SIZE
    assert dump.pages == 5
    assert dump.read_physical(0x2FFE, 4) == b"\2\2\3\3"
    with pytest.raises(MemoryFault):
        dump.read_physical(0x3FFE, 4)
    dump.close()


def test_bitmap_dump(bitmap: Path) -> None:
    dump = CrashDump(bitmap)
    assert dump.header.size == bitmap.stat().st_size
    assert (dump.header.dump_type, dump.pages) == (DumpType.BITMAP, 3)
    assert dump.read_physical(0x7FFF, 1) == b"\7"
    with pytest.raises(MemoryFault, match="not in the dump"):
        dump.read_physical(0x3000, 1)
    dump.close()


@given(st.sets(st.integers(0, 99)))
def test_every_page_of_a_bitmap_is_found(present: set[int]) -> None:
    header = dataclasses.replace(HEADER, runs=(Run(0, 100),))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bitmap.dmp"
        with path.open("wb") as stream:
            for _ in write_bitmap(stream, header, present, memory, kernel_only=True):
                pass
        dump = CrashDump(path)
        assert (dump.header.dump_type, dump.pages) == (DumpType.KERNEL_BITMAP, len(present))
        for page in range(101):
            wanted = bytes([page]) if page in present else b""
            assert dump.read_prefix(page * PAGE_SIZE + 0xFFF, 1) == wanted
        dump.close()


def run_list_dump(kind: DumpType, runs: list[tuple[int, int]], size: int = 0x100) -> bytes:
    """A dump whose pages a list of runs names, as kdmp-parser's RDMP_HEADER64 describes it."""
    total = sum(count for _, count in runs)
    first = HEADER_SIZE + 0x20 + size
    raw = dataclasses.replace(HEADER, dump_type=kind).pack()
    raw += struct.pack("<I8sIQQQQ", 0x40, b"RDMPDUMP", 0, size, first, len(runs), total)
    for run in runs:
        raw += struct.pack("<QQ", *run)
    raw = raw.ljust(first, b"\0")
    return raw + b"".join(memory(page * PAGE_SIZE, count * PAGE_SIZE) for page, count in runs)


@pytest.fixture
def run_list(tmp_path: Path) -> Path:
    path = tmp_path / "runs.dmp"
    path.write_bytes(run_list_dump(DumpType.COMPLETE_RUNS, [(9, 1), (2, 3)]))
    return path


@pytest.mark.parametrize(
    "kind", [DumpType.KERNEL_RUNS, DumpType.ACTIVE_RUNS, DumpType.COMPLETE_RUNS]
)
def test_a_list_of_runs(tmp_path: Path, kind: DumpType) -> None:
    path = tmp_path / "runs.dmp"
    path.write_bytes(run_list_dump(kind, [(9, 1), (2, 3)]))
    dump = CrashDump(path)
    assert (dump.header.dump_type, dump.pages) == (kind, 4)
    assert dump.read_physical(0x3FFE, 4) == b"\3\3\4\4"
    assert dump.read_physical(0x9000, 1) == b"\t"
    with pytest.raises(MemoryFault, match="not in the dump"):
        dump.read_physical(0x4FFF, 2)
    dump.close()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(0x2000, 0, "no list of page runs", id="marker"),
        pytest.param(0x2004, 0, "no list of page runs", id="signature"),
        pytest.param(0x2010, 2**40, "does not end", id="size"),
        pytest.param(0x2018, 0, "does not end", id="first page"),
        pytest.param(0x2028, 5, "do not add up to 5", id="total"),
        pytest.param(0x2038, 2**50, "do not add up to 4", id="a huge run"),
        pytest.param(0x2030, 2**60, None, id="a run far away"),
    ],
)
def test_damaged_run_list(run_list: Path, place: int, value: int, message: str | None) -> None:
    raw = bytearray(run_list.read_bytes())
    raw[place : place + 8] = value.to_bytes(8, "little")
    run_list.write_bytes(raw)
    if message is None:
        CrashDump(run_list).close()
    else:
        with pytest.raises(FormatError, match=message):
            CrashDump(run_list)


def test_a_page_that_cannot_be_read_is_zeros(tmp_path: Path) -> None:
    path = tmp_path / "holes.dmp"

    def holes(pa: int, size: int) -> bytes:
        return memory(pa, size)[: max(0, 0x2000 - pa)] if pa < 0x3000 else memory(pa, size)

    with path.open("wb") as stream:
        list(write_full(stream, HEADER, holes))
    dump = CrashDump(path)
    assert [dump.read_physical(page * PAGE_SIZE, 1) for page in (1, 2, 3)] == [b"\1", b"\0", b"\3"]
    dump.close()


def test_a_page_outside_of_memory_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream, pytest.raises(FormatError, match="0x9"):
        list(write_bitmap(stream, HEADER, [9], memory))


Damage = Callable[[bytearray], object]

DAMAGES = [
    pytest.param(lambda raw: raw.__delitem__(slice(100, None)), "has 8192 bytes", id="no header"),
    pytest.param(lambda raw: raw.__delitem__(slice(-1, None)), "truncated", id="last byte"),
    pytest.param(lambda raw: raw.__setitem__(0, 0), "PAGEDU64", id="signature"),
    pytest.param(lambda raw: raw.__setitem__(slice(4), b"MDMP"), "of a process", id="process"),
    pytest.param(lambda raw: raw.__setitem__(slice(5, 8), b"UMP"), "32-bit", id="32 bits"),
    pytest.param(lambda raw: raw.__setitem__(0x30, 0), "machine type 0x8600", id="machine"),
    pytest.param(lambda raw: raw.__setitem__(0x34, 0), "of 0 processors", id="no processors"),
    pytest.param(lambda raw: raw.__setitem__(0x37, 1), "of 16777218 proc", id="processors"),
    pytest.param(lambda raw: raw.__setitem__(0xF98, 3), "type 0x3 is only a", id="header only"),
    pytest.param(lambda raw: raw.__setitem__(0xF98, 99), "type 0x63 is not", id="no kind"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
@pytest.mark.parametrize("kind", ["full", "bitmap"])
def test_damage(kind: str, damage: Damage, message: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    raw = bytearray(path.read_bytes())
    damage(raw)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=message):
        CrashDump(path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(0x88, 43, "43 memory runs", id="too many runs"),
        pytest.param(0x90, 6, "add up", id="sum of the runs"),
        pytest.param(0x98, 2**60, None, id="a run far away"),
        pytest.param(0xA0, 2**60, "add up", id="a huge run"),
    ],
)
def test_damaged_runs(full: Path, place: int, value: int, message: str | None) -> None:
    raw = bytearray(full.read_bytes())
    raw[place : place + 8] = value.to_bytes(8, "little")
    full.write_bytes(raw)
    if message is None:
        CrashDump(full).close()
    else:
        with pytest.raises(FormatError, match=message):
            CrashDump(full)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(0x2000, 0, "no page bitmap", id="signature"),
        pytest.param(0x2028, 4, "has 3 pages", id="count"),
        pytest.param(0x2030, 2**62, "truncated", id="size"),
        pytest.param(0x2020, 2**62, "truncated", id="start"),
    ],
)
def test_damaged_bitmap(bitmap: Path, place: int, value: int, message: str) -> None:
    raw = bytearray(bitmap.read_bytes())
    raw[place : place + 8] = value.to_bytes(8, "little")
    bitmap.write_bytes(raw)
    with pytest.raises(FormatError, match=message):
        CrashDump(bitmap)
