"""Our target under WinDbg's own requests: it answers each as Windows does, byte for byte."""

import struct
from contextlib import closing

import pytest

from tests.labs import calm_lab
from tests.ports import free_udp_port
from tests.target.process import TargetProcess
from tests.wire.second_client import (
    ACK,
    CONTINUE,
    CONTINUE2,
    CONTROL,
    DATA,
    GET_CONTEXT,
    GET_VERSION,
    MANIPULATE,
    PATIENCE,
    READ,
    READ_CONTROL,
    RESET,
    RESTORE_BREAKPOINT,
    SET_CONTEXT,
    ComLine,
    Habits,
    NetLine,
    SecondClient,
    pack,
)
from tests.wire.windbg_requests import requests

KEY = "8.8.8.8"
SUCCESS, UNSUCCESSFUL = 0, 0xC0000001
WRITE_CONTROL, GET_CONTEXT_EX = 0x3138, 0x315F
MEANS_A_PROCESSOR = (GET_CONTEXT, SET_CONTEXT, READ_CONTROL, WRITE_CONTROL, GET_CONTEXT_EX)
CONTEXT, SPECIAL = 1232, 224
RIP = 0xF8
VERSION = struct.pack("<HHBBHHBBBBH", 15, 19041, 6, 2, 7, 0x8664, 12, 3, 0x33, 0, 0)


@pytest.fixture(params=["net", "unix"])
def client(request, tmp_path):
    port = free_udp_port()
    place = ("--port", str(port)) if request.param == "net" else ("--com", f"unix:{tmp_path}/kd")
    with TargetProcess(tmp_path, calm_lab(tmp_path), *place, key=KEY) as process:
        assert process.banner()
        line = (
            NetLine(port, KEY, Habits())
            if request.param == "net"
            else ComLine.unix(tmp_path / "kd")
        )
        with closing(line):
            yield SecondClient(line, Habits())
        assert process.stop() == (0, "")


def u64(data, offset=0):
    return struct.unpack_from("<Q", data, offset)[0]


def places(client, processor):
    """What WinDbg read, as address and size in our machine."""
    version = client.ask(GET_VERSION).union
    image, modules = u64(version, 16), u64(version, 24)
    entry = u64(client.read(modules, 8))
    loaded = client.read(entry, 0x88)
    special = client.ask(READ_CONTROL, struct.pack("<QI", 2, SPECIAL), processor=processor).data
    context = client.ask(GET_CONTEXT, processor=processor).data
    return {
        "list": (modules, 1),
        "entry": (entry, 1),
        "name": (u64(loaded, 0x50), 1),
        # Winload is larger than our kernel.
        "image": (image, 0x80000),
        "shared": (0xFFFFF78000000000, 0x1000),
        "gdt": (u64(special, 0x58), 0x1000),
        "stack": (u64(context, 0x98), 0x1000),
    }


def answer(request):
    """Windows' reply to a request: the request, with the status and the results filled in."""
    api, size = u64(request) & 0xFFFFFFFF, struct.unpack_from("<I", request, 0x18)[0]
    results, data = {
        READ: ([(0x1C, size)], size),
        READ_CONTROL: ([(0x1C, size)], size),
        WRITE_CONTROL: ([(0x1C, size)], 0),
        GET_CONTEXT: ([], CONTEXT),
        GET_CONTEXT_EX: ([(0x18, CONTEXT)], CONTEXT),
        SET_CONTEXT: ([], 0),
        RESTORE_BREAKPOINT: ([], 0),
    }[api]
    reply = bytearray(request[:56])
    status = UNSUCCESSFUL if api == RESTORE_BREAKPOINT else SUCCESS
    for offset, value in [(8, status), *results]:
        struct.pack_into("<I", reply, offset, value)
    return bytes(reply), data


def told(client, api, number):
    """What goes with a request: what WinDbg had read, the context past its `int 3`."""
    if api == SET_CONTEXT:
        context = client.ask(GET_CONTEXT, processor=number).data
        rip = u64(context, RIP)
        assert client.read(rip, 1) == b"\xcc"
        return context[:RIP] + struct.pack("<Q", rip + 1) + context[RIP + 8 :]
    if api == WRITE_CONTROL:
        return client.ask(READ_CONTROL, struct.pack("<QI", 2, SPECIAL), processor=number).data
    return b""


def test_every_request_is_answered_as_windows_does(client):
    number = client.break_in().processor
    where = places(client, number)
    for request in requests():
        asked = request.packed(where, number if request.api in MEANS_A_PROCESSOR else None)
        if request.api in (CONTINUE, CONTINUE2):
            client.stops.clear()
            client._send(MANIPULATE, asked)
            assert not client.replies
            number = client.break_in().processor
            where = places(client, number)
            continue
        reply = client.exchange(asked + told(client, request.api, number))
        if request.api == GET_VERSION:
            assert reply[:16] == asked[:8] + bytes(4) + asked[12:16]
            assert reply[16:32] == VERSION
            assert (u64(reply, 0x20), u64(reply, 0x28)) == (where["image"][0], where["list"][0])
        else:
            assert (reply[:56], len(reply[56:])) == answer(asked), request.frame


@pytest.mark.parametrize("client", ["net"], indirect=True)
def test_a_request_instead_of_an_ack_then_reset(client):
    """Frames 194 to 204: WinDbg goes on without its ACK, then resets and gets the reply again."""
    number = client.break_in().processor
    asked = struct.pack("<IHHII", GET_CONTEXT, 0, number, 0x103, 0) + bytes(40)
    line, first = client.line, client.next_id

    def until(leader, kind):
        for _ in range(int(PATIENCE)):
            body = line.get(1.0)
            if body is not None and (body[:4], body[4]) == (leader, kind):
                return struct.unpack_from("<I", body, 8)[0], body[16:]
        raise AssertionError("nothing came")

    line.put(pack(DATA, MANIPULATE, first, asked))
    assert until(CONTROL, ACK)[0] == first
    one, reply = until(DATA, MANIPULATE)
    line.put(pack(DATA, MANIPULATE, first + 2, asked))
    assert until(CONTROL, ACK)[0] == first + 2
    assert until(DATA, MANIPULATE) == (one + 2, reply)
    line.put(pack(CONTROL, RESET, first + 4))
    assert until(CONTROL, RESET)[0] == one + 2
    assert until(DATA, MANIPULATE) == (one + 2, reply)
