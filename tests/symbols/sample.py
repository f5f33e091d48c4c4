"""A PDB with one of everything, for the tests."""

from __future__ import annotations

import struct

from . import pdbmaker as make

ULONG, LONG, UCHAR, UINT64, INT, VOID_POINTER = 0x22, 0x12, 0x20, 0x23, 0x74, 0x603


def sample(**options: bool) -> tuple[make.PdbMaker, bytes]:
    """The maker, and the string table that goes with it."""
    pdb = make.PdbMaker(**options)
    _types(pdb)
    main = pdb.module("main.obj")
    main.contributions = [(1, 0, 0x100), (2, 0, 0x80)]
    empty = pdb.module("empty.obj")
    empty.contributions = [(1, 0x200, 0x40)]
    block = make.record(0x1103, struct.pack("<IIIIH", 0, 0, 0x10, 0x20, 1) + make.name(""))
    inner = [
        # bits 14-15 and 16-17 of the flags: locals from rbp (2), parameters from rsp (1)
        make.record(0x1012, struct.pack("<IIIIIHI", 0x40, 0, 0, 0, 0, 0, 2 << 14 | 1 << 16)),
        make.local("count", INT, 1) + make.in_register(330, 0, 0x40, (8, 4)),
        make.local("frame", ULONG) + make.in_frame(-8, 0, 0x40),
        make.local("gone", ULONG, 0x100),
        make.record(0x110C, struct.pack("<IIH", INT, 0x30, 2) + make.name("calls")),
        block + make.local("inner", UINT64) + make.in_frame(-16, 0x20, 0x10),
        make.record(0x0006, b""),
    ]
    outer = main.procedure("Outer", 0, 0x40, FUNCTION, inner, static=False)
    helper = main.procedure("helper", 0x40, 0x20, FUNCTION, [], static=True)
    pdb.reference("Outer", 0, outer, static=False)
    pdb.reference("helper", 0, helper, static=True)
    pdb.data("PoolHitTag", ULONG, 2, 0x10)
    pdb.data("hidden", LONG, 2, 0x20, kind=0x110C)
    pdb.constant("Limit", INT, -5)
    pdb.typedef("THING", THING)
    pdb.typedef("BYTE_", UCHAR)
    pdb.public("Outer", 1, 0, 2)
    pdb.public("PoolHitTag", 2, 0x10)
    pdb.public("AsmEntry", 1, 0x200)
    pdb.public("Absolute", 9, 0x1234)
    main.lines = make.line_table(0, 0x60, [(0, 10), (0x10, 11), (0x20, 0xFEEFEE), (0x40, 20)])
    return pdb, make.string_table("C:\\kdsim\\main.c")


THING, FUNCTION = 0x1010, 0x100C


def _types(pdb: make.PdbMaker) -> None:
    forward = pdb.struct("_THING", 0, 0, forward=True)  # 1000
    to_thing = pdb.pointer(forward)  # 1001
    low = pdb.type(0x1205, struct.pack("<IBB", ULONG, 3, 0))  # 1002
    high = pdb.type(0x1205, struct.pack("<IBB", LONG, 1, 31))  # 1003
    values = pdb.fields(make.enumerator("Red", 1), make.enumerator("Blue", 0xFFFF_FFFB))  # 1004
    head = struct.pack("<HHII", 2, 0, INT, values)
    color = pdb.type(0x1507, head + make.name("_COLOR"), "_COLOR")  # 1005
    row = pdb.type(0x1503, struct.pack("<II", 0x21, UINT64) + make.numeric(8) + b"\0")  # 1006
    table = pdb.type(0x1503, struct.pack("<II", row, UINT64) + make.numeric(24) + b"\0")  # 1007
    const = pdb.type(0x1001, struct.pack("<IH", ULONG, 1))  # 1008
    to_const = pdb.pointer(const)  # 1009
    nothing = pdb.type(0x1201, struct.pack("<I", 0))  # 100a
    callback = pdb.type(0x1008, struct.pack("<IBBHI", 3, 0, 0, 0, nothing))  # 100b
    function = pdb.type(0x1008, struct.pack("<IBBHI", UINT64, 0, 0, 0, nothing))  # 100c
    to_callback = pdb.pointer(callback)  # 100d
    more = pdb.fields(
        make.member("Constant", to_const, 48),
        make.member("Callback", to_callback, 56),
        make.member("Any", VOID_POINTER, 64),
    )  # 100e
    fields = pdb.fields(
        make.member("Id", UINT64, 0),
        make.member("Next", to_thing, 8),
        make.member("Low", low, 16),
        make.member("High", high, 16),
        make.member("Color", color, 20),
        make.member("Table", table, 24),
        make.member("Whole", UINT64, 40),
        make.member("Part", ULONG, 40),
        struct.pack("<HHI", 0x1404, 0, more),
    )  # 100f
    thing = pdb.struct("_THING", 72, fields)  # 1010
    assert (thing, function) == (THING, FUNCTION)
