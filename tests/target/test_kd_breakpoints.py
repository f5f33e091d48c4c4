"""The breakpoint table, hard-coded breakpoints and the debug registers."""

import struct

from kdsim.wire.context import SpecialRegisters
from kdsim.wire.manipulate import (
    Api,
    BreakpointExArguments,
    MemoryArguments,
    RestoreBreakpointArguments,
    Status,
    WriteBreakpointArguments,
)

NOWHERE = 0xFFFF_FF00_0000_0000
BREAKPOINT, SINGLE_STEP = 0x80000003, 0x80000004


def _plant(target, address) -> int:
    reply = target.one(Api.WRITE_BREAKPOINT, WriteBreakpointArguments(address))
    return reply.arguments(WriteBreakpointArguments).handle


def test_a_breakpoint_is_hit_reported_without_itself_and_passed(fresh):
    routine = fresh.kernel.address("ExAllocatePoolWithTag")
    original = fresh.read(routine, 16)
    handle = _plant(fresh, routine)
    assert handle == 1
    assert fresh.read(routine, 1) == b"\xcc"
    fresh.step_off()
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
    fresh.set_registers(rip=fresh.script.reports[-1].pc + 1)
    fresh.go(dr7=0x400 | 1 | 0xF << 16)  # read or write, 4 bytes
    change = fresh.run_to_stop()
    assert change.code == SINGLE_STEP
    assert change.report.dr6 & 1
    assert change.report.dr7 == 0xF0401
    name = fresh.kernel.pdb.nearest(change.pc - fresh.kernel.base).name
    assert "Pool" in name
