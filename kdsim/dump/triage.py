"""Small dumps ("triage dumps"): no pages, but the pieces of memory that tell why a machine stopped.

TRIAGE_DUMP64 follows the header, laid out as in rizin's `dmp_specs.h` and the WDK's `ntiodump.h`.
All its offsets are places in the file.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kdsim.dump.debugger_data import DebuggerData
from kdsim.dump.header import HEADER_SIZE, DumpHeader, DumpType
from kdsim.errors import FormatError, MemoryFault

SIGNATURE = b"TRGD"
MINI_DUMP_FIELDS = 0xCFF
"""What a small dump always has (0xFF), the debugger data (0x400) and data blocks (0x800)."""
ALL_OPTIONS = 0xFFFFFFFF

_TABLE = struct.Struct("<18IQ16xQ6I")
_CONTEXT, _EXCEPTION = 0x348, 0xF00
"""Both lie in the header."""
_BLOCK = struct.Struct("<QII")
_DRIVER_SIZE = 0x90
"""As written here; in what is read it follows from where the list ends."""
_NAME, _BASE, _SIZE, _CHECKSUM, _TIMESTAMP = 0x00, 0x38, 0x48, 0x80, 0x88
"""In a driver's entry."""
_MOST_DRIVERS, _LONGEST_NAME = 4096, 1024
_MSR_GS_BASE = 0xA8
"""In KSPECIAL_REGISTERS; in the kernel it leads to the KPCR."""


class Table(NamedTuple):
    """TRIAGE_DUMP64: places in the file and sizes."""

    service_pack: int = 0
    dump_size: int = 0
    valid: int = 0
    context: int = _CONTEXT
    exception: int = _EXCEPTION
    memory_manager: int = 0
    unloaded: int = 0
    processor: int = 0
    process: int = 0
    thread: int = 0
    stack: int = 0
    stack_size: int = 0
    drivers: int = 0
    driver_count: int = 0
    strings: int = 0
    strings_size: int = 0
    broken_driver: int = 0
    options: int = ALL_OPTIONS
    stack_address: int = 0
    page_address: int = 0
    page: int = 0
    page_size: int = 0
    debugger_data: int = 0
    debugger_data_size: int = 0
    blocks: int = 0
    block_count: int = 0


class Block(NamedTuple):
    """A piece of the target's memory."""

    address: int
    data: bytes | memoryview

    @property
    def end(self) -> int:
        return self.address + len(self.data)


class DumpedDriver(NamedTuple):
    """One image; the kernel is the first."""

    name: str
    base: int
    size: int
    timestamp: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Triage:
    """What a small dump is made of.

    Attributes:
        processor, process, thread: the KPRCB, EPROCESS and ETHREAD of what ran.
        stack: from the stack pointer up.
        debugger_data: KDDEBUGGER_DATA64.
        blocks: any other memory.
    """

    processor: Block
    process: Block
    thread: Block
    stack: Block
    debugger_data: Block
    drivers: Sequence[DumpedDriver]
    blocks: Sequence[Block]


class _Body:
    """What follows TRIAGE_DUMP64, piece by piece."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def end(self) -> int:
        return HEADER_SIZE + _TABLE.size + len(self.data)

    def add(self, data: bytes | memoryview) -> int:
        """The place of the piece in the file."""
        place = self.end
        self.data += _aligned(data)
        return place


def _aligned(data: bytes | memoryview) -> bytes:
    return bytes(data) + bytes(-len(data) % 8)


def write_small(stream: BinaryIO, header: DumpHeader, triage: Triage) -> None:
    """Write a small dump."""
    body = _Body()
    named = (triage.processor, triage.process, triage.thread, triage.stack, triage.debugger_data)
    # Some readers know memory from the data blocks alone.
    blocks = [*named, *triage.blocks]
    places = [body.add(block.data) for block in blocks]
    rows = [
        _BLOCK.pack(block.address, place, len(block.data))
        for block, place in zip(blocks, places, strict=True)
    ]
    entries, strings = _driver_list(triage.drivers, body.end)
    table = Table(
        drivers=body.add(entries),
        driver_count=len(triage.drivers),
        strings=body.add(strings),
        strings_size=len(strings),
        processor=places[0],
        process=places[1],
        thread=places[2],
        stack=places[3],
        stack_size=len(triage.stack.data),
        stack_address=triage.stack.address,
        debugger_data=places[4],
        debugger_data_size=len(triage.debugger_data.data),
        blocks=body.add(b"".join(rows)),
        block_count=len(rows),
        valid=body.add(SIGNATURE),
        dump_size=body.end,
    )
    small = dataclasses.replace(
        header,
        dump_type=DumpType.SMALL,
        size=table.dump_size,
        mini_dump_fields=MINI_DUMP_FIELDS,
        runs=(),
    )
    stream.write(small.pack() + _TABLE.pack(*table) + body.data)


def _driver_list(drivers: Sequence[DumpedDriver], place: int) -> tuple[bytes, bytes]:
    """The entries, which lie at `place`, and behind them their names (DUMP_STRING)."""
    entries, strings = bytearray(), bytearray()
    place += len(drivers) * _DRIVER_SIZE
    for driver in drivers:
        entry = bytearray(_DRIVER_SIZE)
        struct.pack_into("<I", entry, _NAME, place + len(strings))
        struct.pack_into("<Q", entry, _BASE, driver.base)
        struct.pack_into("<I", entry, _SIZE, driver.size)
        struct.pack_into("<I", entry, _CHECKSUM, driver.checksum)
        struct.pack_into("<I", entry, _TIMESTAMP, driver.timestamp)
        entries += entry
        text = driver.name.encode("utf-16-le")
        strings += _aligned(struct.pack("<I", len(text) // 2) + text + b"\0\0")
    return bytes(entries), bytes(strings)


class SmallDump:
    """A small dump, opened: what `CrashDump` is for dumps of pages, by virtual address."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.read_bytes()
        self.header = DumpHeader.unpack(raw[:HEADER_SIZE])
        self._raw = memoryview(raw)  # however often a damaged table names the same bytes
        table = Table._make(_TABLE.unpack(self._piece(HEADER_SIZE, _TABLE.size, "header")))
        if self._piece(table.valid, len(SIGNATURE), "signature") != SIGNATURE:
            raise FormatError(f"{path} has no signature where a small dump's should be")
        self.drivers = tuple(self._drivers(table))
        self._blocks = [*self._data_blocks(table)]
        with suppress(MemoryFault):
            self._blocks += self._objects(table)

    def close(self) -> None:
        """The file is closed already."""

    def read_virtual(self, va: int, size: int) -> bytes:
        """The bytes up to the first that was not saved."""
        data = b""
        while len(data) < size:
            place = va + len(data)
            block = next((b for b in self._blocks if b.address <= place < b.end), None)
            if block is None:
                break
            offset = place - block.address
            data += bytes(block.data[offset : offset + size - len(data)])
        return data

    def _need(self, va: int, size: int) -> bytes:
        data = self.read_virtual(va, size)
        if len(data) < size:
            raise MemoryFault(va, size, "not in the dump")
        return data

    def _piece(self, place: int, size: int, what: str) -> memoryview:
        if place + size > len(self._raw):
            raise FormatError(f"{self.path} is truncated: the {what} would reach {place + size:#x}")
        return self._raw[place : place + size]

    def _drivers(self, table: Table) -> Iterator[DumpedDriver]:
        count, step = table.driver_count, _DRIVER_SIZE
        if count > _MOST_DRIVERS:
            raise FormatError(f"{self.path} lists {count} drivers; {_MOST_DRIVERS} are possible")
        if count and table.strings > table.drivers:
            # The loader's entry has grown in some builds.
            step = max(step, (table.strings - table.drivers) // count)
        for index in range(count):
            entry = self._piece(table.drivers + index * step, _DRIVER_SIZE, "driver list")
            (name,) = struct.unpack_from("<I", entry, _NAME)
            yield DumpedDriver(
                self._text(name),
                *struct.unpack_from("<Q", entry, _BASE),
                *struct.unpack_from("<I", entry, _SIZE),
                *struct.unpack_from("<I", entry, _TIMESTAMP),
                *struct.unpack_from("<I", entry, _CHECKSUM),
            )

    def _text(self, place: int) -> str:
        """A DUMP_STRING."""
        (length,) = struct.unpack("<I", self._piece(place, 4, "driver's name"))
        if length > _LONGEST_NAME:
            raise FormatError(f"{self.path}: a driver's name has {length} characters")
        return str(self._piece(place + 4, 2 * length, "driver's name"), "utf-16-le", "replace")

    def _data_blocks(self, table: Table) -> Iterator[Block]:
        """What stands in the file with its address; without its place in it, there is none."""
        head = self.header.data_block
        pieces = [
            (head, table.debugger_data, table.debugger_data_size),
            (table.stack_address, table.stack, table.stack_size),
            (table.page_address, table.page, table.page_size),
        ]
        rows = self._piece(table.blocks, table.block_count * _BLOCK.size, "data blocks")
        for address, place, size in [*pieces, *_BLOCK.iter_unpack(rows)]:
            if place:
                yield Block(address, self._piece(place, size, "memory"))

    def _objects(self, table: Table) -> Iterator[Block]:
        """KPRCB, ETHREAD and EPROCESS, each of which leads to the next, and what leads to them."""
        data = DebuggerData(self.header.data_block, self._need)
        yield Block(data.list_head, _pointer(data.address))
        raw = self._piece(table.processor, data["SizePrcb"], "KPRCB")
        gs = _number(raw, data["OffsetPrcbProcStateSpecialReg"] + _MSR_GS_BASE)
        prcb = Block(gs + data["OffsetPcrContainedPrcb"], raw)
        number = _number(raw, data["OffsetPrcbNumber"], 4)
        yield prcb
        yield Block(data["KiProcessorBlock"] + 8 * number, _pointer(prcb.address))
        raw = self._piece(table.thread, data["SizeEThread"], "ETHREAD")
        yield Block(_number(prcb.data, data["OffsetPrcbCurrentThread"]), raw)
        process = _number(raw, data["OffsetKThreadApcProcess"])
        yield Block(process, self._piece(table.process, data["SizeEProcess"], "EPROCESS"))


def _number(raw: bytes | memoryview, place: int, size: int = 8) -> int:
    return int.from_bytes(raw[place : place + size], "little")


def _pointer(address: int) -> bytes:
    return address.to_bytes(8, "little")
