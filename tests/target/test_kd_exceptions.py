"""Exceptions the kernel dispatches: chances, handlers, and bug checks."""

import pytest

from kdsim.target.machine.machine import Reason
from kdsim.wire.context import Context
from kdsim.wire.manipulate import (
    Api,
    Continue2Arguments,
    Manipulate,
)
from kdsim.wire.messages import LoadSymbolsChange
from kdsim.wire.target_connection import Request
from tests.target.booted import Debugged
from tests.target.guestcalls import bug_check, go_on

NOWHERE = 0xFFFF_FF00_0000_0000
NULL_PAGE = 0x1230
NON_CANONICAL = 1 << 60
ACCESS_VIOLATION = 0xC0000005
BREAKPOINT, SINGLE_STEP, WAKE = 0x80000003, 0x80000004, 0x80000007
NOT_HANDLED = 0x80010001
REFRESH = "KDTARGET: Refreshing KD connection\n"
BUGCHECK_FIRST, BUGCHECK_SECOND = 3, 4
"""DBG_STATUS_* of wdm.h."""
STOP_ON_EXCEPTION = 1
"""Bit of NtGlobalFlag: `!gflag +soe`."""
FIRST, SECOND = True, False
"""Chances; of an exception report: whether it is the first."""


def _stop_on_exception(target: Debugged) -> None:
    target.kernel.write("NtGlobalFlag", STOP_ON_EXCEPTION, 4)


def _fetch_from_nowhere(target: Debugged) -> None:
    """In a system thread, whose outermost filter ends it all."""
    target.jump(rip=NULL_PAGE)


def _read_at_dispatch_level(target: Debugged) -> None:
    """Where no thread's handlers count, as in a DPC."""
    target.system.machine.processors[target.script.reports[-1].processor].cr8 = 2
    target.jump(rip=target.kernel.address("KeReadStateEvent"), rcx=NON_CANONICAL)


@pytest.mark.parametrize(
    ("fault", "flags", "chances", "code"),
    [
        pytest.param(_fetch_from_nowhere, 0, [], 0x7E, id="system thread"),
        pytest.param(_fetch_from_nowhere, STOP_ON_EXCEPTION, [FIRST], 0x7E, id="its first chance"),
        pytest.param(_read_at_dispatch_level, 0, [SECOND], 0x1E, id="no handler"),
        pytest.param(
            _read_at_dispatch_level, STOP_ON_EXCEPTION, [FIRST, SECOND], 0x1E, id="both chances"
        ),
    ],
)
def test_an_exception_is_shown_at_its_chances_and_ends_in_a_bug_check(
    fresh, fault, flags, chances, code
):
    fresh.kernel.write("NtGlobalFlag", flags, 4)
    fault(fresh)
    for chance in chances:
        change = fresh.run_to_stop()
        assert (change.code, change.first_chance) == (ACCESS_VIOLATION, chance)
        assert change.pc == change.address
        assert bug_check(fresh)[0] == 0
        fresh.go(status=NOT_HANDLED)
    change = fresh.run_to_stop()
    assert (change.code, bug_check(fresh)[0]) == (BREAKPOINT, code)


@pytest.mark.parametrize(
    ("flags", "chance"),
    [
        pytest.param(STOP_ON_EXCEPTION, FIRST, id="first chance"),
        pytest.param(0, SECOND, id="second chance"),
    ],
)
def test_a_handled_exception_goes_on_with_the_debuggers_registers(fresh, flags, chance):
    fresh.kernel.write("NtGlobalFlag", flags, 4)
    _read_at_dispatch_level(fresh)
    change = fresh.run_to_stop()
    assert (change.code, change.first_chance) == (ACCESS_VIOLATION, chance)
    fresh.go()  # it has not been mended, so it happens again
    again = fresh.run_to_stop()
    assert (again.code, again.pc, again.first_chance) == (change.code, change.pc, chance)
    fresh.system.machine.processors[again.processor].cr8 = 0
    fresh.jump(rcx=fresh.kernel.address("PsLoadedModuleList"))
    assert isinstance(fresh.run_to_stop(), LoadSymbolsChange)


def test_an_exception_shows_where_it_happened_and_can_be_repaired(fresh):
    _stop_on_exception(fresh)
    first = fresh.script.reports[-1]
    back = first.pc + 1
    fresh.jump(rip=NULL_PAGE)
    change = fresh.run_to_stop()
    assert (change.code, change.first_chance) == (ACCESS_VIOLATION, FIRST)
    assert (change.pc, change.address) == (NULL_PAGE, NULL_PAGE)
    assert change.parameters == (8, NULL_PAGE)  # 8: an instruction fetch
    assert change.report.instructions == b""
    fresh.jump(rip=back)
    load = fresh.run_to_stop()
    assert isinstance(load, LoadSymbolsChange)


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
    fresh.step_off()
    machine = fresh.system.machine
    machine.run(until=machine.clock.now() + 3_000_000)
    fresh.stub.break_in()
    pc = fresh.run_to_stop().pc
    fresh.go(status=NOT_HANDLED)
    # Above DISPATCH_LEVEL it is no thread's own affair.
    change = fresh.run_to_stop()
    assert (change.code, change.pc, change.first_chance) == (BREAKPOINT, pc, SECOND)
    fresh.go(status=NOT_HANDLED)
    fresh.run_to_stop()
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
    _stop_on_exception(fresh)
    fresh.jump(rip=NULL_PAGE)
    first = fresh.run_to_stop()
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=1 - first.processor))
    assert fresh.script.reports[-1].code == WAKE
    fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=first.processor))
    again = fresh.script.reports[-1]
    assert (again.code, again.pc) == (first.code, first.pc)


# -- the two breaks of a bug check -----------------------------------------------------------------


def _status(target: Debugged) -> int:
    """What nt!DbgBreakPointWithStatus was called with, where the target stands."""
    change = target.script.reports[-1]
    assert change.pc == target.kernel.address("DbgBreakPointWithStatus")
    return Context(target.one(Api.GET_CONTEXT, processor=change.processor).data).get("rcx")


def _printed(target: Debugged) -> str:
    return "".join(text for text, _ in target.script.prints)


def test_a_bug_check_breaks_before_its_callbacks_and_for_ever_after(fresh):
    _fetch_from_nowhere(fresh)
    fresh.run_to_stop()
    assert _status(fresh) == BUGCHECK_FIRST
    text = _printed(fresh)
    assert text.startswith(f"{REFRESH}\n*** Fatal System Error: 0x0000007e\n")
    data = bug_check(fresh)
    for _ in range(3):
        go_on(fresh)
        assert _status(fresh) == BUGCHECK_SECOND
    assert (_printed(fresh), bug_check(fresh)) == (text, data)


def test_a_requested_crash_has_the_second_break_only(fresh):
    fresh.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    assert fresh.stub.stop is None
    fresh.run_to_stop()
    assert _status(fresh) == BUGCHECK_SECOND
    assert bug_check(fresh) == (0xE2, 0, 0, 0, 0)
    assert _printed(fresh).startswith(f"{REFRESH}\n*** Fatal System Error: 0x000000e2\n")
    go_on(fresh)
    assert _status(fresh) == BUGCHECK_SECOND


@pytest.mark.parametrize("other", [False, True], ids=["owner", "other processor"])
def test_a_crash_requested_in_a_bug_check_leads_to_its_second_break(fresh, other):
    _fetch_from_nowhere(fresh)
    number = fresh.run_to_stop().processor
    data = bug_check(fresh)
    if other:
        fresh.set_registers(rip=fresh.script.reports[-1].pc + 1)
        fresh.ask(Manipulate.request(Api.SWITCH_PROCESSOR, processor=1 - number))
    fresh.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    assert fresh.run_to_stop().processor == number
    assert (_status(fresh), bug_check(fresh)) == (BUGCHECK_SECOND, data)


def test_a_break_of_a_bug_check_that_nobody_handles_comes_again(fresh):
    _fetch_from_nowhere(fresh)
    fresh.run_to_stop()
    data = bug_check(fresh)
    for _ in range(2):
        fresh.go(status=NOT_HANDLED)
        change = fresh.run_to_stop()
        assert (change.code, change.first_chance) == (BREAKPOINT, SECOND)
        fresh.go(status=NOT_HANDLED)
        fresh.run_to_stop()
        assert (_status(fresh), bug_check(fresh)) == (BUGCHECK_SECOND, data)


def test_a_crash_can_be_requested_without_a_stack(fresh):
    raw = Context(fresh.one(Api.GET_CONTEXT, processor=fresh.script.reports[-1].processor).data)
    raw.set("rsp", NOWHERE)
    fresh.one(Api.SET_CONTEXT, data=raw.raw, processor=fresh.script.reports[-1].processor)
    fresh.ask(Manipulate.request(Api.CAUSE_BUGCHECK))
    assert fresh.stub.stop is None
