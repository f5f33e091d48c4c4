"""Requests that have no reply, and what a live target says by itself: raw, over the wire."""

import struct

import pytest

from kdsim.wire.context import SpecialRegisters
from kdsim.wire.manipulate import Api, ContinueArguments, InternalBreakpointArguments, Status
from kdsim.wire.manipulate import MemoryArguments as Bytes
from kdsim.wire.manipulate import RestoreBreakpointArguments as Handle
from kdsim.wire.manipulate import WriteBreakpointArguments as Breakpoint
from kdsim.wire.messages import (
    CommandStringChange,
    ExceptionChange,
    GetString,
    LoadSymbolsChange,
    PrintString,
)
from tests.target.live import SPECIAL, Live, attached

BREAKPOINT, SINGLE_STEP, WAKE = 0x80000003, 0x80000004, 0x80000007
CONTINUE = 0x10002
TRACE_FLAG = 0x100
SYSTEM_TIME = 0xFFFF_F780_0000_0014
"""KUSER_SHARED_DATA.SystemTime: the clock interrupt writes it."""
WRITE_4 = 0x400 | 0xD0000 | 1
"""DR7: slot 0, data writes, four bytes."""


@pytest.fixture(params=[2, 4], ids=["2 processors", "4 processors"])
def target(request, tmp_path):
    with attached(tmp_path, processors=request.param) as live:
        yield live


@pytest.fixture
def two(tmp_path):
    with attached(tmp_path) as live:
        yield live


def test_one_instruction_by_the_control_set(target: Live):
    first = target.stop
    target.step_off()
    target.go(trace=True)
    stop = target.stopped()
    assert (stop.code, stop.processor) == (SINGLE_STEP, first.processor)
    assert first.pc + 1 < stop.pc or stop.pc < first.pc
    assert not target.context().get("eflags") & TRACE_FLAG
    assert stop.processors == first.processors


def test_one_instruction_by_the_context(two: Live):
    """Continue has no control set; the trace flag then comes in EFlags."""
    flags = two.context().get("eflags")
    two.set_context(rip=two.stop.pc + 1, eflags=flags | TRACE_FLAG)
    two.post(Api.CONTINUE, ContinueArguments(CONTINUE))
    assert two.stopped().code == SINGLE_STEP


def test_a_planted_breakpoint_is_hit_and_hidden(target: Live):
    place = target.nt.address("ExAllocatePoolWithTag")
    code = target.read(place, 16)
    planted = target.ask(Api.WRITE_BREAKPOINT, Breakpoint(place)).arguments(Breakpoint)
    assert target.read(place, 1) == b"\xcc"
    target.step_off()
    target.go()
    stop = target.stopped()
    assert (stop.code, stop.pc, stop.address) == (BREAKPOINT, place, place)
    assert stop.report.instructions == target.read(place, 16) == code
    gone = target.ask(Api.RESTORE_BREAKPOINT, Handle(planted.handle))
    assert gone.status == Status.UNSUCCESSFUL


def _watch_by_control_space(target: Live) -> None:
    for number in range(target.stop.processors):
        special = SpecialRegisters(target.special(number))
        special.set("dr0", SYSTEM_TIME)
        wanted = Bytes(SPECIAL, len(special.raw))
        assert target.ask(Api.WRITE_CONTROL_SPACE, wanted, special.raw, number).succeeded
    target.go(dr7=WRITE_4)


def _watch_by_contexts(target: Live) -> None:
    for number in range(target.stop.processors):
        target.set_context(number, dr0=SYSTEM_TIME, dr7=WRITE_4)
    target.post(Api.CONTINUE, ContinueArguments(CONTINUE))


@pytest.mark.parametrize("watch", [_watch_by_control_space, _watch_by_contexts])
def test_a_hardware_breakpoint(target: Live, watch):
    target.step_off()
    watch(target)
    stop = target.stopped()
    assert (stop.code, stop.report.dr6 & 0xF) == (SINGLE_STEP, 1)
    assert stop.report.dr7 & 1
    target.go(dr7=0x400)
    target.connection.break_in()
    assert target.stopped().code == BREAKPOINT
    assert target.stop.report.dr6 & 0xF == 0


def test_each_processor_in_turn(target: Live):
    first = target.stop
    # A processor's registers can be changed while another is looked at.
    for number in [*range(first.processors), first.processor]:
        target.post(Api.SWITCH_PROCESSOR, processor=number)
        stop = target.stopped()
        assert stop.processor == number
        assert stop.pc == target.context(number).get("rip")
        assert stop.code == (BREAKPOINT if number == first.processor else WAKE)
    target.post(Api.SWITCH_PROCESSOR, processor=first.processors)
    assert target.stopped().processor == first.processor


def test_a_running_target_breaks_in(target: Live):
    for _ in range(3):
        target.step_off()
        target.go()
        target.connection.break_in()
        stop = target.stopped()
        assert (stop.code, stop.pc) == (BREAKPOINT, target.nt.address("DbgBreakPointWithStatus"))
        assert stop.report.instructions[0] == 0xCC


def test_requests_about_internal_breakpoints_have_no_reply(two: Live):
    two.post(Api.SET_INTERNAL_BREAKPOINT, InternalBreakpointArguments(two.code))
    two.post(Api.CLEAR_ALL_INTERNAL_BREAKPOINTS)
    assert two.ask(Api.GET_VERSION).succeeded


def test_modules_come_and_go(two: Live):
    two.step_off()
    two.go()
    loads = []
    while not loads or not loads[-1].path.endswith("leaky.sys"):
        loads.append(two.says(LoadSymbolsChange))
        if not loads[-1].path.endswith("leaky.sys"):
            two.go()
    assert two.read(loads[-1].base, 2) == b"MZ"
    assert not any(load.unload for load in loads)
    assert loads[-1].path == r"\SystemRoot\System32\drivers\leaky.sys"


def test_a_bug_check_by_request_is_not_left(target: Live):
    target.post(Api.CAUSE_BUGCHECK)
    stop = target.stopped()
    assert stop.code == BREAKPOINT
    assert target.nt.read("KiBugCheckData") == 0xE2
    for _ in range(2):
        target.step_off()
        target.go()
        again = target.stopped()
        assert (again.code, again.pc, again.processor) == (stop.code, stop.pc, stop.processor)


def test_a_reboot_by_request(target: Live):
    processors = target.stop.processors
    target.write(target.scratch, b"gone")
    target.post(Api.REBOOT)
    farewell = target.says(LoadSymbolsChange)
    assert (farewell.unload, farewell.base, farewell.path) == (True, 2**64 - 1, "")
    # Some clients look around before they continue.
    assert target.read(target.kernel, 2) == b"MZ"
    target.go()
    stop = target.stopped()
    assert (stop.code, stop.processors) == (BREAKPOINT, processors)
    assert target.ask(Api.GET_VERSION).arguments(type(target.version)) == target.version
    assert target.read(target.scratch, 4) != b"gone"


# -- debug services ----------------------------------------------------------------------------


def _service(target: Live, number: int, *values: int) -> None:
    """Have the kernel execute `int 2Dh`, which then returns to the initial break."""
    routine = target.nt.address("DebugService2")
    place = routine + target.read(routine, 32).index(b"\xcd\x2d\xcc")
    back = target.scratch - 0x100
    target.write(back, struct.pack("<Q", target.stop.pc))
    arguments = dict(zip(("rcx", "rdx", "r8", "r9"), values, strict=False))
    target.set_context(rip=place, rsp=back, rax=number, **arguments)
    target.go()


def test_a_print(two: Live):
    two.write(two.scratch, b"a message\n")
    _service(two, 1, two.scratch, 10)
    assert two.says(PrintString).text == b"a message\n"
    assert two.stopped().code == BREAKPOINT


def test_a_prompt_and_its_answer(two: Live):
    two.write(two.scratch, b"Break, Ignore? ")
    _service(two, 2, two.scratch, 15, two.scratch + 32, 4)
    question = two.says(GetString)
    assert (question.prompt, question.limit) == (b"Break, Ignore? ", 4)
    two.connection.answer(question, b"ignore")
    two.stopped()
    assert two.read(two.scratch + 32, 4) == b"igno"
    assert two.context().get("rax") == 4


def test_a_command_string(two: Live):
    two.write(two.scratch, b"leaky\0.echo hi\0")
    for offset, start, length in ((32, 0, 5), (48, 6, 8)):
        counted = struct.pack("<HHIQ", length, length + 1, 0, two.scratch + start)
        two.write(two.scratch + offset, counted)
    _service(two, 5, two.scratch + 32, two.scratch + 48)
    change = two.says(CommandStringChange)
    assert (change.name, change.command) == ("leaky", ".echo hi")
    two.go()
    assert isinstance(two.stopped(), ExceptionChange)
