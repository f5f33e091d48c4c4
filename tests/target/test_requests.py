"""The surface of the protocol: every manipulate request, put to a live target over the raw wire.

The target runs in a process of its own, at its initial break. One row is one request and the reply
to it. Rows leave the target as it was, but for a few bytes below its stack and in a page of RAM
that nobody uses.
"""

import struct
from collections.abc import Callable
from typing import Any

import pytest

from kdsim.wire.context import CONTEXT_SIZE, SpecialRegisters
from kdsim.wire.manipulate import (
    ARGUMENTS,
    NO_REPLY,
    UNION_OFFSET,
    Api,
    ContextArguments,
    InternalBreakpointArguments,
    Manipulate,
    SpecialCallArguments,
    Status,
    SwitchPartitionArguments,
)
from kdsim.wire.manipulate import BreakpointExArguments as BreakpointEx
from kdsim.wire.manipulate import BusDataArguments as Bus
from kdsim.wire.manipulate import ContextExArguments as ContextEx
from kdsim.wire.manipulate import CustomBreakpointArguments as CustomBreakpoint
from kdsim.wire.manipulate import FillArguments as Fill
from kdsim.wire.manipulate import IoArguments as Port
from kdsim.wire.manipulate import IoExtendedArguments as PortEx
from kdsim.wire.manipulate import MemoryArguments as Bytes
from kdsim.wire.manipulate import MsrArguments as Msr
from kdsim.wire.manipulate import QueryMemoryArguments as Query
from kdsim.wire.manipulate import RestoreBreakpointArguments as Handle
from kdsim.wire.manipulate import SearchArguments as Search
from kdsim.wire.manipulate import WriteBreakpointArguments as Breakpoint
from tests.target.live import LIMIT, PCR, PRCB, SPECIAL, THREAD, Live, attached

OK, FAILED, INVALID = Status.SUCCESS, Status.UNSUCCESSFUL, Status.INVALID_PARAMETER
NO_DEVICE, NOT_FOUND = Status.NO_SUCH_DEVICE, Status.NOT_FOUND
NOWHERE = 0xFFFF_FF00_0000_0000
PAGE = 0x2000
"""A page of RAM that the machine's firmware would use."""
RAM = 512 << 20
EFER, LSTAR, NO_MSR = 0xC000_0080, 0xC000_0082, 0x1234_5678
ELEMENT = struct.Struct("<QI4x")


@pytest.fixture(scope="module", params=[2, 4], ids=["2 processors", "4 processors"])
def live(request, tmp_path_factory):
    with attached(tmp_path_factory.mktemp("live"), processors=request.param) as target:
        yield target


def row(
    api: Api,
    arguments: Any = None,
    status: int = OK,
    answer: Any = None,
    *,
    id: str,
    sent: Any = b"",
    data: Any = b"",
    processor: Any = 0,
    first: Callable[[Live], object] = lambda t: None,
):
    """A request and the reply to it; values that depend on the target are functions of it.

    Args:
        api: what is asked.
        arguments: of the request.
        status: of the reply.
        answer: arguments of the reply; those of the request unless given.
        id: what the row shows.
        sent: data of the request.
        data: of the reply; None for any.
        processor: in the request's header.
        first: what has to be done before.
    """
    return pytest.param(api, arguments, status, answer, sent, data, processor, first, id=id)


def planted(t: Live) -> None:
    """A breakpoint with handle 1."""
    reply = t.ask(Api.WRITE_BREAKPOINT, Breakpoint(t.code))
    assert reply.arguments(Breakpoint).handle == 1


def all_planted(t: Live) -> None:
    """All 32 handles are in use."""
    for number in range(32):
        reply = t.ask(Api.WRITE_BREAKPOINT, Breakpoint(t.code + number))
        assert reply.arguments(Breakpoint).handle == number + 1


R, W = Api.READ_VIRTUAL, Api.WRITE_VIRTUAL
PR, PW = Api.READ_PHYSICAL, Api.WRITE_PHYSICAL
GC, SC = Api.GET_CONTEXT, Api.SET_CONTEXT
GX, SX = Api.GET_CONTEXT_EX, Api.SET_CONTEXT_EX
CS, CW = Api.READ_CONTROL_SPACE, Api.WRITE_CONTROL_SPACE
BP, BC = Api.WRITE_BREAKPOINT, Api.RESTORE_BREAKPOINT
BPX, BCX = Api.WRITE_BREAKPOINT_EX, Api.RESTORE_BREAKPOINT_EX
RM, WM = Api.READ_MSR, Api.WRITE_MSR
IN, OUT = Api.READ_IO, Api.WRITE_IO
INX, OUTX = Api.READ_IO_EXTENDED, Api.WRITE_IO_EXTENDED
SEARCH, FILL, QUERY = Api.SEARCH_MEMORY, Api.FILL_MEMORY, Api.QUERY_MEMORY

ROWS = [
    # Virtual memory: 10 address, 18 count; 1C actual count in the reply.
    row(R, lambda t: Bytes(t.kernel, 2), OK, lambda t: Bytes(t.kernel, 2, 2), data=b"MZ",
        id="read"),
    row(R, lambda t: Bytes(t.kernel, 0), OK, lambda t: Bytes(t.kernel, 0, 0), id="read nothing"),
    row(R, lambda t: Bytes(t.kernel, 0x8000), OK, lambda t: Bytes(t.kernel, 0x8000, LIMIT),
        data=None, id="read: clipped to what a packet carries"),
    row(R, Bytes(NOWHERE, 8), FAILED, Bytes(NOWHERE, 8, 0), id="read where nothing is"),
    row(R, lambda t: Bytes(edge(t) - 16, 32), FAILED, lambda t: Bytes(edge(t) - 16, 32, 16),
        data=lambda t: t.read(edge(t) - 16, 16), id="read: the readable prefix"),
    row(R, Bytes(0x8000_0000_0000, 8), FAILED, Bytes(0x8000_0000_0000, 8, 0),
        id="read a non-canonical address"),
    row(R, Bytes(2**64 - 4, 8), FAILED, None, data=None, id="read past the end of all addresses"),
    row(W, lambda t: Bytes(t.scratch, 3), OK, lambda t: Bytes(t.scratch, 3, 3), sent=b"abc",
        id="write"),
    row(W, lambda t: Bytes(t.scratch, 8), FAILED, lambda t: Bytes(t.scratch, 8, 3), sent=b"abc",
        id="write less than announced"),
    row(W, Bytes(NOWHERE, 1), FAILED, Bytes(NOWHERE, 1, 0), sent=b"a", id="write to nowhere"),
    row(W, lambda t: Bytes(t.code, 1), OK, lambda t: Bytes(t.code, 1, 1),
        sent=lambda t: t.read(t.code, 1), id="write to read-only code"),
    # Physical memory: the caching kind stands where the reply has the count.
    *(row(PR, lambda t, kind=kind: Bytes(physical(t, t.kernel), 2, kind), OK,
          lambda t: Bytes(physical(t, t.kernel), 2, 2), data=b"MZ", id=f"read physical, {name}")
      for kind, name in enumerate(("default", "cached", "uncached", "write-combined"))),
    row(PR, Bytes(RAM - 4, 8), FAILED, Bytes(RAM - 4, 8, 4), data=None,
        id="read physical: the prefix that is RAM"),
    row(PR, Bytes(2**40, 8), FAILED, Bytes(2**40, 8, 0), id="read physical where no RAM is"),
    row(PW, Bytes(PAGE, 3, 2), OK, Bytes(PAGE, 3, 3), sent=b"abc", id="write physical"),
    row(PW, Bytes(RAM, 1), FAILED, Bytes(RAM, 1, 0), sent=b"a", id="write physical: no RAM"),
    # Contexts. SetContext goes by the flags inside the CONTEXT.
    row(GC, ContextArguments(0xDEAD), OK, data=None, id="context"),
    row(GC, None, OK, data=None, processor=lambda t: t.stop.processors - 1,
        id="context of the last processor"),
    row(GC, None, FAILED, processor=lambda t: t.stop.processors, id="context of no processor"),
    row(SC, None, OK, sent=lambda t: t.context(0).raw, id="set context"),
    row(SC, None, INVALID, sent=b"short", first=lambda t: t.context(0), id="set a short context"),
    row(SC, None, FAILED, sent=bytes(CONTEXT_SIZE), processor=lambda t: t.stop.processors,
        id="set the context of no processor"),
    row(GX, ContextEx(0, 1232), OK, ContextEx(0, 1232, 1232), data=lambda t: t.context(0).raw,
        id="context, all at once"),
    row(GX, ContextEx(0xF8, 8), OK, ContextEx(0xF8, 8, 8),
        data=lambda t: t.context(0).raw[0xF8:0x100], id="context, eight bytes of it"),
    row(GX, ContextEx(1228, 8), OK, ContextEx(1228, 8, 4), data=None, id="context, past its end"),
    row(GX, ContextEx(1232, 4), FAILED, ContextEx(1232, 4, 0), id="context, behind its end"),
    row(SX, ContextEx(0, 100, 1232), OK, ContextEx(0, 100, 100),
        sent=lambda t: t.context(0).raw[:100], id="set context, first piece"),
    row(SX, ContextEx(100, 1132, 1232), OK, ContextEx(100, 1132, 1132),
        sent=lambda t: t.context(0).raw[100:], id="set context, last piece"),
    row(SX, ContextEx(1200, 100, 1300), FAILED, ContextEx(1200, 100, 0), sent=bytes(100),
        id="set context, too long"),
    # Control space: the selector stands in the address.
    row(CS, Bytes(PCR, 8), OK, Bytes(PCR, 8, 8), id="control space: KPCR",
        data=lambda t: (t.space(PRCB) - 0x180).to_bytes(8, "little")),
    row(CS, Bytes(PRCB, 8), OK, Bytes(PRCB, 8, 8), id="control space: KPRCB",
        data=lambda t: t.read(t.space(PCR) + 0x20, 8)),
    row(CS, Bytes(THREAD, 8), OK, Bytes(THREAD, 8, 8), id="control space: KTHREAD",
        data=lambda t: t.read(t.space(PRCB) + 8, 8)),
    row(CS, Bytes(SPECIAL, 240), OK, Bytes(SPECIAL, 240, 240), id="control space: registers",
        data=lambda t: t.read(t.space(PRCB) + 0x100, 240)),
    row(CS, Bytes(SPECIAL, 168), OK, Bytes(SPECIAL, 168, 168), data=lambda t: t.special()[:168],
        id="control space: registers, as much as asked for"),
    row(CS, Bytes(4, 8), FAILED, Bytes(4, 8, 0), id="control space: no such selector"),
    row(CS, Bytes(PCR, 8), FAILED, Bytes(PCR, 8, 0), processor=lambda t: t.stop.processors,
        id="control space of no processor"),
    row(CW, Bytes(SPECIAL, 240), OK, Bytes(SPECIAL, 240, 240), sent=lambda t: t.special(),
        id="write control space"),
    row(CW, Bytes(PCR, 8), FAILED, Bytes(PCR, 8, 0), sent=bytes(8),
        id="write control space: addresses stay"),
    # Breakpoints: 32 handles.
    row(BP, lambda t: Breakpoint(t.code), OK, lambda t: Breakpoint(t.code, 1), id="breakpoint"),
    row(BP, lambda t: Breakpoint(t.code), FAILED, lambda t: Breakpoint(t.code, 0), first=planted,
        id="breakpoint: one for each address"),
    row(BP, Breakpoint(NOWHERE), FAILED, Breakpoint(NOWHERE, 0), id="breakpoint nowhere"),
    row(BP, lambda t: Breakpoint(t.code + 32), FAILED, lambda t: Breakpoint(t.code + 32, 0),
        first=all_planted, id="breakpoint: the 33rd"),
    row(BC, Handle(1), OK, first=planted, id="clear breakpoint"),
    row(BC, Handle(1), FAILED, id="clear a breakpoint that is not there"),
    row(BC, Handle(0), FAILED, id="clear breakpoint 0"),
    row(BC, Handle(33), FAILED, id="clear breakpoint 33"),
    row(BPX, BreakpointEx(2), OK, BreakpointEx(2), id="many breakpoints",
        sent=lambda t: ELEMENT.pack(t.code, 0) + ELEMENT.pack(t.code + 1, 0),
        data=lambda t: ELEMENT.pack(t.code, 1) + ELEMENT.pack(t.code + 1, 2)),
    row(BPX, BreakpointEx(2), FAILED, BreakpointEx(2), id="many breakpoints, one of them nowhere",
        sent=lambda t: ELEMENT.pack(t.code, 0) + ELEMENT.pack(NOWHERE, 0),
        data=lambda t: ELEMENT.pack(t.code, 1) + ELEMENT.pack(NOWHERE, 0)),
    row(BPX, BreakpointEx(33), INVALID, BreakpointEx(33), sent=bytes(33 * 16),
        id="many breakpoints: too many"),
    row(BCX, BreakpointEx(1), OK, BreakpointEx(1), first=planted, sent=struct.pack("<I", 1),
        data=struct.pack("<I", 1), id="clear many breakpoints"),
    row(BCX, BreakpointEx(2), INVALID, BreakpointEx(2), sent=b"", id="clear many: none named"),
    # Model-specific registers, of the processor the debugger looks at.
    row(RM, Msr(EFER), OK, Msr(EFER, 0xD01, 0), id="read EFER"),
    row(RM, Msr(LSTAR), OK, lambda t: lstar(t), id="read LSTAR"),
    row(RM, Msr(NO_MSR), NO_DEVICE, Msr(NO_MSR), id="read an MSR that faults"),
    row(WM, lambda t: lstar(t), OK, id="write LSTAR"),
    row(WM, Msr(NO_MSR, 1, 2), NO_DEVICE, id="write an MSR that faults"),
    # Ports: nobody decodes them, so the bus floats.
    *(row(IN, Port(0x70, size), OK, Port(0x70, size, 2 ** (8 * size) - 1), id=f"read port, {size}")
      for size in (1, 2, 4)),
    row(IN, Port(0x70, 3), INVALID, id="read port, 3"),
    row(OUT, Port(0x80, 1, 0x55), OK, id="write port"),
    row(OUT, Port(0x80, 8, 0x55), INVALID, id="write port, 8"),
    row(INX, PortEx(2, 1, 0, 1, 0x70), OK, PortEx(2, 1, 0, 1, 0x70, 0xFFFF), id="read port of bus"),
    row(OUTX, PortEx(4, 1, 0, 1, 0x70, 1), OK, id="write port of bus"),
    row(Api.GET_BUS_DATA, Bus(4, 0, 0, 0, 64), FAILED, Bus(4, 0, 0, 0, 0), id="bus data: no bus"),
    row(Api.SET_BUS_DATA, Bus(4, 0, 0, 0, 4), FAILED, Bus(4, 0, 0, 0, 0), sent=bytes(4),
        id="set bus data: no bus"),
    # Searching, filling, asking what is there.
    row(SEARCH, lambda t: Search(t.kernel, 0x1000, 4), OK,
        lambda t: Search(t.kernel + pe_header(t), 0x1000, 4), sent=b"PE\0\0", id="search"),
    row(SEARCH, lambda t: Search(t.kernel, 0x1000, 7), NOT_FOUND, sent=b"nowhere",
        id="search for what is not there"),
    row(SEARCH, lambda t: Search(t.kernel, 0x1000, 0), INVALID, id="search for nothing"),
    row(SEARCH, Search(NOWHERE, 0x1000, 1), FAILED, sent=b"a", id="search where nothing is"),
    row(FILL, lambda t: Fill(t.scratch, 7, 1, 3), OK, sent=b"abc", id="fill"),
    row(FILL, Fill(PAGE, 7, 2, 3), OK, sent=b"abc", id="fill physical"),
    row(FILL, lambda t: Fill(NOWHERE, 7, 1, 3), FAILED, Fill(NOWHERE, 0, 1, 3), sent=b"abc",
        id="fill nowhere"),
    row(FILL, lambda t: Fill(t.scratch, 7, 3, 3), INVALID, lambda t: Fill(t.scratch, 0, 3, 3),
        sent=b"abc", id="fill: neither virtual nor physical"),
    row(FILL, lambda t: Fill(t.scratch, 7, 1, 0), INVALID, lambda t: Fill(t.scratch, 0, 1, 0),
        id="fill with nothing"),
    row(QUERY, lambda t: Query(t.code), OK, lambda t: Query(t.code, 0, 2, 1 | 4 | 8),
        id="query code"),
    row(QUERY, lambda t: Query(t.data), OK, lambda t: Query(t.data, 0, 2, 1 | 2 | 8),
        id="query data"),
    row(QUERY, Query(NOWHERE), OK, Query(NOWHERE, 0, 2, 1 | 2 | 4),
        id="query nothing"),
    row(QUERY, Query(PAGE, 0, 1), INVALID, id="query no virtual memory"),
    row(Api.PAGE_IN, lambda t: Bytes(t.kernel, 0), FAILED, id="page in: nothing is paged out"),
    row(Api.CHECK_LOW_MEMORY, None, FAILED, id="check low memory"),
    # What Windows refuses as well.
    row(Api.QUERY_SPECIAL_CALLS, ContextArguments(0), FAILED, id="special calls"),
    row(Api.SET_SPECIAL_CALL, SpecialCallArguments(1), FAILED, id="set special call"),
    row(Api.CLEAR_SPECIAL_CALLS, None, FAILED, id="clear special calls"),
    row(Api.GET_INTERNAL_BREAKPOINT, InternalBreakpointArguments(1), FAILED,
        id="internal breakpoint"),
    row(Api.SWITCH_PARTITION, SwitchPartitionArguments(1), FAILED, id="switch partition"),
    row(Api.WRITE_CUSTOM_BREAKPOINT, lambda t: CustomBreakpoint(t.code, 0xCC, 0, 1, 1), FAILED,
        id="custom breakpoint"),
    row(Api.GET_VERSION, None, OK, lambda t: t.version, id="version"),
]  # fmt: skip


def edge(t: Live) -> int:
    """The first byte behind a mapped page, next to processor 0's KPCR."""
    page = t.space(PCR) & -0x1000
    while t.read(page, 1):
        page += 0x1000
    return page


def physical(t: Live, va: int) -> int:
    """By way of the page tables, all of it with physical reads."""
    table = SpecialRegisters(t.special()).get("cr3")
    for shift in (39, 30, 21, 12):
        slot = (table & 0x000F_FFFF_FFFF_F000) + (va >> shift & 0x1FF) * 8
        table = int.from_bytes(t.ask(PR, Bytes(slot, 8)).data, "little")
        if table & 0x80 and shift > 12:
            return (table & 0x000F_FFFF_FFFF_F000 & -(1 << shift)) + va % (1 << shift)
    return (table & 0x000F_FFFF_FFFF_F000) + va % 0x1000


def lstar(t: Live) -> Msr:
    value = SpecialRegisters(t.special()).get("lstar")
    return Msr(LSTAR, value & 0xFFFF_FFFF, value >> 32)


def pe_header(t: Live) -> int:
    return int.from_bytes(t.read(t.kernel + 0x3C, 4), "little")


@pytest.mark.parametrize(
    ("api", "arguments", "status", "answer", "sent", "data", "processor", "first"), ROWS
)
def test_a_request(live, api, arguments, status, answer, sent, data, processor, first):
    def value(given):
        return given(live) if callable(given) else given

    first(live)
    request = live.request(api, value(arguments), value(sent), value(processor))
    # Debuggers leave garbage where they have nothing to say; it comes back as it went.
    used = len(Manipulate.request(api, value(arguments)).header.rstrip(b"\0"))
    header = request.header[:12] + b"junk" + request.header[16:]
    header = header[: max(used, 0x34)] + b"\xa5" * (56 - max(used, 0x34))
    reply = live.connection.request(Manipulate(header, request.data))
    assert f"{reply.status:08x}" == f"{status:08x}"
    assert reply.header[12:16] == b"junk"
    assert reply.processor == request.processor
    kind = ARGUMENTS[api]
    if answer is not None:
        assert reply.arguments(kind) == value(answer)
    else:
        assert reply.header[UNION_OFFSET:] == header[UNION_OFFSET:]
    if data is not None:
        assert reply.data == value(data)
    for handle in range(1, 33):
        live.ask(BC, Handle(handle))


def test_every_request_has_a_row():
    unanswered = {api for api in Api if api in NO_REPLY}
    assert {param.values[0] for param in ROWS} == set(Api) - unanswered


@pytest.mark.parametrize("number", [0, 0x312F, 0x3154, 0x3155, 0x3161, 0xFFFF_FFFF])
def test_unknown_requests_are_refused(live, number):
    header = struct.pack("<IHHI", number, 0x6166, 110, 0x103).ljust(56, b"\x5a")
    reply = live.connection.request(Manipulate(header))
    assert reply.header == header[:8] + struct.pack("<I", FAILED) + header[12:]
