"""Running, stepping and breakpoints: exact text, with every step really done by the toy target."""

from __future__ import annotations

import struct

import pytest

from kdsim.debugger.backends.base import StopEvent
from kdsim.debugger.session import Session
from tests.debugger.conftest import Kd, qwords
from tests.debugger.debugger_fakes import (
    BREAKPOINT,
    DATA,
    KERNEL,
    LEAKY,
    PROCESS,
    SINGLE_STEP,
    load_event,
)

INNER = "nt!Inner:\nfffff807`11001040 4883ec18        sub     rsp,18h\n"
OUTER = "nt!Outer:\nfffff807`11001020 4883ec28        sub     rsp,28h\n"
AFTER_INNER = "nt!Outer+0x9:\nfffff807`11001029 4883c428        add     rsp,28h\n"
CALL_INNER = (
    "nt!Outer+0x4:\nfffff807`11001024 e817000000      call    nt!Inner (fffff807`11001040)\n"
)
LOOP_6 = "nt!Loop+0x6:\nfffff807`11001086 e895ffffff      call    nt!Outer (fffff807`11001020)\n"
LOOP_B = "nt!Loop+0xb:\nfffff807`1100108b 90              nop\n"
LOOP_C = "nt!Loop+0xc:\nfffff807`1100108c e88fffffff      call    nt!Outer (fffff807`11001020)\n"
RET = "nt!DbgBreakPointWithStatus+0x1:\nfffff807`11001001 c3              ret\n"

TRANSCRIPTS = {
    "t off the compiled-in int 3 moves one byte": [("t", RET), ("t", LOOP_6), ("t", OUTER)],
    "p steps over calls": [("p", RET), ("p", LOOP_6), ("p", LOOP_B), ("p", LOOP_C)],
    "count": [("t 3", RET + LOOP_6 + OUTER)],
    "breakpoint": [("bp nt!Inner", ""), ("g", "Breakpoint 0 hit\n" + INNER)],
    "breakpoint is hit each time": [
        ("bp nt!Inner", ""),
        ("g", "Breakpoint 0 hit\n" + INNER),
        ("g", "Breakpoint 0 hit\n" + INNER),
        ("g", "the toy program ended\n"),
    ],
    "step from a breakpoint": [
        ("bp nt!Inner", ""),
        ("g", "Breakpoint 0 hit\n" + INNER),
        ("t", "nt!Inner+0x4:\nfffff807`11001044 b805000000      mov     eax,5\n"),
    ],
    "breakpoint inside a call that is stepped over": [
        ("bp nt!Inner", ""),
        ("p 2", RET + LOOP_6),
        ("p", "Breakpoint 0 hit\n" + INNER),
    ],
    "g with an address": [("g nt!Loop+b", LOOP_B), ("bl", "")],
    "g from an address": [("g =nt!Loop+b nt!Loop+c", LOOP_C)],
    "gu": [
        ("g nt!Inner", INNER),
        ("gu", AFTER_INNER),
        ("gu", LOOP_B),
    ],
    "pt": [
        ("g nt!Inner", INNER),
        ("pt", "nt!Inner+0x13:\nfffff807`11001053 c3              ret\n"),
    ],
    "pc": [("pc", LOOP_6), ("pc", LOOP_C)],
    "tc": [
        ("tc", LOOP_6),
        (
            "tc",
            CALL_INNER,
        ),
    ],
    "tt": [("tt", RET)],
    "ph": [("ph", RET)],
    "pct": [("pct", RET), ("pct", LOOP_6)],
    "pa": [("pa nt!Loop+b", RET + LOOP_6 + LOOP_B)],
    "one shot": [
        ("bp /1 nt!Inner", ""),
        ("g", "Breakpoint 0 hit\n" + INNER),
        ("bl", ""),
    ],
    "passes": [
        ("bp nt!Inner 2", ""),
        ("bl", " 0 e fffff807`11001040     0002 (0002) nt!Inner\n"),
        ("g", "Breakpoint 0 hit\n" + INNER),
        ("bl", " 0 e fffff807`11001040     0001 (0002) nt!Inner\n"),
    ],
    "command of a breakpoint": [
        ('bp nt!Inner "r rip;.echo here"', ""),
        ("g", "rip=fffff80711001040\nhere\n" + INNER),
    ],
    "command does not run while stepping": [
        ('bp nt!Inner ".echo here"', ""),
        (
            "g nt!Outer+4",
            CALL_INNER,
        ),
        ("t", INNER),
    ],
    "conditional breakpoint": [
        ("bp nt!Inner \"j (@rsp == 1) ''; 'gc'\"", ""),
        ("g", "the toy program ended\n"),
    ],
    "a command that goes on ends the string": [
        ('bp nt!Inner ".echo hit; g; .echo never"', ""),
        ("g", "hit\nhit\nthe toy program ended\n"),
    ],
    "disabled": [
        ("bp nt!Inner", ""),
        ("bp nt!Loop+b", ""),
        ("bd 0", ""),
        (
            "bl",
            (
                " 0 d fffff807`11001040     0001 (0001) nt!Inner\n"
                " 1 e fffff807`1100108b     0001 (0001) nt!Loop+0xb\n"
            ),
        ),
        ("g", "Breakpoint 1 hit\n" + LOOP_B),
        ("be 0;g", "Breakpoint 0 hit\n" + INNER),
    ],
    "redefined": [
        ("bp nt!Inner", ""),
        ('bp nt!Inner "k"', "breakpoint 0 redefined\n"),
        ("bl", ' 0 e fffff807`11001040     0001 (0001) nt!Inner "k"\n'),
    ],
    "ids": [
        ("bp3 nt!Inner", ""),
        ("bp[1+1] nt!Outer", ""),
        ("br 3 7", ""),
        (
            "bl",
            (
                " 2 e fffff807`11001020     0001 (0001) nt!Outer\n"
                " 7 e fffff807`11001040     0001 (0001) nt!Inner\n"
            ),
        ),
        ("br 2 7", "Breakpoint 7 already exists\n"),
        ("? @$bp7", "Evaluate expression: -8765743034304 = fffff807`11001040\n"),
        ("bc 2-9", ""),
        ("bl", ""),
        ("bc 4", "Breakpoint 4 does not exist\n"),
    ],
    "filters by thread and process": [
        ("bp /t 1234 nt!Inner", ""),
        ("bp /p @$proc nt!Outer", ""),
        (
            "bl",
            (
                " 0 e fffff807`11001040     0001 (0001) nt!Inner\n"
                "     Match thread data 00000000`00001234\n"
                " 1 e fffff807`11001020     0001 (0001) nt!Outer\n"
                "     Match process data ffffa000`00002000\n"
            ),
        ),
        ("g", "Breakpoint 1 hit\n" + OUTER),
        ("g", "Breakpoint 1 hit\n" + OUTER),
    ],
    "bm": [
        (
            "bm nt!*er",
            ('  0: fffff807`11001020 @!"nt!Outer"\n  1: fffff807`11001040 @!"nt!Inner"\n'),
        ),
        (".bpcmds", 'bu0 @!"nt!Outer";\nbu1 @!"nt!Inner";\n'),
        ("bm nt!zzz*", "No matching code symbols found for 'nt!zzz*'; no breakpoints set\n"),
    ],
    "bs and bsc": [
        ("bp nt!Inner", ""),
        ('bs 0 "k"', ""),
        (".bpcmds", 'bp0 0xfffff807`11001040 "k";\n'),
        ('bsc 0 @rax==1 "r rax"', ""),
        ("bl", (" 0 e fffff807`11001040     0001 (0001) nt!Inner \"j @rax==1 'r rax'; 'gc'\"\n")),
    ],
    "refusals": [
        ("bp 1000", "Unable to set breakpoint at 00000000`00001000: the memory cannot be read\n"),
        ("ba w4 nt!PoolHitTag+1", "Data breakpoint must be aligned\n"),
        (
            "ba e4 nt!Inner",
            (
                "            ^ Data breakpoint must be 1, 2, 4 or 8 bytes (e: 1): "
                "Syntax error in 'ba e4 nt!Inner'\n"
            ),
        ),
        ("gn", ("gn: the target stopped at a breakpoint, not an exception; gN forces it\n")),
        ("~5s", "5 is not a valid processor number\n"),
    ],
    "registers after a step": [
        (
            ".prompt_allow +reg",
            (
                "Allowed:\n   sym - Symbol for current instruction\n"
                "   dis - Disassembly of current instruction\n"
                "   ea - Effective address for current instruction\n   reg - Register state\n"
                "   src - Source info for current instruction\nNot allowed:\n"
            ),
        ),
        ("pr", RET),
    ],
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(kd: Kd, name: str) -> None:
    for line, text in TRANSCRIPTS[name]:
        assert kd.run(line) == text, line


def test_breakpoints_are_out_of_memory_while_stopped(kd: Kd) -> None:
    code = kd.backend.virtual.peek(KERNEL + 0x1000, 0x100)
    kd.run("bp nt!Inner;bp nt!Outer;bp nt!Outer+9")
    for _ in range(4):
        kd.run("g")
        assert kd.backend.virtual.peek(KERNEL + 0x1000, 0x100) == code
        assert kd.backend.planted == {}


def test_data_breakpoint(kd: Kd) -> None:
    kd.run("ba w4 nt!PoolHitTag")
    assert kd.run("bl") == " 0 e fffff807`11003000 w 4 0001 (0001) nt!PoolHitTag\n"
    assert kd.run("g") == (
        "Breakpoint 0 hit\nnt!Inner+0xf:\nfffff807`1100104f 4883c418        add     rsp,18h\n"
    )
    assert [s.get("dr0") for s in kd.backend.specials] == [DATA, DATA]
    assert kd.run(".lastevent").startswith("Last event: Hit breakpoint 0\n")
    assert kd.run("bc 0;g") == "the toy program ended\n"


@pytest.mark.parametrize(
    ("command", "bits"),
    [
        pytest.param("ba e1 nt!Inner", 0x402, id="e1"),
        pytest.param("ba w1 nt!PoolHitTag", 0x10402, id="w1"),
        pytest.param("ba r4 nt!PoolHitTag", 0xF0402, id="r4"),
        pytest.param("ba w8 nt!PoolHitTag", 0x90402, id="w8"),
        pytest.param("ba i2 60", 0x60402, id="i2"),
    ],
)
def test_debug_register_bits(kd: Kd, command: str, bits: int) -> None:
    kd.run(command)
    kd.session.breakpoints.plant()
    assert kd.session.breakpoints.dr7() == bits


def test_four_data_breakpoints_and_no_more(kd: Kd) -> None:
    for offset in range(4):
        assert kd.run(f"ba w1 nt!PoolHitTag+{offset}") == ""
    assert "4 debug registers" in kd.run("ba w1 nt!PoolHitTag+4")


def test_deferred_breakpoint_is_resolved_when_its_module_loads(kd: Kd) -> None:
    assert kd.run("bu leaky!Worker") == (
        "Bp expression 'leaky!Worker' could not be resolved, adding deferred bp\n"
    )
    assert kd.run("bl") == " 0 eu                      0001 (0001) (leaky!Worker)\n"
    kd.poke(LEAKY + 0x1000, b"")
    kd.backend.virtual.map(LEAKY, size=0x2000)
    kd.backend.events += [load_event(), kd.backend.stop_event(BREAKPOINT)]
    kd.run("g")
    assert kd.run("bl") == " 0 e fffff807`20001000     0001 (0001) leaky!Worker\n"
    kd.backend.events += [load_event(unload=True), kd.backend.stop_event(BREAKPOINT)]
    kd.run("g")
    assert kd.run("bl") == " 0 eu                      0001 (0001) (leaky!Worker)\n"


def test_stop_at_a_module_load(kd: Kd) -> None:
    kd.run("sxe ld:leaky")
    kd.backend.events += [load_event("other.sys"), load_event(r"\??\C:\leaky.sys")]
    assert kd.run("g").splitlines()[:2] == [
        "ModLoad: fffff807`20000000 fffff807`20006000   other.sys",
        r"ModLoad: fffff807`20000000 fffff807`20006000   \??\C:\leaky.sys",
    ]
    assert kd.run(".lastevent").startswith(r"Last event: Load module \??\C:\leaky.sys")


def exception(code: int, *parameters: int, first: bool = True) -> StopEvent:
    return StopEvent(
        0, 2, 0xFFFFA000_00001000, KERNEL + 0x1040, code,
        address=KERNEL + 0x1040, parameters=parameters, first_chance=first,
    )  # fmt: skip


def test_access_violation(kd: Kd) -> None:
    kd.backend.contexts[0].set("rip", KERNEL + 0x1040)
    kd.backend.events.append(exception(0xC0000005, 1, 0x18))
    assert kd.run("g") == (
        "Access violation - code c0000005 (first chance)\n"
        "First chance exceptions are reported before any exception handling.\n"
        "This exception may be expected and handled.\n" + INNER
    )
    assert kd.run(".exr -1") == (
        "ExceptionAddress: fffff807`11001040 (nt!Inner)\n"
        "   ExceptionCode: c0000005 (Access violation)\n"
        "  ExceptionFlags: 00000000\n"
        "NumberParameters: 2\n"
        "   Parameter[0]: 0000000000000001\n"
        "   Parameter[1]: 0000000000000018\n"
        "Attempt to write to address 0000000000000018\n"
    )
    assert kd.run("? @$exr_code") == "Evaluate expression: 3221225477 = 00000000`c0000005\n"


def test_second_chance(kd: Kd) -> None:
    kd.backend.contexts[0].set("rip", KERNEL + 0x1040)
    kd.backend.events.append(exception(0xC0000005, 0, 0, first=False))
    assert kd.run("g") == "Access violation - code c0000005 (!!! second chance !!!)\n" + INNER


def test_exception_that_is_only_noted(kd: Kd) -> None:
    kd.run("sxn av")
    kd.backend.events += [exception(0xC0000005, 0, 0), kd.backend.stop_event(BREAKPOINT)]
    assert kd.run("g").startswith(
        "Access violation - code c0000005 (first chance)\nBreak instruction exception"
    )


def bugcheck(kd: Kd, reason: int) -> str:
    def crash() -> None:
        kd.backend.contexts[0].set("rcx", reason)
        kd.backend.contexts[0].set("rip", KERNEL + 0x1000)
        kd.backend.virtual.poke(DATA + 0x200, qwords(0xC4, 0x62, 0xFFFFA00012345678, 0xFFFF0000, 3))

    kd.backend.on_resume = crash
    return kd.run("g")


def test_bug_check(kd: Kd) -> None:
    def culprit(session: Session) -> None:
        session.out.line("Probably caused by : leaky.sys")

    kd.session.on_bugcheck = culprit
    assert (
        bugcheck(kd, 3)
        == """\
Break instruction exception - code 80000003 (first chance)

A fatal system error has occurred.
Debugger entered on first try; Bugcheck callbacks have not been invoked.

A fatal system error has occurred.

*******************************************************************************
*                                                                             *
*                        Bugcheck Analysis                                    *
*                                                                             *
*******************************************************************************

Use !analyze -v to get detailed debugging information.

BugCheck C4, {62, ffffa00012345678, ffff0000, 3}

Probably caused by : leaky.sys
nt!DbgBreakPointWithStatus:
fffff807`11001000 cc              int     3
"""
    )
    assert kd.run(".bugcheck") == (
        "Bugcheck code 000000C4\n"
        "Arguments 00000000`00000062 ffffa000`12345678 00000000`ffff0000 00000000`00000003\n"
    )
    assert kd.run("? @$bug_param1") == "Evaluate expression: 98 = 00000000`00000062\n"


def test_second_bug_check_break(kd: Kd) -> None:
    """After the callbacks kd says no more than that it happened."""
    assert bugcheck(kd, 4).startswith(
        "Break instruction exception - code 80000003 (first chance)\n"
        "\n"
        "A fatal system error has occurred.\n"
        "\n" + "*" * 79
    )


def test_unexpected_single_step(kd: Kd) -> None:
    kd.backend.contexts[0].set("rip", KERNEL + 0x1040)
    kd.backend.events.append(exception(SINGLE_STEP))
    assert kd.run("g") == "Single step exception - code 80000004 (first chance)\n" + INNER


def stand_in_break_routine(kd: Kd) -> None:
    """Where a break-in stops the kernel."""
    kd.backend.contexts[0].set("rip", KERNEL + 0x1000)
    kd.backend.contexts[0].set("rcx", 1)


class Impatient:
    """A target that runs until it is told to stop; the user presses Ctrl+C."""

    def __init__(self, kd: Kd) -> None:
        self._wait = kd.backend.wait
        self.presses = 1

    def __call__(self, timeout: float | None) -> object:
        if self.presses:
            self.presses -= 1
            raise KeyboardInterrupt
        return self._wait(timeout)


def test_control_c_breaks_in(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kd.backend, "resume", lambda how: stand_in_break_routine(kd))
    monkeypatch.setattr(kd.backend, "wait", Impatient(kd))
    assert "THIS IS NOT A BUG" in kd.run("g")
    assert kd.backend.log[-1] == "break in"


def test_control_c_without_an_answer_gives_the_prompt_back(
    kd: Kd, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Impatient(kd)
    waiting.presses = 9
    monkeypatch.setattr(kd.backend, "resume", lambda how: None)
    monkeypatch.setattr(kd.backend, "break_in", lambda: None)
    monkeypatch.setattr(kd.backend, "wait", waiting)
    assert kd.run("g") == "^C\n"


def test_interrupt_from_another_thread(kd: Kd, monkeypatch: pytest.MonkeyPatch) -> None:
    def resume(how: object) -> None:
        stand_in_break_routine(kd)
        kd.session.interrupt()

    monkeypatch.setattr(kd.backend, "resume", resume)
    assert "THIS IS NOT A BUG" in kd.run("g")


def test_long_listing_can_be_interrupted(kd: Kd) -> None:
    kd.session.interrupt()
    assert kd.run("db nt!PoolHitTag") == "^C\n"
    assert len(kd.lines("db nt!PoolHitTag")) == 8


def test_a_breakpoint_that_goes_on_by_itself_needs_no_stack(kd: Kd) -> None:
    # Loop: jmp to its own begin through Outer, 3000 times.
    kd.poke(KERNEL + 0x1080, bytes.fromhex("e89bffffff" + "e9f6ffffff"))
    kd.run("bp nt!Outer \"r $t0=@$t0+1; j (@$t0 < 0n3000) 'gc'; ''\"")
    kd.run("g =nt!Loop")
    assert kd.run("? @$t0") == "Evaluate expression: 3000 = 00000000`00000bb8\n"


def test_registers_are_written_back_before_running(kd: Kd) -> None:
    kd.run("r rax=1234")
    assert kd.backend.contexts[0].get("rax") == 0
    kd.run("t;t")
    assert kd.backend.contexts[0].get("rax") == 0x1234


def test_scope_dies_when_the_target_runs(kd: Kd) -> None:
    kd.backend.virtual.poke(PROCESS + 0x28, struct.pack("<Q", 0x1AD000))
    kd.run(".process /p ffffa000`00002000")
    assert kd.session.memory.process_cr3 == 0x1AD000
    kd.run("t;t")
    assert kd.session.memory.process_cr3 is None
    assert kd.session.scope.process == 0


def test_crash(kd: Kd) -> None:
    kd.backend.events.append(kd.backend.stop_event(BREAKPOINT))
    kd.run(".crash")
    assert "bugcheck" in kd.backend.log


def test_switching_the_processor(kd: Kd) -> None:
    assert kd.run("~1s") == OUTER
    assert kd.session.prompt == "1: kd> "
    assert kd.run("~0s;r rip") == (
        "nt!DbgBreakPointWithStatus:\nfffff807`11001000 cc              int     3\n"
        "rip=fffff80711001000\n"
    )
