"""Small dumps: what is where, what leads to what, and damage."""

from __future__ import annotations

import dataclasses
import io
import struct
import tracemalloc
from pathlib import Path

import pytest

from kdsim.dump.header import HEADER_SIZE, DumpHeader, DumpType
from kdsim.dump.triage import Block, DumpedDriver, SmallDump, Triage, write_small
from kdsim.errors import FormatError
from tests.dump.test_dump_files import HEADER

GS, PRCB, THREAD, PROCESS, LIST_HEAD = (
    0xFFFF_9000_0000_0000,
    0xFFFF_9000_0000_0180,
    0xFFFF_A000_0000_0000,
    0xFFFF_A000_0001_0000,
    0xFFFF_F800_1000_2000,
)
STACK = 0xFFFF_8300_0000_1F00
PROCESSOR_BLOCK = 0xFFFF_F800_1000_1000
KERNEL = r"\SystemRoot\system32\ntoskrnl.exe"
DRIVERS = (
    DumpedDriver(
        "\\SystemRoot\\system32\\ntoskrnl.exe",
        0xFFFF_F800_1000_0000,
        0x104_6000,
        0xE536_9842,
        0xA1_0000,
    ),
    DumpedDriver("hal.dll", 0xFFFF_F800_2000_0000, 0x6000, 0x1111_2222, 0),
    DumpedDriver("한글.sys", 0xFFFF_F800_3000_0000, 0x7000, 1, 2),
)


def qword(value: int) -> bytes:
    return value.to_bytes(8, "little")


def part(size: int, places: dict[int, bytes]) -> bytes:
    raw = bytearray(b"\xee" * size)
    for place, data in places.items():
        raw[place : place + len(data)] = data
    return bytes(raw)


def debugger_data() -> bytes:
    """KDDEBUGGER_DATA64 with the offsets of build 19041, and objects shorter than its own."""
    words = {0x2A0: 0xB8, 0x2A8: 0x40, 0x2B0: 0x1000, 0x2B4: 8, 0x2BE: 0x24, 0x2C0: 0x100}
    words |= {0x2E6: 0x180, 0x2F2: 0x100}
    places = {place: value.to_bytes(2, "little") for place, value in words.items()}
    return part(0x380, {0: qword(LIST_HEAD), 0x218: qword(PROCESSOR_BLOCK), **places})


TRIAGE = Triage(
    processor=Block(
        PRCB, part(0x1000, {8: qword(THREAD), 0x24: b"\1\0\0\0", 0x100 + 0xA8: qword(GS)})
    ),
    process=Block(PROCESS, part(0x40, {})),
    thread=Block(THREAD, part(0x100, {0xB8: qword(PROCESS)})),
    stack=Block(STACK, b"stack" * 20),
    debugger_data=Block(HEADER.data_block, debugger_data()),
    drivers=DRIVERS,
    blocks=(Block(0x1000, b"one"), Block(0x1003, b"two")),
)


def small_dump(*, objects: bool = True) -> bytes:
    """With `objects`, the data blocks say where KPRCB, ETHREAD and EPROCESS were."""
    stream = io.BytesIO()
    write_small(stream, HEADER, TRIAGE)
    raw = bytearray(stream.getvalue())
    if not objects:
        # Windows before 8 wrote no such blocks.
        (table,) = struct.unpack_from("<I", raw, 0x2078)
        for row in range(3):
            struct.pack_into("<Q", raw, table + 16 * row, 1 << 62)
    return bytes(raw)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.dmp"
    path.write_bytes(small_dump())
    return path


def test_fields_lie_where_other_readers_look() -> None:
    """Offsets of TRIAGE_DUMP64 in rizin's dmp_specs.h."""
    raw = small_dump()
    header = DumpHeader.unpack(raw)
    assert header == dataclasses.replace(
        HEADER, dump_type=DumpType.SMALL, runs=(), size=len(raw), mini_dump_fields=0xCFF
    )
    fields = struct.unpack_from("<18IQ16xQ6I", raw, HEADER_SIZE)
    assert fields[1] == len(raw)
    assert raw[fields[2] :].startswith(b"TRGD")
    assert (fields[3], fields[4]) == (0x348, 0xF00)
    assert raw[fields[7] :].startswith(TRIAGE.processor.data)
    assert raw[fields[8] :].startswith(TRIAGE.process.data)
    assert raw[fields[9] :].startswith(TRIAGE.thread.data)
    assert raw[fields[10] : fields[10] + fields[11]] == TRIAGE.stack.data
    assert fields[18] == STACK
    drivers, count, strings, size = fields[12:16]
    assert strings == drivers + count * 0x90
    (name,) = struct.unpack_from("<I", raw, drivers + 0x90)
    assert strings < name < strings + size
    assert struct.unpack_from("<I", raw, name) == (len("hal.dll"),)
    assert raw[name + 4 :].startswith("hal.dll\0".encode("utf-16-le"))
    data, size, blocks, count = fields[-4:]
    assert raw[data : data + size] == TRIAGE.debugger_data.data
    assert struct.unpack_from("<QII", raw, blocks)[::2] == (PRCB, 0x1000)
    assert count == 7


def test_drivers(path: Path) -> None:
    assert SmallDump(path).drivers == DRIVERS


def test_drivers_of_other_builds_are_longer(path: Path) -> None:
    """Only the distance between the list and the names tells how long an entry is."""
    raw = bytearray(path.read_bytes())
    drivers, count, strings = struct.unpack_from("<3I", raw, 0x2030)
    entries = [raw[drivers + index * 0x90 :][:0x90] for index in range(count)]
    end = len(raw)
    raw += b"".join(entry + bytes(0x18) for entry in entries)
    struct.pack_into("<I", raw, 0x2030, end)
    struct.pack_into("<I", raw, 0x2038, len(raw))
    path.write_bytes(raw)
    assert strings
    assert SmallDump(path).drivers == DRIVERS


@pytest.mark.parametrize("objects", [True, False], ids=["data blocks", "none for the objects"])
def test_memory(path: Path, objects: bool) -> None:
    path.write_bytes(small_dump(objects=objects))
    dump = SmallDump(path)
    assert dump.read_virtual(0x1001, 100) == b"netwo"
    assert dump.read_virtual(STACK + 5, 5) == b"stack"
    assert dump.read_virtual(PRCB + 8, 8) == qword(THREAD)
    assert dump.read_virtual(THREAD + 0xB8, 8) == qword(PROCESS)
    assert dump.read_virtual(PROCESS, 1) == b"\xee"
    assert dump.read_virtual(PROCESSOR_BLOCK + 8, 8) == qword(PRCB)
    assert dump.read_virtual(LIST_HEAD, 8) == qword(HEADER.data_block)
    assert dump.read_virtual(0xFFF, 1) == dump.read_virtual(0x1006, 1) == b""


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(0x2008, 0, "no signature", id="signature"),
        pytest.param(0x2008, 2**31, "truncated: the signature", id="place of the signature"),
        pytest.param(0x201C, 2**31, "truncated: the KPRCB", id="processor"),
        pytest.param(0x202C, 2**31, "truncated: the memory", id="size of the stack"),
        pytest.param(0x2030, 2**31, "truncated: the driver list", id="driver list"),
        pytest.param(0x2034, 2**31, "lists 2147483648 drivers", id="number of drivers"),
        pytest.param(0x2078, 2**31, "truncated: the data blocks", id="data blocks"),
        pytest.param(0x207C, 2**31, "truncated: the data blocks", id="number of data blocks"),
    ],
)
def test_damage(path: Path, place: int, value: int, message: str) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, place, value)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=message):
        SmallDump(path)


def test_a_name_without_end_is_damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    (drivers,) = struct.unpack_from("<I", raw, 0x2030)
    (name,) = struct.unpack_from("<I", raw, drivers)
    struct.pack_into("<I", raw, name, 2000)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="2000 characters"):
        SmallDump(path)


def test_blocks_that_lie_one_on_the_other_cost_no_memory(path: Path) -> None:
    """10,000 times the whole file."""
    raw = bytearray(path.read_bytes())
    place, size = len(raw), len(raw) + 10_000 * 16
    raw += struct.pack("<QII", 0x5000, 1, size - 1) * 10_000
    struct.pack_into("<II", raw, 0x2078, place, 10_000)
    path.write_bytes(raw)
    tracemalloc.start()
    dump = SmallDump(path)
    assert tracemalloc.get_traced_memory()[1] < 100 * size
    tracemalloc.stop()
    assert dump.read_virtual(0x5000, 3) == b"AGE"


def test_without_debugger_data_the_rest_can_be_read(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into("<II", raw, 0x2070, 0, 0)
    (table,) = struct.unpack_from("<I", raw, 0x2078)
    struct.pack_into("<Q", raw, table + 4 * 16, 0)
    path.write_bytes(raw)
    dump = SmallDump(path)
    assert dump.drivers == DRIVERS
    assert dump.read_virtual(STACK, 5) == b"stack"
    assert dump.read_virtual(LIST_HEAD, 8) == b""
