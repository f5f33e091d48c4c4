"""The KD stub against a scripted debugger: every request, every kind of stop."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.target.lab import Verifier
from kdsim.target.machine.machine import Reason
from kdsim.target.ntos.addresses import SHARED_DATA
from kdsim.wire.connection import Request
from kdsim.wire.context import CONTEXT_SIZE, Context, SpecialRegisters
from kdsim.wire.manipulate import (
    NO_REPLY,
    Api,
    BreakpointExArguments,
    BusDataArguments,
    ContextExArguments,
    Continue2Arguments,
    FillArguments,
    IoArguments,
    IoExtendedArguments,
    Manipulate,
    MemoryArguments,
    MsrArguments,
    QueryMemoryArguments,
    RestoreBreakpointArguments,
    SearchArguments,
    Status,
    VersionArguments,
    WriteBreakpointArguments,
)
from kdsim.wire.messages import CommandStringChange, ExceptionChange, LoadSymbolsChange
from tests.target.booted import Debugged, names, small_lab
from tests.target.guestcalls import bug_check

NOWHERE = 0xFFFF_FF00_0000_0000
NULL_PAGE = 0x1230
BREAKPOINT, SINGLE_STEP, WAKE = 0x80000003, 0x80000004, 0x80000007
NOT_HANDLED = 0x80010001


CLOCK_LEVEL = 13
"""IRQL of the clock interrupt, in which a break-in stops."""


# -- the initial break -------------------------------------------------------------------------


def test_the_initial_break_is_the_int3_of_dbgbreakpointwithstatus(booted):
    change = booted.script.reports[0]
    assert isinstance(change, ExceptionChange)
    address = booted.kernel.address("DbgBreakPointWithStatus")
    assert (change.code, change.first_chance, change.parameters) == (BREAKPOINT, True, (0,))
    assert (change.pc, change.address) == (address, address)
    assert change.report.instructions[0] == 0xCC
    assert len(change.report.instructions) == 16
    assert (change.report.flags, change.report.cs, change.report.dr7) == (3, 0x10, 0x400)
    assert change.processors == 2
    prcb = next(p for p in booted.kernel.processors() if p.Number == change.processor)
    assert change.thread == prcb.CurrentThread
    assert change.level == prcb.CpuType == 6


def test_version_is_the_kernels_own_block(booted):
    version = booted.one(Api.GET_VERSION).arguments(VersionArguments)
    kernel = booted.kernel
    assert (version.major, version.minor, version.protocol, version.secondary) == (15, 19041, 6, 2)
    assert (version.flags & 7, version.machine) == (7, 0x8664)
    assert version.kernel_base == kernel.base
    assert version.module_list == kernel.address("PsLoadedModuleList")
    assert version.data_list == kernel.address("KdpDebuggerDataListHead")
    block = int.from_bytes(booted.read(version.data_list, 8), "little")
    assert block == kernel.address("KdDebuggerDataBlock")
    assert booted.read(block + 0x10, 4) == b"KDBG"


def test_garbage_in_a_request_is_echoed(booted):
    header = struct.pack("<IHHI", Api.READ_VIRTUAL, 0x6166, 110, 0xDEAD).ljust(56, b"\x5a")
    header = header[:16] + struct.pack("<QI", SHARED_DATA, 8) + header[28:]
    (reply,) = booted.ask(Manipulate(header))
    assert reply.status == Status.SUCCESS
    assert (reply.level, reply.processor) == (0x6166, 110)
    assert reply.header[12:16] == b"\x5a" * 4
    assert reply.header[32:] == b"\x5a" * 24


# -- memory ------------------------------------------------------------------------------------


def test_reads_are_clipped_to_the_transport(booted):
    base = booted.kernel.base
    reply = booted.one(Api.READ_VIRTUAL, MemoryArguments(base, 0x8000))
    assert reply.status == Status.SUCCESS
    assert len(reply.data) == reply.arguments(MemoryArguments).actual == booted.script.data_limit
    assert reply.data[:2] == b"MZ"


def _edge(booted) -> int:
    """The first byte behind a mapped page: the loader leaves one free behind each structure."""
    pcr = next(booted.kernel.processors()).address & ~0xFFF
    page = pcr
    while booted.system.memory.read_prefix(page, 1):
        page += 0x1000
    return page


@pytest.mark.parametrize(
    ("before", "size", "status", "actual"),
    [
        pytest.param(16, 16, Status.SUCCESS, 16, id="up-to-the-edge"),
        pytest.param(16, 32, Status.UNSUCCESSFUL, 16, id="prefix"),
        pytest.param(0, 4, Status.UNSUCCESSFUL, 0, id="nothing"),
        pytest.param(16, 0, Status.SUCCESS, 0, id="empty"),
    ],
)
def test_unreadable_memory_gives_the_readable_prefix(booted, before, size, status, actual):
    wanted = MemoryArguments(_edge(booted) - before, size)
    reply = booted.one(Api.READ_VIRTUAL, wanted)
    assert (reply.status, len(reply.data)) == (status, actual)
    assert reply.arguments(MemoryArguments).actual == actual


def test_writes_reach_the_writable_prefix_and_pass_read_only_pages(booted):
    edge = _edge(booted)
    old = booted.read(edge - 4, 4)
    reply = booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 4, 8), b"12345678")
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.UNSUCCESSFUL, 4)
    assert booted.read(edge - 4, 4) == b"1234"
    booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 4, 4), old)
    # The kernel's code is read-only to itself, not to its debugger.
    code = booted.kernel.address("KeBugCheckEx")
    byte = booted.read(code, 1)
    reply = booted.one(Api.WRITE_VIRTUAL, MemoryArguments(code, 1), byte)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.SUCCESS, 1)


def test_physical_memory_is_the_same_bytes(booted):
    walk = booted.system.memory.translate(booted.kernel.base)
    reply = booted.one(Api.READ_PHYSICAL, MemoryArguments(walk.pa, 64, actual=2))
    assert reply.data == booted.read(booted.kernel.base, 64)
    end = booted.system.machine.ram.size
    reply = booted.one(Api.READ_PHYSICAL, MemoryArguments(end - 4, 8))
    assert (reply.status, len(reply.data)) == (Status.UNSUCCESSFUL, 4)
    reply = booted.one(Api.WRITE_PHYSICAL, MemoryArguments(0x2000, 3), b"abc")
    assert reply.status == Status.SUCCESS
    assert booted.one(Api.READ_PHYSICAL, MemoryArguments(0x2000, 3)).data == b"abc"
    assert booted.one(Api.WRITE_PHYSICAL, MemoryArguments(end, 1), b"a").status != 0


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        pytest.param(b"This program", Status.SUCCESS, id="found"),
        pytest.param(b"not in there at all", Status.NOT_FOUND, id="absent"),
        pytest.param(b"", Status.INVALID_PARAMETER, id="no-pattern"),
    ],
)
def test_search(booted, pattern, status):
    base = booted.kernel.base
    # Put there what is looked for, across a page border.
    edge = booted.kernel.address("KdPrintDefaultCircularBuffer") | 0xFFF
    booted.one(Api.WRITE_VIRTUAL, MemoryArguments(edge - 5, 12), b"This program")
    wanted = SearchArguments(edge - 0x400, 0x800, len(pattern))
    reply = booted.one(Api.SEARCH_MEMORY, wanted, pattern)
    assert reply.status == status
    if status == Status.SUCCESS:
        assert reply.arguments(SearchArguments).address == edge - 5
    lost = SearchArguments(base - 0x1000, 0x800, 1)
    assert booted.one(Api.SEARCH_MEMORY, lost, b"x").status == Status.UNSUCCESSFUL


@pytest.mark.parametrize("physical", [False, True])
def test_fill(booted, physical):
    va = booted.kernel.address("KdPrintDefaultCircularBuffer")
    address = booted.system.memory.physical(va) if physical else va
    wanted = FillArguments(address, 7, 2 if physical else 1, 3)
    reply = booted.one(Api.FILL_MEMORY, wanted, b"abc")
    assert (reply.status, reply.arguments(FillArguments).length) == (Status.SUCCESS, 7)
    assert booted.read(va, 7) == b"abcabca"
    wrong = wanted._replace(flags=3)
    assert booted.one(Api.FILL_MEMORY, wrong, b"abc").status == Status.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("KeBugCheckEx", 1 | 4 | 8, id="code"),
        pytest.param("PsLoadedModuleList", 1 | 2 | 8, id="data"),
    ],
)
def test_query_memory(booted, name, flags):
    wanted = QueryMemoryArguments(booted.kernel.address(name))
    found = booted.one(Api.QUERY_MEMORY, wanted).arguments(QueryMemoryArguments)
    assert (found.space, found.flags, found.reserved) == (2, flags, 0)
    nowhere = booted.one(Api.QUERY_MEMORY, QueryMemoryArguments(NOWHERE))
    assert nowhere.arguments(QueryMemoryArguments) == (NOWHERE, 0, 2, 1 | 2 | 4)


# -- contexts and control space ----------------------------------------------------------------


def test_contexts_of_both_processors(booted):
    change = booted.script.reports[0]
    own, other = (
        Context(booted.one(Api.GET_CONTEXT, processor=number).data)
        for number in (change.processor, 1 - change.processor)
    )
    assert own.get("rip") == change.pc
    assert own.get("flags") == 0x10001F
    assert (own.get("cs"), own.get("ss")) == (0x10, 0x18)
    assert other.get("rip") != own.get("rip")
    assert booted.one(Api.GET_CONTEXT, processor=2).status == Status.UNSUCCESSFUL


def test_a_context_in_pieces_is_the_same(booted):
    whole = booted.one(Api.GET_CONTEXT).data
    pieces = b""
    for offset in range(0, CONTEXT_SIZE, 500):
        wanted = ContextExArguments(offset, 500)
        reply = booted.one(Api.GET_CONTEXT_EX, wanted)
        assert reply.arguments(ContextExArguments).total == len(reply.data)
        pieces += reply.data
    assert pieces == whole
    beyond = ContextExArguments(CONTEXT_SIZE, 4)
    assert booted.one(Api.GET_CONTEXT_EX, beyond).status == Status.UNSUCCESSFUL


def test_contexts_are_bytes_in_the_kprcb(booted):
    for prcb in booted.kernel.processors():
        context = booted.one(Api.GET_CONTEXT, processor=prcb.Number).data
        assert prcb.ProcessorState.ContextFrame.bytes() == context


def test_setting_a_context_needs_a_look_at_it_first(fresh):
    request = Manipulate.request(Api.SET_CONTEXT, None, bytes(CONTEXT_SIZE))
    (refused,) = fresh.ask(request)
    assert refused.status == Status.UNSUCCESSFUL
    raw = fresh.one(Api.GET_CONTEXT).data
    short = Manipulate.request(Api.SET_CONTEXT, None, raw[:100])
    get = Manipulate.request(Api.GET_CONTEXT)
    assert fresh.ask(get, short)[1].status == Status.INVALID_PARAMETER


def test_only_the_named_register_groups_are_set(fresh):
    context = Context(fresh.one(Api.GET_CONTEXT).data)
    context.set("flags", 0x100001)  # control registers only
    context.set("rip", context.get("rip") + 1)
    context.set("rbx", 0x1234)
    get = Manipulate.request(Api.GET_CONTEXT)
    _, done, after = fresh.ask(get, Manipulate.request(Api.SET_CONTEXT, None, context.raw), get)
    assert done.status == Status.SUCCESS
    assert Context(after.data).get("rip") == context.get("rip")
    assert Context(after.data).get("rbx") != 0x1234


def test_registers_set_by_the_debugger_reach_the_processor(fresh):
    number = fresh.script.reports[0].processor
    cpu = fresh.system.machine.processors[number]
    context = Context(fresh.one(Api.GET_CONTEXT, processor=number).data)
    context.set("rip", context.get("rip") + 1)
    context.set("r12", 0x1122334455667788)
    context.set("xmm7", 0xABCDEF << 64)
    get = Manipulate.request(Api.GET_CONTEXT, processor=number)
    half = CONTEXT_SIZE // 2
    parts = [
        Manipulate.request(
            Api.SET_CONTEXT_EX,
            ContextExArguments(start, half, CONTEXT_SIZE),
            context.raw[start : start + half],
            processor=number,
        )
        for start in (0, half)
    ]
    go = Manipulate.request(Api.CONTINUE)
    replies = fresh.ask(get, *parts, go)
    assert [reply.status for reply in replies] == [0, 0, 0]
    assert fresh.stub.stop is None
    assert cpu.r12 == 0x1122334455667788
    assert cpu.rip == context.get("rip")
    assert cpu.fxsave()[0xA0 + 7 * 16 : 0xA0 + 8 * 16] == (0xABCDEF << 64).to_bytes(16, "little")


def test_control_space(booted):
    for prcb in booted.kernel.processors():
        number = prcb.Number
        pcr, own, special, thread = (
            booted.one(Api.READ_CONTROL_SPACE, MemoryArguments(n, 0xF0), processor=number).data
            for n in range(4)
        )
        assert int.from_bytes(own, "little") == prcb.address
        view = booted.kernel.view("_KPCR", int.from_bytes(pcr, "little"))
        assert view.CurrentPrcb == prcb.address
        assert int.from_bytes(thread, "little") == prcb.CurrentThread
        registers = SpecialRegisters(special)
        cpu = booted.system.machine.processors[number]
        assert (registers.get("cr3"), registers.get("cr4")) == (cpu.cr3, cpu.cr4)
        assert registers.get("gs_base") == view.address
        assert registers.get("gdtr") == view.GdtBase
        assert (registers.get("idtr"), registers.get("idtl")) == (view.IdtBase, 0xFFF)
        assert registers.get("tr") == 0x40


@pytest.mark.parametrize(
    ("api", "selector", "processor", "status", "actual"),
    [
        pytest.param(Api.READ_CONTROL_SPACE, 2, 0, Status.SUCCESS, 168, id="short"),
        pytest.param(Api.READ_CONTROL_SPACE, 4, 0, Status.UNSUCCESSFUL, 0, id="selector"),
        pytest.param(Api.READ_CONTROL_SPACE, 2, 9, Status.UNSUCCESSFUL, 0, id="processor"),
        pytest.param(Api.WRITE_CONTROL_SPACE, 1, 0, Status.UNSUCCESSFUL, 0, id="read-only"),
    ],
)
def test_control_space_limits(booted, api, selector, processor, status, actual):
    reply = booted.one(api, MemoryArguments(selector, 168), processor=processor)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (status, actual)


def test_special_registers_can_be_written(fresh):
    number = fresh.script.reports[0].processor
    wanted = MemoryArguments(2, 0xF0)
    special = SpecialRegisters(fresh.one(Api.READ_CONTROL_SPACE, wanted, processor=number).data)
    special.set("cr2", 0x4242)
    special.set("dr0", 0xFFFFF80000001000)
    reply = fresh.one(Api.WRITE_CONTROL_SPACE, wanted, special.raw, processor=number)
    assert (reply.status, reply.arguments(MemoryArguments).actual) == (Status.SUCCESS, 0xF0)
    fresh.go()
    cpu = fresh.system.machine.processors[number]
    assert (cpu.cr2, cpu.dr0) == (0x4242, 0xFFFFF80000001000)


def test_model_specific_registers(fresh):
    efer = fresh.one(Api.READ_MSR, MsrArguments(0xC0000080)).arguments(MsrArguments)
    assert efer.low == 0xD01
    star = MsrArguments(0xC0000082, 0x9ABCDEF0, 0xFFFFF801)
    assert fresh.one(Api.WRITE_MSR, star).status == Status.SUCCESS
    assert fresh.one(Api.READ_MSR, MsrArguments(0xC0000082)).arguments(MsrArguments) == star
    assert fresh.one(Api.READ_MSR, MsrArguments(0x9999)).status == Status.NO_SUCH_DEVICE
    assert fresh.one(Api.WRITE_MSR, MsrArguments(0x9999)).status == Status.NO_SUCH_DEVICE


@pytest.mark.parametrize(
    ("api", "arguments", "status"),
    [
        pytest.param(Api.READ_IO, IoArguments(0x60, 1), Status.SUCCESS, id="port"),
        pytest.param(Api.READ_IO, IoArguments(0x60, 3), Status.INVALID_PARAMETER, id="size"),
        pytest.param(Api.WRITE_IO, IoArguments(0x60, 4, 5), Status.SUCCESS, id="write"),
        pytest.param(
            Api.READ_IO_EXTENDED, IoExtendedArguments(2, 0, 0, 0, 0x60), Status.SUCCESS, id="wide"
        ),
        pytest.param(
            Api.GET_BUS_DATA, BusDataArguments(4, 0, 0, 0, 64), Status.UNSUCCESSFUL, id="bus"
        ),
        pytest.param(Api.PAGE_IN, MemoryArguments(0, 0), Status.UNSUCCESSFUL, id="page-in"),
        pytest.param(Api.QUERY_SPECIAL_CALLS, None, Status.UNSUCCESSFUL, id="special-calls"),
        pytest.param(Api.SWITCH_PARTITION, None, Status.UNSUCCESSFUL, id="partition"),
    ],
)
def test_requests_with_little_behind_them(booted, api, arguments, status):
    assert booted.one(api, arguments).status == status


def test_an_absent_device_reads_as_ones(booted):
    assert booted.one(Api.READ_IO, IoArguments(0x60, 2)).arguments(IoArguments).value == 0xFFFF


def test_an_unknown_request_is_refused(booted):
    header = struct.pack("<I", 0x31FF).ljust(56, b"\0")
    (reply,) = booted.ask(Manipulate(header))
    assert reply.status == Status.UNSUCCESSFUL


RUN_CONTROL = {
    Api.CONTINUE,
    Api.CONTINUE2,
    Api.REBOOT,
    Api.CAUSE_BUGCHECK,
    Api.SWITCH_PROCESSOR,
}
QUESTIONS = [api for api in Api if api not in RUN_CONTROL | NO_REPLY]
numbers = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 4096, 2**32 - 1, SHARED_DATA, 2**64 - 1])
)


@pytest.fixture(scope="module")
def victim():
    """A machine that may come to harm."""
    target = Debugged()
    target.run_to_stop()
    return target


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    api=st.sampled_from(QUESTIONS),
    processor=st.sampled_from([0, 1, 2, 0xFFFF]),
    union=st.lists(numbers, min_size=5, max_size=5),
    data=st.binary(max_size=64),
)
def test_any_request_has_a_reply(victim, api, processor, union, data):
    head = struct.pack("<IHHII", api, 0, processor, 0x103, 0)
    request = Manipulate(head + struct.pack("<5Q", *union), data)
    (reply,) = victim.ask(request)
    assert reply.api == api
    assert len(reply.data) <= max(victim.script.data_limit, CONTEXT_SIZE)


# -- breakpoints -------------------------------------------------------------------------------


def _plant(target, address) -> int:
    reply = target.one(Api.WRITE_BREAKPOINT, WriteBreakpointArguments(address))
    return reply.arguments(WriteBreakpointArguments).handle


def test_a_breakpoint_is_hit_reported_without_itself_and_passed(fresh):
    routine = fresh.kernel.address("ExAllocatePoolWithTag")
    original = fresh.read(routine, 16)
    handle = _plant(fresh, routine)
    assert handle == 1
    assert fresh.read(routine, 1) == b"\xcc"
    _step_off(fresh)
    change = fresh.run_to_stop()
    assert (change.code, change.pc, change.address) == (BREAKPOINT, routine, routine)
    assert change.report.instructions == original
    # The target took it out to report the bytes there, as Windows does.
    reply = fresh.one(Api.RESTORE_BREAKPOINT, RestoreBreakpointArguments(handle))
    assert reply.status == Status.UNSUCCESSFUL
    fresh.go(trace=True)
    change = fresh.run_to_stop()
    assert change.code == SINGLE_STEP
    assert change.pc > routine
    assert change.report.dr6 & 0x4000
    assert not change.report.eflags & 0x100


def _step_off(target) -> None:
    """Go past the hard-coded int 3 and on."""
    target.set_registers(rip=target.script.reports[-1].pc + 1)
    target.go()


def test_a_hard_coded_int3_stops_again_unless_it_is_skipped(fresh):
    pc = fresh.script.reports[-1].pc
    fresh.go()
    assert fresh.run_to_stop().pc == pc


def test_breakpoint_handles(fresh):
    address = fresh.kernel.address("KeBugCheckEx")
    old = fresh.read(address, 64)
    assert [_plant(fresh, address + n) for n in range(32)] == list(range(1, 33))
    assert _plant(fresh, address + 40) == 0
    assert fresh.one(Api.RESTORE_BREAKPOINT, RestoreBreakpointArguments(5)).status == 0
    assert _plant(fresh, address + 3) == 0
    assert _plant(fresh, address + 40) == 5
    for handle in range(1, 33):
        reply = fresh.one(Api.RESTORE_BREAKPOINT, RestoreBreakpointArguments(handle))
        assert reply.status == Status.SUCCESS
    assert fresh.read(address, 64) == old
    for handle in (0, 1, 33, 0xFFFFFFFF):
        reply = fresh.one(Api.RESTORE_BREAKPOINT, RestoreBreakpointArguments(handle))
        assert reply.status == Status.UNSUCCESSFUL
    assert _plant(fresh, NOWHERE) == 0


def test_many_breakpoints_at_once(fresh):
    address = fresh.kernel.address("KeBugCheckEx")
    data = struct.pack("<QI4xQI4x", address, 0, NOWHERE, 0)
    reply = fresh.one(Api.WRITE_BREAKPOINT_EX, BreakpointExArguments(2), data)
    assert reply.status == Status.UNSUCCESSFUL
    assert struct.unpack("<QI4xQI4x", reply.data) == (address, 1, NOWHERE, 0)
    reply = fresh.one(Api.RESTORE_BREAKPOINT_EX, BreakpointExArguments(1), struct.pack("<I", 1))
    assert reply.status == Status.SUCCESS
    reply = fresh.one(Api.WRITE_BREAKPOINT_EX, BreakpointExArguments(3), data)
    assert reply.status == Status.INVALID_PARAMETER


def test_a_data_breakpoint_is_armed_on_every_processor(fresh):
    variable = fresh.kernel.address("PoolHitTag")
    for number in range(2):
        wanted = MemoryArguments(2, 0xF0)
        raw = fresh.one(Api.READ_CONTROL_SPACE, wanted, processor=number).data
        special = SpecialRegisters(raw)
        special.set("dr0", variable)
        fresh.one(Api.WRITE_CONTROL_SPACE, wanted, special.raw, processor=number)
    _skip(fresh)
    fresh.go(dr7=0x400 | 1 | 0xF << 16)  # read or write, 4 bytes
    change = fresh.run_to_stop()
    assert change.code == SINGLE_STEP
    assert change.report.dr6 & 1
    assert change.report.dr7 == 0xF0401
    name = fresh.kernel.pdb.nearest(change.pc - fresh.kernel.base).name
    assert "Pool" in name


def _skip(target) -> None:
    number = target.script.reports[-1].processor
    context = Context(target.one(Api.GET_CONTEXT, processor=number).data)
    context.set("rip", context.get("rip") + 1)
    get = Manipulate.request(Api.GET_CONTEXT, processor=number)
    target.ask(get, Manipulate.request(Api.SET_CONTEXT, None, context.raw, processor=number))


# -- run control -------------------------------------------------------------------------------


def test_switching_the_processor_reports_from_there_and_back(fresh):
    first = fresh.script.reports[-1]
    other = 1 - first.processor
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=other))
    change = fresh.script.reports[-1]
    assert (change.processor, change.code) == (other, WAKE)
    context = Context(fresh.one(Api.GET_CONTEXT, processor=other).data)
    assert change.pc == change.address == context.get("rip")
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=first.processor))
    change = fresh.script.reports[-1]
    assert (change.processor, change.code, change.pc) == (first.processor, BREAKPOINT, first.pc)


def test_a_break_in_comes_from_the_clock_interrupt(fresh):
    _step_off(fresh)
    machine = fresh.system.machine
    machine.run(until=machine.clock.now() + 3_000_000)
    fresh.stub.break_in()
    assert fresh.kernel.read("KdpBreakInRequested", 1) == 1
    change = fresh.run_to_stop()
    assert change.pc == fresh.kernel.address("DbgBreakPointWithStatus")
    assert fresh.kernel.read("KdpBreakInRequested", 1) == 0
    context = Context(fresh.one(Api.GET_CONTEXT, processor=change.processor).data)
    assert context.get("rcx") == 1
    prcb = next(p for p in fresh.kernel.processors() if p.Number == change.processor)
    assert prcb.DebuggerSavedIRQL == CLOCK_LEVEL


def test_a_requested_crash_is_bug_check_e2(fresh):
    fresh.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    assert fresh.stub.stop is None
    change = fresh.run_to_stop()
    assert change.code == BREAKPOINT
    assert fresh.kernel.read("KiBugCheckData") == 0xE2


def test_a_crash_can_be_requested_without_a_stack(fresh):
    raw = Context(fresh.one(Api.GET_CONTEXT, processor=fresh.script.reports[-1].processor).data)
    raw.set("rsp", NOWHERE)
    fresh.one(Api.SET_CONTEXT, data=raw.raw, processor=fresh.script.reports[-1].processor)
    fresh.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    assert fresh.stub.stop is None


def test_reboot_ends_the_run(fresh):
    fresh.ask(Manipulate.request(Api.REBOOT))
    assert fresh.stub.stop is None
    assert fresh.system.run().reason is Reason.RESTART


def test_a_driver_load_is_shown_and_waits_for_the_debugger(fresh):
    _step_off(fresh)
    change = fresh.run_to_stop()
    assert isinstance(change, LoadSymbolsChange)
    assert change.path.endswith("leaky.sys")
    assert not change.unload
    image = next(m for m in fresh.kernel.modules() if m.name == "leaky.sys")
    assert (change.base, change.size) == (image.base, image.size)
    assert fresh.read(change.pc, 1) == b"\xcc"
    fresh.go()
    fresh.system.machine.run(until=fresh.system.machine.clock.now() + 100_000)
    assert fresh.stub.stop is None


def test_prints_reach_the_debugger(fresh):
    _step_off(fresh)
    while not fresh.script.prints:
        fresh.run_to_stop()
        if fresh.stub.stop is not None and not fresh.script.prints:
            fresh.go()
    text, processor = fresh.script.prints[0]
    assert text.endswith("\n")
    assert processor in (0, 1)


# -- exceptions the kernel dispatches ----------------------------------------------------------


def _jump(target, **registers) -> None:
    """Go on with other registers."""
    target.set_registers(**registers)
    target.go()


def test_an_exception_shows_where_it_happened_and_can_be_repaired(fresh):
    first = fresh.script.reports[-1]
    back = first.pc + 1
    _jump(fresh, rip=NULL_PAGE)
    change = fresh.run_to_stop()
    assert (change.code, change.first_chance) == (0xC0000005, True)
    assert (change.pc, change.address) == (NULL_PAGE, NULL_PAGE)
    assert change.parameters == (8, NULL_PAGE)  # 8: an instruction fetch
    assert change.report.instructions == b""
    _jump(fresh, rip=back)
    load = fresh.run_to_stop()
    assert isinstance(load, LoadSymbolsChange)


def test_an_exception_nobody_handles_is_a_bug_check(fresh):
    _jump(fresh, rip=NULL_PAGE)
    fresh.run_to_stop()
    fresh.go(status=NOT_HANDLED)
    change = fresh.run_to_stop()
    code = fresh.kernel.read("KiBugCheckData")
    assert change.code == BREAKPOINT
    assert code in (0x7E, 0x1E)
    assert fresh.kernel.read("KiBugCheckData") == code


@pytest.mark.parametrize("skipped", [False, True], ids=["there", "skipped"])
def test_a_breakpoint_nobody_handles_is_the_guests(fresh, skipped):
    pc = fresh.script.reports[-1].pc
    if skipped:
        fresh.set_registers(rip=pc + 1)
    fresh.go(status=NOT_HANDLED)
    change = fresh.run_to_stop()
    assert change.pc == fresh.kernel.address("DbgBreakPointWithStatus")
    code, exception, address, *_ = bug_check(fresh)
    assert (code, exception & 0xFFFF_FFFF, address) == (0x7E, BREAKPOINT, pc)


def test_a_break_in_nobody_handles_is_a_bug_check_too(fresh):
    _step_off(fresh)
    machine = fresh.system.machine
    machine.run(until=machine.clock.now() + 3_000_000)
    fresh.stub.break_in()
    pc = fresh.run_to_stop().pc
    fresh.go(status=NOT_HANDLED)
    fresh.run_to_stop()
    # Above DISPATCH_LEVEL it is no thread's own affair.
    code, exception, address, *_ = bug_check(fresh)
    assert (code, exception & 0xFFFF_FFFF, address) == (0x1E, BREAKPOINT, pc)


def test_a_single_step_nobody_handles_is_the_guests(fresh):
    fresh.set_registers(rip=fresh.script.reports[-1].pc + 1)
    fresh.go(trace=True)
    change = fresh.run_to_stop()
    assert change.code == SINGLE_STEP
    fresh.go(status=NOT_HANDLED, trace=True)
    assert fresh.run_to_stop().code == BREAKPOINT
    code, exception, address, *_ = bug_check(fresh)
    assert (code, exception & 0xFFFF_FFFF, address) == (0x7E, SINGLE_STEP, change.pc)


def test_a_processor_without_a_handler_ends_the_run(fresh):
    processor = fresh.system.machine.current
    processor.set_idt(processor.idt_base, 0)
    fresh.script.requests.append(
        Request(Manipulate.request(Api.CONTINUE2, Continue2Arguments(NOT_HANDLED)))
    )
    stop = fresh.system.run()
    assert stop.reason is Reason.ERROR
    assert "triple fault" in stop.detail


def test_a_processor_may_be_switched_while_an_exception_is_shown(fresh):
    _jump(fresh, rip=NULL_PAGE)
    first = fresh.run_to_stop()
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=1 - first.processor))
    assert fresh.script.reports[-1].code == WAKE
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=first.processor))
    again = fresh.script.reports[-1]
    assert (again.code, again.pc) == (first.code, first.pc)


# -- debug services ----------------------------------------------------------------------------


@pytest.fixture
def buffer(fresh):
    va = fresh.kernel.address("KdPrintDefaultCircularBuffer")
    fresh.one(Api.WRITE_VIRTUAL, MemoryArguments(va, 16), b"Break, Ignore? \0")
    return va


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        pytest.param(b"i", b"i", id="answer"),
        pytest.param(b"a long answer", b"a lo", id="cut"),
        pytest.param(None, b"", id="nobody"),
    ],
)
def test_a_prompt_waits_for_its_answer(fresh, buffer, answer, result):
    number = fresh.script.reports[-1].processor
    fresh.script.answer = answer
    service = fresh.debug_service
    _jump(fresh, rip=service, rax=2, rcx=buffer, rdx=15, r8=buffer + 64, r9=4)
    fresh.system.machine.run()
    fresh.stub.hold()
    assert fresh.stub.stop is None
    (question,) = fresh.script.questions
    assert (question.prompt, question.limit) == (b"Break, Ignore? ", 4)
    cpu = fresh.system.machine.processors[number]
    assert (cpu.rax, cpu.rip) == (len(result), service + 3)
    assert fresh.system.memory.read(buffer + 64, len(result)) == result


def test_a_command_string(fresh, buffer):
    service = fresh.debug_service
    strings = b"".join(
        struct.pack("<HHIQ", length, length + 1, 0, buffer + start)
        for start, length in ((0, 5), (7, 6))
    )
    fresh.one(Api.WRITE_VIRTUAL, MemoryArguments(buffer + 32, 32), strings)
    _jump(fresh, rip=service, rax=5, rcx=buffer + 32, rdx=buffer + 48)
    change = fresh.run_to_stop()
    assert isinstance(change, CommandStringChange)
    assert (change.name, change.command) == ("Break", "Ignore")


def test_an_unloaded_driver_is_announced():
    target = Debugged(small_lab(verifier=Verifier()), break_at_boot=False)
    load = target.run_to_stop()
    while not load.path.endswith("leaky.sys"):
        target.go()
        load = target.run_to_stop()
    target.go()
    unload = target.run_to_stop()
    assert (unload.unload, unload.base, unload.path) == (True, load.base, load.path)
    target.go()
    machine = target.system.machine
    machine.run(until=machine.clock.now() + 10_000_000)
    assert "leaky.sys" not in names(target.kernel.modules())


# -- without a debugger ------------------------------------------------------------------------


def test_the_guest_does_not_notice_whether_a_debugger_is_there():
    digests = []
    for present in (True, False):
        target = Debugged(break_at_boot=False, present=present)
        machine = target.system.machine
        end = 20_000_000
        while machine.clock.now() < end:
            machine.run(until=end)
            if target.stub.stop is not None:
                target.ask(Manipulate.request(Api.CONTINUE))
        digests.append(machine.digest())
    assert digests[0] == digests[1]
