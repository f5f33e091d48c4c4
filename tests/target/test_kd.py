"""The KD stub against a scripted debugger: what it is told, and run control."""

import struct

import pytest

from kdsim.target.lab import Verifier
from kdsim.target.machine.machine import Reason
from kdsim.wire.context import Context
from kdsim.wire.manipulate import (
    Api,
    Manipulate,
    MemoryArguments,
    VersionArguments,
)
from kdsim.wire.messages import CommandStringChange, ExceptionChange, LoadSymbolsChange
from tests.target.booted import Debugged, names, small_lab

BREAKPOINT, WAKE = 0x80000003, 0x80000007

CLOCK_LEVEL = 13
"""IRQL of the clock interrupt, in which a break-in stops."""


# -- the initial break -----------------------------------------------------------------------------


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


# -- run control -----------------------------------------------------------------------------------


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
    fresh.step_off()
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


def test_reboot_ends_the_run(fresh):
    fresh.ask(Manipulate.request(Api.REBOOT))
    assert fresh.stub.stop is None
    assert fresh.system.run().reason is Reason.RESTART


def test_a_driver_load_is_shown_and_waits_for_the_debugger(fresh):
    fresh.step_off()
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
    fresh.step_off()
    while not fresh.script.prints:
        fresh.run_to_stop()
        if fresh.stub.stop is not None and not fresh.script.prints:
            fresh.go()
    text, processor = fresh.script.prints[0]
    assert text.endswith("\n")
    assert processor in (0, 1)


# -- debug services --------------------------------------------------------------------------------


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
    fresh.jump(rip=service, rax=2, rcx=buffer, rdx=15, r8=buffer + 64, r9=4)
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
    fresh.jump(rip=service, rax=5, rcx=buffer + 32, rdx=buffer + 48)
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


# -- without a debugger ----------------------------------------------------------------------------


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
