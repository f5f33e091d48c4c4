"""x64 unwinding: from every instruction of a function the caller's registers come back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsim.errors import FormatError, MemoryFault
from kdsim.symbols.frame import FrameRegisters
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.pe import FunctionTable, RuntimeFunction
from kdsim.symbols.unwind import epilog_ranges, read_unwind_info, unwind

from . import framemaker as make

PUSH, LARGE, SMALL, FRAME, SAVE, SAVE_FAR, EPILOG, SAVE_XMM, SAVE_XMM_FAR, MACHINE = (
    0, 1, 2, 3, 4, 5, 6, 8, 9, 10,
)  # fmt: skip


def allocate(function: make.FunctionMaker, size: int) -> None:
    code = make.sub_rsp(size)
    if size <= 128:
        function.prolog(code, SMALL, size // 8 - 1)
    elif size < 0x8_0000:
        function.prolog(code, LARGE, 0, struct.pack("<H", size // 8))
    else:
        function.prolog(code, LARGE, 1, struct.pack("<I", size))


def build(pushes, size, frame, saves, vectors, far, version, leave):
    """A function of these prolog steps, whose body clobbers what it saved."""
    function = make.FunctionMaker(version=version)
    for register in pushes:
        function.prolog(make.push(register), PUSH, register)
    if size:
        allocate(function, size)
    offset = 0x20 if frame else 0
    if frame:
        function.frame = frame | offset // 16 << 4
        function.prolog(make.lea(frame, make.RSP, offset), FRAME, 0)
    for index, register in enumerate(saves):
        place = index * 8
        operands = struct.pack("<I", place) if far else struct.pack("<H", place // 8)
        operation = SAVE_FAR if far else SAVE
        function.prolog(make.store(register, place), operation, register, operands)
    for index, register in enumerate(vectors):
        place = 0x40 + index * 16
        operands = struct.pack("<I", place) if far else struct.pack("<H", place // 16)
        operation = SAVE_XMM_FAR if far else SAVE_XMM
        function.prolog(make.xmm_move(0x11, register, place), operation, register, operands)
    function.end_prolog()
    function.code += b"\x90"
    if frame:  # a body that moves rsp
        function.code += make.sub_rsp(0x50)
    for register in (*pushes, *saves):
        function.code += make.clobber(register) if register != frame else b""
    if frame:
        function.code += make.lea(make.RSP, frame, -offset)
    for index, register in enumerate(vectors):
        function.code += make.xmm_move(0x10, register, 0x40 + index * 16)
    for index, register in enumerate(saves):
        function.code += make.fetch(register, index * 8)
    start = len(function.code)
    if size:
        function.code += make.lea(make.RSP, frame, size - offset) if frame else make.add_rsp(size)
    function.code += b"".join(make.pop(register) for register in reversed(pushes)) + leave
    if version == 2:
        function.epilogs = bytes([len(function.code) - start, EPILOG | 1 << 4])
    return function


def check_everywhere(image: make.Image, begin: int) -> int:
    """Unwind before every instruction of a call; returns how many there were."""
    run = make.Run(image, begin)
    steps = 0
    while run.rip != make.RETURN_TO:
        found = unwind(run.registers(), make.BASE, image.functions, image.read, run)
        where = f"at +0x{run.rip - make.BASE - begin:x}"
        assert found.regs.rip == make.RETURN_TO, where
        assert found.regs.rsp == run.caller[make.RSP], where
        for register in make.NONVOLATILE:
            assert found.regs[register] == run.caller[register], where
        for register, value in found.regs.xmm.items():
            assert value == run.xmm[register], where
        assert not found.machine_frame
        run.step()
        steps += 1
    return steps


@settings(max_examples=120, deadline=None)
@given(
    pushes=st.lists(st.sampled_from(make.NONVOLATILE), unique=True, max_size=8),
    size=st.sampled_from([0, 0x80, 0x88, 0x100, 0x1000, 0x8000]),
    framed=st.booleans(),
    save_count=st.integers(0, 4),
    vectors=st.lists(st.integers(6, 15), unique=True, max_size=3),
    far=st.booleans(),
    version=st.sampled_from([1, 2]),
    leave=st.sampled_from([b"\xc3", b"\xf3\xc3", b"\xc2\0\0"]),
)
def test_any_prolog(pushes, size, framed, save_count, vectors, far, version, leave):
    rest = [register for register in make.NONVOLATILE if register not in pushes]
    framed = framed and size > 0 and bool(pushes)
    saves = rest[:save_count] if size else []
    frame = next((r for r in pushes if r in (make.RBP, 12, 13, 14)), 0) if framed else 0
    function = build(pushes, size, frame, saves, vectors if size else [], far, version, leave)
    image = make.Image()
    image.add(make.CODE, function.code, function.unwind_info())
    assert check_everywhere(image, make.CODE) > 1


def test_large_allocation():
    function = build([make.RBX], 0x1_0000, 0, [], [], False, 1, b"\xc3")
    image = make.Image()
    image.add(make.CODE, function.code, function.unwind_info())
    check_everywhere(image, make.CODE)


def test_allocation_of_more_than_512_kilobytes():
    function = make.FunctionMaker()
    allocate(function, 0x10_0000)
    function.end_prolog()
    image = make.Image()
    image.add(make.CODE, function.code + b"\x90\xc3", function.unwind_info())
    stack = BytesMemory(0x10_0000, (0x1234).to_bytes(8, "little"))
    regs = FrameRegisters(make.BASE + make.CODE + len(function.code), [0] * 16)
    found = unwind(regs, make.BASE, image.functions, image.read, stack)
    assert (found.regs.rip, found.regs.rsp) == (0x1234, 0x10_0008)


def test_leaf_function():
    image = make.Image()
    image.bytes[make.CODE : make.CODE + 3] = b"\x90\x90\xc3"
    assert check_everywhere(image, make.CODE) == 3


def test_no_image_means_leaf():
    stack = BytesMemory(0x1000, (0x77).to_bytes(8, "little"))
    regs = FrameRegisters(0x5000, [0] * 16)
    regs.rsp = 0x1000
    found = unwind(regs, 0, None, lambda rva, size: b"", stack)
    assert (found.regs.rip, found.regs.rsp, found.function) == (0x77, 0x1008, None)


def chained() -> tuple[make.Image, int]:
    """A function in two pieces: the second saves one more register and jumps back."""
    first = make.FunctionMaker()
    first.prolog(make.push(make.RBX), PUSH, make.RBX)
    allocate(first, 0x40)
    first.end_prolog()
    back = len(first.code) + 5
    first.code += b"\xe9" + struct.pack("<i", 0x100 - back) + b"\x90"
    first.code += make.fetch(make.RSI, 0x20) + make.add_rsp(0x40) + make.pop(make.RBX) + b"\xc3"
    image = make.Image()
    primary = image.add(make.CODE, first.code, first.unwind_info())
    second = make.FunctionMaker()
    save = struct.pack("<H", 0x20 // 8)
    second.prolog(make.store(make.RSI, 0x20), SAVE, make.RSI, save)
    second.end_prolog()
    second.code += make.clobber(make.RSI) + make.clobber(make.RBX)
    second.code += b"\xe9" + struct.pack("<i", back - 0x100 - len(second.code) - 5)
    tail = struct.pack("<III", primary.begin, primary.end, primary.unwind_rva)
    image.add(make.CODE + 0x100, second.code, second.unwind_info(flags=4, tail=tail))
    return image, make.CODE


def test_chained_function():
    """Until the pieces' shared tail: rsi is then saved, but the first piece does not know."""
    image, begin = chained()
    run = make.Run(image, begin)
    back = make.BASE + begin + len(make.push(make.RBX)) + len(make.sub_rsp(0)) + 5
    while run.rip != back:
        found = unwind(run.registers(), make.BASE, image.functions, image.read, run)
        assert found.regs.rip == make.RETURN_TO
        assert found.regs.rsp == run.caller[make.RSP]
        assert (found.regs[make.RBX], found.regs[make.RSI]) == (
            run.caller[make.RBX],
            run.caller[make.RSI],
        )
        run.step()


def test_tail_call_is_an_epilog():
    """`add rsp; pop; jmp elsewhere` leaves the function; a jump within it does not."""
    function = make.FunctionMaker()
    function.prolog(make.push(make.RBX), PUSH, make.RBX)
    allocate(function, 0x20)
    function.end_prolog()
    function.code += b"\xeb\x00\x90" + make.clobber(make.RBX)
    function.code += make.add_rsp(0x20) + make.pop(make.RBX)
    target = 0x200
    function.code += b"\xe9" + struct.pack("<i", target - len(function.code) - 5)
    image = make.Image()
    image.add(make.CODE, function.code, function.unwind_info())
    image.bytes[make.CODE + target] = 0xC3
    check_everywhere(image, make.CODE)


@pytest.mark.parametrize("error_code", [False, True], ids=["plain", "with error code"])
def test_machine_frame(error_code):
    """A trap handler: the interrupted rip and rsp come from what the processor pushed."""
    function = make.FunctionMaker()
    function.prolog(b"", MACHINE, int(error_code))
    function.prolog(make.push(make.RBP), PUSH, make.RBP)
    allocate(function, 0x158)
    function.frame = make.RBP | 8 << 4
    function.prolog(make.lea(make.RBP, make.RSP, 0x80), FRAME, 0)
    function.end_prolog()
    image = make.Image()
    image.add(make.CODE, function.code + b"\x90" * 4, function.unwind_info())
    frame = struct.pack("<5Q", 0xFFFF_8000_1234, 0x10, 0x246, 0xFFFF_9000_0000, 0x18)
    pushed = (0x4444).to_bytes(8, "little") + (b"\x11" * 8 if error_code else b"") + frame
    stack = BytesMemory(0x8000, bytes(0x158) + pushed)
    regs = FrameRegisters(make.BASE + make.CODE + len(function.code), [0] * 16)
    regs["rsp"], regs["rbp"] = 0x7000, 0x8080
    found = unwind(regs, make.BASE, image.functions, image.read, stack)
    assert found.machine_frame
    assert (found.regs.rip, found.regs.rsp) == (0xFFFF_8000_1234, 0xFFFF_9000_0000)
    assert (found.regs["rbp"], found.frame_pointer) == (0x4444, 0x8000)


def test_version_2_epilogs():
    """Two epilogs of 3 bytes: one ends the function, one begins 0x10 before its end."""
    data = bytes([2, 0, 2, 0, 3, EPILOG | 1 << 4, 0x10, EPILOG])
    info = read_unwind_info(lambda rva, size: data[rva : rva + size], 0)
    ranges = epilog_ranges(info, RuntimeFunction(0x100, 0x180, 0))
    assert ranges == [(0x17D, 0x180), (0x170, 0x173)]


DAMAGED = [
    pytest.param(bytes([3, 0, 0, 0]), "version 3", id="version"),
    pytest.param(bytes([1, 0, 1, 0, 0, 11, 0, 0]), "unknown operation 11", id="operation"),
    pytest.param(bytes([1, 0, 1, 0, 0, LARGE, 0, 0]), "unknown operation 1", id="cut short"),
    pytest.param(bytes([1, 0, 1, 0, 0, LARGE | 3 << 4, 0, 0]), "unknown operation", id="info"),
    pytest.param(
        bytes([1 | 4 << 3, 0, 0, 0]) + struct.pack("<III", 0, 1, 0), "chained to itself", id="chain"
    ),
]


@pytest.mark.parametrize(("data", "reason"), DAMAGED)
def test_damaged_unwind_data(data, reason):
    image = bytearray(0x40)
    image[: len(data)] = data
    image[0x20:0x2C] = struct.pack("<III", 0x30, 0x38, 0)

    def read(rva: int, size: int) -> bytes:
        return bytes(image[rva : rva + size])

    regs = FrameRegisters(0x30, [0] * 16)
    with pytest.raises(FormatError, match=reason):
        unwind(regs, 0, FunctionTable(read, 0x20, 12), read, BytesMemory(0, bytes(64)))


def test_unreadable_stack():
    with pytest.raises(MemoryFault):
        unwind(FrameRegisters(0, [0] * 16), 0, None, lambda rva, size: b"", BytesMemory(1, b""))


def test_odd_unwind_address_points_to_another_entry():
    function = build([make.RBX], 0x40, 0, [], [], False, 1, b"\xc3")
    image = make.Image()
    real = image.add(make.CODE, function.code, function.unwind_info())
    other = RuntimeFunction(real.begin, real.end, make.PDATA + 1)
    image.bytes[make.PDATA : make.PDATA + 24] = struct.pack(
        "<6I", real.begin, real.end, real.unwind_rva, other.begin, other.end, other.unwind_rva
    )
    table = FunctionTable(image.read, make.PDATA + 12, 12)
    run = make.Run(image, make.CODE)
    run.step()
    found = unwind(run.registers(), make.BASE, table, image.read, run)
    assert found.regs.rip == make.RETURN_TO
