"""The two pages a 64-bit kernel dump begins with (DUMP_HEADER64).

Offsets as QEMU's `win_dump_defs.h` and kdmp-parser's `kdmp-parser-structs.h` give them. What a
writer does not know holds the text `PAGE` over and over, as in dumps that Windows writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from kdsim.errors import FormatError

HEADER_SIZE = 0x2000
PAGE_SIZE = 0x1000
SIGNATURE = b"PAGEDU64"
FILLER = b"PAGE"
MOST_RUNS = 42
"""Runs that fit in the 700 bytes of the memory descriptor."""

FOREIGN = {
    b"MDMP": "a minidump of a process",
    b"PAGEDUMP": "of a 32-bit kernel",
    b"MSCF": "a CAB file that may hold one",
}
"""How other files begin that people take for kernel dumps."""
MOST_PROCESSORS = 2048
MACHINE_AMD64 = 0x8664
EXCEPTION_PARAMETERS = 15
NO_BUGCHECK = (0, 0, 0, 0, 0)
"""Code and parameters of a machine that did not crash."""

_START = struct.Struct("<8sIIQQQQIIIxxxx4Q")  # up to the bug check parameters
_DATA_BLOCK = 0x80
_MEMORY = 0x88
_CONTEXT = 0x348
_CONTEXT_SIZE = 3000
_EXCEPTION = 0xF00
_EXCEPTION_RECORD = struct.Struct(f"<IIQQIxxxx{EXCEPTION_PARAMETERS}Q")
_TYPE = struct.Struct("<IxxxxQQ128sQIIIIIBB")  # from DumpType to KdSecondaryVersion
_TYPE_OFFSET = 0xF98
_COMMENT_SIZE = 128


class DumpType(IntEnum):
    """How the pages lie behind the header."""

    FULL = 1
    """Run by run, as the header's memory descriptor lists them."""
    SMALL = 4
    """None: chosen pieces of virtual memory, see triage.py."""
    BITMAP = 5
    """Those whose bit is set in the bitmap that follows the header."""
    KERNEL_BITMAP = 6
    """The same."""
    KERNEL_RUNS = 8
    """Run by run, as a list behind the header says; WinDbg's `.dump /k` since Windows 11."""
    ACTIVE_RUNS = 9
    """The same; `.dump /ka`."""
    COMPLETE_RUNS = 10
    """The same; `.dump /f`."""


UNREADABLE = {
    2: "a kernel summary dump of an old Windows",
    3: "only a header, without memory",
    7: "an automatic dump that was not converted",
}
"""DUMP_TYPE values that are not read, and what such a file is."""


class Run(NamedTuple):
    """Physical pages without a gap."""

    base_page: int
    pages: int


@dataclass(frozen=True, slots=True)
class DumpException:
    """EXCEPTION_RECORD64."""

    code: int = 0
    flags: int = 0
    address: int = 0
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DumpHeader:
    """What the header says. Times are 100 ns units; addresses are of the target.

    Attributes:
        directory_table_base: CR3 of the processor that stands at `context`.
        context: CONTEXT of AMD64, 1232 bytes.
        size: of the whole file, in bytes.
    """

    major: int
    minor: int
    directory_table_base: int
    pfn_database: int
    module_list: int
    process_head: int
    processors: int
    data_block: int
    runs: tuple[Run, ...]
    context: bytes
    dump_type: DumpType = DumpType.FULL
    exception: DumpException = field(default_factory=DumpException)
    bugcheck: tuple[int, ...] = NO_BUGCHECK
    system_time: int = 0
    uptime: int = 0
    product: int = 0
    suite: int = 0
    mini_dump_fields: int = 0
    comment: str = ""
    size: int = 0

    @property
    def pages(self) -> int:
        return sum(run.pages for run in self.runs)

    def pack(self) -> bytes:
        """8 KB; FormatError when the machine has more runs of memory than the header can list."""
        if len(self.runs) > MOST_RUNS:
            raise FormatError(
                f"the dump header holds {MOST_RUNS} memory runs, not {len(self.runs)}"
            )
        raw = bytearray(FILLER * (HEADER_SIZE // len(FILLER)))
        _START.pack_into(
            raw,
            0,
            SIGNATURE,
            self.major,
            self.minor,
            self.directory_table_base,
            self.pfn_database,
            self.module_list,
            self.process_head,
            MACHINE_AMD64,
            self.processors,
            *self.bugcheck,
        )
        struct.pack_into("<Q", raw, _DATA_BLOCK, self.data_block)
        struct.pack_into("<IxxxxQ", raw, _MEMORY, len(self.runs), self.pages)
        for index, run in enumerate(self.runs):
            struct.pack_into("<QQ", raw, _MEMORY + 16 * (index + 1), *run)
        raw[_CONTEXT : _CONTEXT + _CONTEXT_SIZE] = self.context.ljust(_CONTEXT_SIZE, b"\0")
        exception = self.exception
        parameters = exception.parameters[:EXCEPTION_PARAMETERS]
        padding = (0,) * (EXCEPTION_PARAMETERS - len(parameters))
        _EXCEPTION_RECORD.pack_into(
            raw,
            _EXCEPTION,
            exception.code,
            exception.flags,
            0,
            exception.address,
            len(parameters),
            *parameters,
            *padding,
        )
        comment = self.comment.encode("utf-8")[: _COMMENT_SIZE - 1]
        _TYPE.pack_into(
            raw,
            _TYPE_OFFSET,
            self.dump_type,
            self.size,
            self.system_time,
            comment,
            self.uptime,
            self.mini_dump_fields,
            0,
            self.product,
            self.suite,
            0,
            0,
            0,
        )
        return bytes(raw)

    @classmethod
    def unpack(cls, raw: bytes) -> DumpHeader:
        """FormatError for anything but a dump of an x64 kernel."""
        if len(raw) < HEADER_SIZE:
            raise FormatError(f"a dump header has {HEADER_SIZE} bytes, this file {len(raw)}")
        start = _START.unpack_from(raw, 0)
        if start[0] != SIGNATURE:
            what = next((f", but {FOREIGN[s]}" for s in FOREIGN if raw.startswith(s)), "")
            raise FormatError(f"no dump of a 64-bit kernel{what}: it does not begin with PAGEDU64")
        if start[7] != MACHINE_AMD64:
            raise FormatError(f"a dump of machine type {start[7]:#x}; only x64 (0x8664) is known")
        if not 0 < start[8] <= MOST_PROCESSORS:
            raise FormatError(f"the dump header tells of {start[8]} processors")
        kind, size, when, comment, uptime, fields, _, product, suite, *_ = _TYPE.unpack_from(
            raw, _TYPE_OFFSET
        )
        if kind not in set(DumpType):
            what = UNREADABLE.get(kind, "not a type that is known")
            raise FormatError(f"dump type {kind:#x} is {what}")
        code, flags, _, address, count, *parameters = _EXCEPTION_RECORD.unpack_from(raw, _EXCEPTION)
        return cls(
            major=start[1],
            minor=start[2],
            directory_table_base=start[3],
            pfn_database=start[4],
            module_list=start[5],
            process_head=start[6],
            processors=start[8],
            data_block=struct.unpack_from("<Q", raw, _DATA_BLOCK)[0],
            runs=_runs(raw, needed=kind == DumpType.FULL),
            context=raw[_CONTEXT : _CONTEXT + 1232],
            dump_type=DumpType(kind),
            exception=DumpException(
                code, flags, address, tuple(parameters[: min(count, EXCEPTION_PARAMETERS)])
            ),
            bugcheck=start[9:14],
            system_time=when,
            uptime=uptime,
            product=product,
            suite=suite,
            mini_dump_fields=fields,
            comment=_text(comment),
            size=size,
        )


def _text(raw: bytes) -> str:
    if raw.startswith(FILLER * 2):
        return ""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _runs(raw: bytes, *, needed: bool) -> tuple[Run, ...]:
    count, pages = struct.unpack_from("<IxxxxQ", raw, _MEMORY)
    if not needed and raw.startswith(FILLER, _MEMORY):
        return ()
    if count > MOST_RUNS:
        raise FormatError(f"the dump header lists {count} memory runs; {MOST_RUNS} fit")
    runs = tuple(
        Run(*struct.unpack_from("<QQ", raw, _MEMORY + 16 * (index + 1))) for index in range(count)
    )
    if sum(run.pages for run in runs) != pages:
        raise FormatError("the dump header's memory runs do not add up to its number of pages")
    return runs
