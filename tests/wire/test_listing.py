"""`kdsim wire`: what a capture's transcript says."""

import re

import pytest

from kdsim.wire.capture import TCP, UDP, Segment
from kdsim.wire.context import Context, SpecialRegisters
from kdsim.wire.explain import explain, hex_lines
from kdsim.wire.listing import Listing
from kdsim.wire.manipulate import (
    Api,
    Continue2Arguments,
    Manipulate,
    MemoryArguments,
    Status,
    VersionArguments,
)
from kdsim.wire.messages import (
    CommandStringChange,
    ControlRequest,
    ExceptionChange,
    FileApi,
    FileIo,
    FileTransfer,
    GetString,
    LoadSymbolsChange,
    PrintString,
    TraceIo,
    UnknownChange,
)
from kdsim.wire.packets import Frame, PacketType
from kdsim.wire.sealing import Channel, Sealer, derive_hmac_key, parse_key
from tests.wire.pairs import KEY, kdcom, kdnet
from tests.wire.test_sealing import ACK, C1_POKE, C1_RESPONSE, FIRST, GET_VERSION

TARGET_END, HOST_END = ("192.168.2.72", 51111), ("192.168.2.1", 51111)
WINDBG_KEY = "8.8.8.8"


def datagram(time, raw, from_host):
    ends = (HOST_END, TARGET_END) if from_host else (TARGET_END, HOST_END)
    return Segment(time, UDP, *ends, raw)


def sealed_control(body, from_host):
    key = parse_key(WINDBG_KEY)
    return Sealer(key, derive_hmac_key(key)).seal(4, Channel.CONTROL, 3, from_host, body)


WINDBG = [
    datagram(100.0, sealed_control(C1_POKE, False), False),
    datagram(100.0024, sealed_control(C1_RESPONSE, True), True),
    datagram(100.0025, bytes.fromhex(FIRST), False),
    datagram(100.0046, bytes.fromhex(ACK), True),
    datagram(100.0050, bytes.fromhex(GET_VERSION), True),
]
"""The start of a real session of WinDbg: frames 1, 2, 3, 7 and 10."""


def test_windbg_session():
    listing = Listing(WINDBG_KEY)
    key = "c19792dfac7aa1dfe007010018000b00240005000000070088f7570043a12600"
    assert (
        "\n".join(listing.lines(WINDBG))
        == f"""\
    0.000000  target > host   v4 seq 3 poke
                    client key     {key}
                    target         192.168.2.72 port 51111
                    host           192.168.2.1 port 51111
                    connected      0.0.0.0 port 0
    0.002400  host > target   v4 seq 3 response
                    client key     {key}
                    host key       41b4fa1b2ddd14ee3eeb8db987c0c7257ce62eef126ab74ef212136c100c540b
    0.002500  target > host   v4 seq 1 first datagram of a session
                    host           192.168.2.1
    0.004600  host > target   v4 seq 2 ACK id 00000000
    0.005000  host > target   v4 seq 4 GET_VERSION request id 80000000
                    processor      65535
                    level          65535"""
    )
    assert listing.counts.line() == "5 datagrams, 5 opened, 0 not"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        pytest.param("8.8.8.9", "not authentic with this key", id="another key"),
        pytest.param(None, "sealed", id="no key"),
    ],
)
def test_without_the_key(key, why):
    listing = Listing(key)
    lines = list(listing.lines(WINDBG))
    assert lines[:3] == [
        f"    0.000000  192.168.2.72:51111 > 192.168.2.1  control 374 bytes, {why}",
        f"    0.002400  192.168.2.1:51111 > 192.168.2.72  control 358 bytes, {why}",
        f"    0.002500  192.168.2.72:51111 > 192.168.2.1  data 54 bytes, {why}",
    ]
    assert listing.counts.line() == "5 datagrams, 0 opened, 5 not"


def test_a_changed_bit_is_flagged():
    raw = bytearray.fromhex(ACK)
    raw[20] ^= 1
    listing = Listing(WINDBG_KEY, fields=False)
    *_, last = listing.lines([*WINDBG, datagram(101.0, bytes(raw), True)])
    assert last.endswith("data 54 bytes, not authentic with this key")
    assert listing.counts.unopened == 1


def conversation(network):
    """Everything both ends of a connection send, as segments."""
    host, target = network.ends
    segments = []
    for endpoint, from_host in ((host, True), (target, False)):
        put = endpoint.outgoing

        def recorded(put=put, from_host=from_host):
            out = put()
            for raw in out:
                ends = (HOST_END, TARGET_END) if from_host else (TARGET_END, HOST_END)
                protocol = UDP if raw.startswith(b"MDBG") else TCP
                segments.append(Segment(network.now, protocol, *ends, raw))
            return out

        endpoint.outgoing = recorded
    return segments


READ = Manipulate.request(Api.READ_VIRTUAL, MemoryArguments(0xFFFFF80012345678, 4))


@pytest.mark.parametrize("make", [kdnet, kdcom])
def test_our_own_ends(make):
    """Both wires tell the same story; only ids, sequences and the handshake differ."""
    network = make()
    segments = conversation(network)
    network.run(limit=1.0)
    host, target = network.ends
    change = ExceptionChange(0, 2, 0, 0x1234, code=0x80000003)
    target.send(PacketType.STATE_CHANGE64, change.pack(), network.now)
    network.run(limit=0.1)
    host.send(PacketType.MANIPULATE, READ.pack(), network.now)
    network.run(limit=0.1)
    reply = READ.reply(Status.SUCCESS, MemoryArguments(0xFFFFF80012345678, 4, 4), b"MZ\x90\0")
    target.send(PacketType.MANIPULATE, reply.pack(), network.now)
    network.run(limit=0.1)
    host.break_in(network.now)
    network.run(limit=0.1)
    told = [
        re.sub(r"^v4 seq \d+ | id .*", "", line[30:])
        for line in Listing(KEY, fields=False).lines(segments)
    ]
    start = told.index("STATE_CHANGE64 exception")
    assert [line for line in told[start:] if line != "poke"] == [
        "STATE_CHANGE64 exception",
        "ACK",
        "READ_VIRTUAL request",
        "ACK",
        "READ_VIRTUAL reply",
        "ACK",
        "break-in",
    ]


def test_data_as_bytes():
    network = kdcom()
    segments = conversation(network)
    network.run(limit=1.0)
    reply = READ.reply(Status.SUCCESS, MemoryArguments(0, 20, 20), b"0123456789abcdef\0\1\2\3")
    network.ends[1].send(PacketType.MANIPULATE, reply.pack(), network.now)
    network.run(limit=0.1)
    lines = [line.strip() for line in Listing(None, data=True).lines(segments)]
    place = lines.index("data           20 bytes")
    assert lines[place + 1 : place + 3] == [
        "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef",
        "0010  00 01 02 03" + " " * 38 + "....",
    ]
    assert list(hex_lines(b"")) == []


def packed(message):
    return message.pack()


CONTEXT = Context(bytes(1232))
CONTEXT.set("rip", 0xFFFFF80012345678)
SPECIAL = SpecialRegisters(bytes(0xF0))
SPECIAL.set("cr3", 0x1AD000)
CONTINUE = Manipulate.request(Api.CONTINUE2, Continue2Arguments(0x10002, 1, 0x400))


@pytest.mark.parametrize(
    ("kind", "payload", "from_host", "name", "fields"),
    [
        pytest.param(
            PacketType.MANIPULATE,
            packed(READ),
            True,
            "READ_VIRTUAL request",
            {"address": "fffff80012345678", "size": "4", "actual": "0"},
            id="read",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(READ.reply(Status.UNSUCCESSFUL)),
            False,
            "READ_VIRTUAL reply",
            {"status": "c0000001 UNSUCCESSFUL"},
            id="refusal",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(READ.reply(0xC0000099)),
            False,
            "READ_VIRTUAL reply",
            {"status": "c0000099"},
            id="a status without a name",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(CONTINUE),
            True,
            "CONTINUE2 request",
            {"trace": "1", "dr7": "400"},
            id="continue",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(
                Manipulate.request(Api.GET_VERSION).reply(
                    0, VersionArguments(15, 19041, kernel_base=0xFFFFF80000000000)
                )
            ),
            False,
            "GET_VERSION reply",
            {"minor": "4a61", "machine": "8664", "kernel_base": "fffff80000000000"},
            id="version",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(Manipulate.request(Api.GET_CONTEXT).reply(0, None, CONTEXT.raw)),
            False,
            "GET_CONTEXT reply",
            {"rip": "fffff80012345678", "rsp": "0"},
            id="context",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            packed(
                Manipulate.request(Api.READ_CONTROL_SPACE, MemoryArguments(2, 0xF0)).reply(
                    0, MemoryArguments(2, 0xF0, 0xF0), SPECIAL.raw
                )
            ),
            False,
            "READ_CONTROL_SPACE reply",
            {"cr3": "1ad000"},
            id="special registers",
        ),
        pytest.param(
            PacketType.MANIPULATE,
            b"\x99\x99" + bytes(54),
            True,
            "api 9999 request",
            {"union": "00" * 40},
            id="an unknown request",
        ),
        pytest.param(
            PacketType.STATE_CHANGE64,
            packed(LoadSymbolsChange(1, 2, 0, 0, base=0x1000, path="\\a.sys", unload=False)),
            False,
            "STATE_CHANGE64 load symbols",
            {"processor": "1", "base": "1000", "path": "'\\\\a.sys'", "unload": "no"},
            id="load",
        ),
        pytest.param(
            PacketType.STATE_CHANGE64,
            packed(LoadSymbolsChange(0, 2, 0, 0, base=0x1000, unload=True)),
            False,
            "STATE_CHANGE64 unload symbols",
            {"unload": "yes"},
            id="unload",
        ),
        pytest.param(
            PacketType.STATE_CHANGE64,
            packed(CommandStringChange(0, 2, 0, 0, name=".dbg", command="k;g")),
            False,
            "STATE_CHANGE64 command string",
            {"command": "'k;g'"},
            id="command string",
        ),
        pytest.param(
            PacketType.STATE_CHANGE64,
            packed(UnknownChange(1, 2, 0, 0x10, state=0x3099)),
            False,
            "STATE_CHANGE64 of an unknown kind",
            {"state": "3099", "pc": "10"},
            id="unknown state",
        ),
        pytest.param(
            PacketType.DEBUG_IO,
            packed(PrintString(b"hi\n")),
            False,
            "DEBUG_IO PRINT_STRING",
            {"text": r"'hi\n'"},
            id="print",
        ),
        pytest.param(
            PacketType.DEBUG_IO,
            packed(GetString(b"Break? ", 16)),
            False,
            "DEBUG_IO GET_STRING",
            {"prompt": "'Break? '", "limit": "16"},
            id="prompt",
        ),
        pytest.param(
            PacketType.DEBUG_IO,
            packed(GetString(b"Break? ", 16).answer(b"b")),
            True,
            "DEBUG_IO answer",
            {"text": "'b'"},
            id="answer",
        ),
        pytest.param(
            PacketType.FILE_IO,
            packed(FileIo.create("\\SystemRoot\\x.sys")),
            False,
            "FILE_IO CREATE request",
            {"path": "\\SystemRoot\\x.sys"},
            id="create",
        ),
        pytest.param(
            PacketType.FILE_IO,
            packed(FileIo.request(FileApi.READ, FileTransfer(7, 0x200, 16))),
            False,
            "FILE_IO READ request",
            {"handle": "7", "offset": "200", "length": "16"},
            id="read a file",
        ),
        pytest.param(
            PacketType.FILE_IO,
            packed(FileIo.create("x").reply(Status.NO_SUCH_FILE)),
            True,
            "FILE_IO CREATE reply",
            {"status": "c000000f NO_SUCH_FILE"},
            id="no such file",
        ),
        pytest.param(
            PacketType.CONTROL_REQUEST,
            packed(ControlRequest(0x4300, 2)),
            False,
            "CONTROL_REQUEST REQUEST_BREAKPOINT",
            {"number": "2"},
            id="control request",
        ),
        pytest.param(
            PacketType.TRACE_IO, packed(TraceIo(b"abc")), False, "TRACE_IO", {}, id="trace"
        ),
        pytest.param(PacketType.UNUSED, b"abc", False, "UNUSED", {}, id="no message known"),
        pytest.param(77, b"abc", False, "packet type 77", {}, id="no type known"),
        pytest.param(
            PacketType.MANIPULATE,
            b"abc",
            False,
            "MANIPULATE (damaged: manipulate message of 3 bytes, 56 needed)",
            {},
            id="damaged",
        ),
    ],
)
def test_explained(kind, payload, from_host, name, fields):
    told = explain(Frame(kind, 0, payload), from_host=from_host)
    assert told.name == name
    assert {key: value for key, value in told.fields if key in fields} == fields
