"""Message codecs: layouts byte by byte, round trips, and any bytes at all."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.errors import ProtocolError
from kdsim.wire.context import CONTEXT_SIZE, Context, SpecialRegisters
from kdsim.wire.manipulate import (
    ARGUMENTS,
    HEADER_SIZE,
    UNION_SIZE,
    Api,
    Continue2Arguments,
    IoArguments,
    Manipulate,
    MemoryArguments,
    MsrArguments,
    Status,
    VersionArguments,
)
from kdsim.wire.messages import (
    CommandStringChange,
    ControlReport,
    ControlRequest,
    ExceptionChange,
    FileApi,
    FileCreate,
    FileIo,
    FileTransfer,
    GetString,
    LoadSymbolsChange,
    PrintString,
    StateChange,
    StringAnswer,
    TraceIo,
    UnknownChange,
    unpack_debug_io,
)

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
REPORTS = st.builds(ControlReport, U64, U64, U32, U16, st.binary(max_size=16), U16, U16, U16, U16)
COMMON = {
    "processor": U16,
    "processors": U32,
    "thread": U64,
    "pc": U64,
    "level": U16,
    "alternate": st.booleans(),
    "report": REPORTS,
}
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60)
EXCEPTIONS = st.builds(
    ExceptionChange,
    **COMMON,
    code=U32,
    flags=U32,
    record=U64,
    address=U64,
    parameters=st.lists(U64, max_size=15).map(tuple),
    first_chance=st.booleans(),
)
LOADS = st.builds(
    LoadSymbolsChange,
    **COMMON,
    base=U64,
    process_id=U64,
    checksum=U32,
    size=U32,
    unload=st.booleans(),
    path=TEXT,
)
COMMANDS = st.builds(CommandStringChange, **COMMON, name=TEXT, command=TEXT)
UNKNOWN = st.builds(UnknownChange, **COMMON, state=st.integers(0x3033, 0xFFFF))


@given(EXCEPTIONS | LOADS | COMMANDS | UNKNOWN)
def test_state_change_round_trip(change):
    assert StateChange.unpack(change.pack()) == change


@given(st.binary(max_size=400))
def test_state_change_of_any_bytes(data):
    try:
        change = StateChange.unpack(data)
    except ProtocolError:
        return
    assert StateChange.unpack(change.pack()) == change


@given(
    st.sampled_from([0x3030, 0x3031, 0x3032, 0x13030, 0x13099]),
    st.binary(min_size=236, max_size=300),
)
def test_state_change_of_any_bytes_after_the_kind(kind, data):
    change = StateChange.unpack(struct.pack("<I", kind) + data)
    assert StateChange.unpack(change.pack()) == change


def test_exception_layout():
    """Offsets of the fixed part; DBGKD_ANY_WAIT_STATE_CHANGE for AMD64 is 240 bytes."""
    report = ControlReport(
        0xFFFF0FF0, 0x400, 0x246, 3, bytes(range(0xCC, 0xDC)), 0x10, 0x2B, 0x2C, 0x53
    )
    data = ExceptionChange(
        1, 2, 0xFFFF800000000001, 0xFFFFF80000000002, 6, False, report,
        0x80000003, 7, 0x11, 0xFFFFF80000000003, (0, 5), True,
    ).pack()  # fmt: skip
    assert len(data) == 0xF0
    assert struct.unpack_from("<IHHI", data) == (0x3030, 6, 1, 2)
    assert struct.unpack_from("<QQ", data, 0x10) == (0xFFFF800000000001, 0xFFFFF80000000002)
    assert struct.unpack_from("<IIQQI", data, 0x20) == (
        0x80000003, 7, 0x11, 0xFFFFF80000000003, 2,
    )  # fmt: skip
    assert struct.unpack_from("<QQ", data, 0x40) == (0, 5)
    assert struct.unpack_from("<I", data, 0xB8) == (1,)
    assert struct.unpack_from("<QQIHH", data, 0xC0) == (0xFFFF0FF0, 0x400, 0x246, 16, 3)
    assert data[0xD8:0xE8] == bytes(range(0xCC, 0xDC))
    assert struct.unpack_from("<HHHH", data, 0xE8) == (0x10, 0x2B, 0x2C, 0x53)


def test_load_symbols_layout():
    """C1 frame 8: `winload.efi`, path length 12, 252 bytes in all."""
    data = LoadSymbolsChange(
        0,
        1,
        0,
        0,
        base=0x96F000,
        process_id=2**64 - 1,
        checksum=0x11,
        size=0x22,
        path="winload.efi",
    ).pack()
    assert len(data) == 252
    assert struct.unpack_from("<I", data, 0x20) == (12,)
    assert struct.unpack_from("<QQIIB", data, 0x28) == (0x96F000, 2**64 - 1, 0x11, 0x22, 0)
    assert data[0xF0:] == b"winload.efi\0"


def test_farewell_has_no_path():
    """C1's last message: unload everything."""
    data = LoadSymbolsChange(0, 1, 0, 0, base=2**64 - 1, unload=True).pack()
    assert len(data) == 0xF0
    assert struct.unpack_from("<I", data, 0x20) == (0,)


def test_more_parameters_than_fit_are_cut():
    data = bytearray(ExceptionChange(0, 1, 0, 0, parameters=tuple(range(15))).pack())
    struct.pack_into("<I", data, 0x38, 0xFFFFFFFF)
    change = StateChange.unpack(bytes(data))
    assert isinstance(change, ExceptionChange)
    assert change.parameters == tuple(range(15))


# ------------------------------------------------------------------------------ manipulate


@given(st.sampled_from(list(Api)), st.data())
def test_arguments_round_trip(api, data):
    kind = ARGUMENTS[api]
    raw = Manipulate(bytes(16) + data.draw(st.binary(min_size=40, max_size=40)))
    arguments = raw.arguments(kind)
    assert Manipulate.request(api, arguments).arguments(kind) == arguments


@given(st.binary(min_size=56, max_size=56), st.binary(max_size=100), st.binary(max_size=100))
def test_reply_echoes_the_request(header, sent, answered):
    """All 91 replies of C1 are the request's 56 bytes with status and results overwritten."""
    request = Manipulate.unpack(header + sent)
    reply = request.reply(Status.UNSUCCESSFUL, data=answered)
    assert reply.header[:8] == header[:8]
    assert reply.status == Status.UNSUCCESSFUL
    assert reply.header[12:] == header[12:]
    assert reply.data == answered
    assert reply.answers(request)
    assert Manipulate.unpack(reply.pack()) == reply


@given(st.binary(max_size=80))
def test_manipulate_of_any_bytes(data):
    if len(data) < HEADER_SIZE:
        with pytest.raises(ProtocolError):
            Manipulate.unpack(data)
    else:
        message = Manipulate.unpack(data)
        assert message.pack() == data
        assert f"{message.status:08x}" in str(message)


@pytest.mark.parametrize(
    ("arguments", "api", "union"),
    [
        pytest.param(
            MemoryArguments(0xFFFFF80000001000, 0x20, 0x10),
            Api.READ_VIRTUAL,
            "00100000 00f8ffff 20000000 10000000",
            id="memory: 10 address, 18 count, 1C actual",
        ),
        pytest.param(
            Continue2Arguments(0x10002, 1, 0x400, 1, 2),
            Api.CONTINUE2,
            "02000100 01000000 0004000000000000 0100000000000000 0200000000000000",
            id="continue2: control set packed to 4",
        ),
        pytest.param(
            MsrArguments(0xC0000080, 0xD01, 0),
            Api.READ_MSR,
            "800000c0 010d0000 00000000",
            id="msr: 10 number, 14 low, 18 high",
        ),
        pytest.param(
            IoArguments(0x60, 1, 0xAB),
            Api.READ_IO,
            "6000000000000000 01000000 ab000000",
            id="io: 10 port, 18 size, 1C value",
        ),
        pytest.param(
            VersionArguments(
                0x0F, 9600, 6, 2, 7, 0x8664, 0x0C, 3, 0x31, 0, 0,
                0xFFFFF8026BC18000, 0xFFFFF8026BEE22D0, 0xFFFFF8026BEF91F0,
            ),
            Api.GET_VERSION,
            "0f00 8025 06 02 0700 6486 0c 03 31 00 0000"
            "0080c16b02f8ffff d022ee6b02f8ffff f091ef6b02f8ffff",
            id="version: C2's 8.1 kernel",
        ),
    ],
)  # fmt: skip
def test_union_layout(arguments, api, union):
    header = Manipulate.request(api, arguments).header
    assert header[16:] == bytes.fromhex(union).ljust(UNION_SIZE, b"\0")
    assert Manipulate(header).arguments(type(arguments)) == arguments


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ProtocolError, match="READ_MSR cannot carry"):
        Manipulate.request(Api.READ_MSR, MsrArguments(2**32))


def test_late_reply_to_another_address_is_not_the_answer():
    asked = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(0x1000, 8))
    late = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(0x2000, 8)).reply()
    assert not late.answers(asked)
    assert asked.reply().answers(asked)


# ---------------------------------------------------------------------------- debug and file I/O


@given(st.builds(PrintString, st.binary(max_size=99), U16, U16))
def test_print_round_trip(message):
    assert unpack_debug_io(message.pack()) == message
    assert message.pack()[16:] == message.text


@given(st.builds(GetString, st.binary(max_size=99), U32, U16, U16), st.binary(max_size=99))
def test_prompt_round_trip(prompt, text):
    assert unpack_debug_io(prompt.pack()) == prompt
    answer = prompt.answer(text)
    assert answer.text == text[: prompt.limit]
    assert StringAnswer.unpack(answer.pack()) == answer


@given(
    st.binary(max_size=80)
    | st.binary(min_size=12, max_size=60).map(lambda tail: b"\x30\x32\0\0" + tail)
)
@pytest.mark.parametrize(
    "unpack", [unpack_debug_io, StringAnswer.unpack, FileIo.unpack, TraceIo.unpack,
               ControlRequest.unpack],
)  # fmt: skip
def test_any_bytes_give_a_value_or_protocol_error(unpack, data):
    try:
        value = unpack(data)
    except ProtocolError:
        return
    assert unpack(value.pack()) == value


def test_file_create_and_its_refusal():
    """The form of C1's 33 create requests, and WinDbg's answer without `.kdfiles`."""
    request = FileIo.create("\\SystemRoot\\a.sys")
    assert request.api == FileApi.CREATE
    assert request.creation == FileCreate(0x120089, 0x80, 1, 1, 0)
    assert request.path == "\\SystemRoot\\a.sys"
    assert request.pack()[0x40:].endswith(b"s\0\0\0")
    refusal = request.reply(Status.NO_SUCH_FILE)
    assert refusal.status == 0xC000000F
    assert refusal.header[8:] == request.header[8:]
    assert refusal.data == b""


def test_file_transfer_layout():
    header = FileIo.request(FileApi.READ, FileTransfer(0x11, 0x22, 0x33)).header
    assert struct.unpack_from("<QQI", header, 8) == (0x11, 0x22, 0x33)
    assert len(header) == 64
    assert FileIo(header).transfer == FileTransfer(0x11, 0x22, 0x33)


# ----------------------------------------------------------------------------------- registers


@pytest.mark.parametrize(
    ("name", "offset", "size"),
    [
        ("flags", 0x30, 4), ("mxcsr", 0x34, 4), ("cs", 0x38, 2), ("ss", 0x42, 2),
        ("eflags", 0x44, 4), ("dr0", 0x48, 8), ("dr6", 0x68, 8), ("dr7", 0x70, 8),
        ("rax", 0x78, 8), ("rbx", 0x90, 8), ("rsp", 0x98, 8), ("rdi", 0xB0, 8), ("r8", 0xB8, 8),
        ("r15", 0xF0, 8), ("rip", 0xF8, 8), ("fpcw", 0x100, 2), ("st7", 0x190, 10),
        ("xmm0", 0x1A0, 16), ("xmm15", 0x290, 16), ("last_exception_from", 0x4C8, 8),
    ],
)  # fmt: skip
def test_context_layout(name, offset, size):
    context = Context()
    context.set(name, -1)
    expected = bytearray(CONTEXT_SIZE)
    expected[offset : offset + size] = b"\xff" * size
    assert context.raw == expected
    assert context.get(name) == 2 ** (8 * size) - 1


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("cr0", 0), ("cr2", 8), ("cr3", 0x10), ("cr4", 0x18), ("dr0", 0x20), ("dr6", 0x40),
        ("dr7", 0x48), ("gdtl", 0x56), ("gdtr", 0x58), ("idtl", 0x66), ("idtr", 0x68),
        ("tr", 0x70), ("ldtr", 0x72), ("mxcsr", 0x74), ("last_exception_to", 0x90), ("cr8", 0xA0),
        ("gs_base", 0xA8), ("gs_swap", 0xB0), ("lstar", 0xC0), ("syscall_mask", 0xD0),
        ("xcr0", 0xD8), ("fs_base", 0xE0),
    ],
)  # fmt: skip
def test_special_registers_layout(name, offset):
    special = SpecialRegisters()
    special.set(name, 0x1234)
    assert special.raw[offset : offset + 2] == b"\x34\x12"
    assert sum(special.raw) == 0x46


def test_short_special_registers_lack_the_last_names():
    """Builds before 1803 send 224 bytes (C1)."""
    special = SpecialRegisters(bytes(224))
    assert "xcr0" in special
    assert "fs_base" not in special
    with pytest.raises(KeyError):
        special.get("fs_base")


def test_registers_of_a_context_do_not_overlap():
    spans = sorted(Context.LAYOUT.values())
    assert all(a + size <= b for (a, size), (b, _) in pairwise(spans))


@given(st.binary(max_size=1300).filter(lambda raw: len(raw) != CONTEXT_SIZE))
def test_context_of_the_wrong_size(raw):
    with pytest.raises(ProtocolError):
        Context(raw)
