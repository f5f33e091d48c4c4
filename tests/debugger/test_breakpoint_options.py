"""Options of breakpoints: what they stop at, what tells two of them apart, what sets them again."""

from __future__ import annotations

import pytest

from kdsim.wire.context import CONTEXT_SIZE, Context
from tests.debugger.conftest import Kd
from tests.debugger.debugger_fakes import DATA, KERNEL

INNER = "nt!Inner:\nfffff807`11001040 4883ec18        sub     rsp,18h\n"


@pytest.mark.parametrize(
    ("condition", "stops"),
    [
        pytest.param("@rcx == 1", True, id="true"),
        pytest.param("@rcx == 0x10", False, id="false"),
        pytest.param("@rcx == 01 && 10 == 0xa", True, id="c++ numbers"),
        pytest.param("*(unsigned long*)@$t0 == 0x12345678", True, id="memory"),
    ],
)
def test_a_condition_is_a_cpp_expression(kd: Kd, condition: str, stops: bool) -> None:
    kd.run(f'r $t0 = nt!PoolHitTag; bp /w "{condition}" nt!Inner')
    assert kd.run("g") == ("Breakpoint 0 hit\n" + INNER if stops else "the toy program ended\n")


def test_a_condition_without_a_value_stops(kd: Kd) -> None:
    kd.run('bp /w "@nosuch" nt!Inner')
    assert kd.run("g") == "Bad register error at '@nosuch'\nBreakpoint 0 hit\n" + INNER
    assert kd.session.errors == 1


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        pytest.param("bp nt!Inner", 'bp nt!Inner "r"', 1, id="the command"),
        pytest.param("bp nt!Inner", "bp /1 nt!Inner", 1, id="one-shot"),
        pytest.param("bp nt!Inner", "bp /c 5 nt!Inner", 2, id="/c"),
        pytest.param("bp /C 5 nt!Inner", "bp /C 6 nt!Inner", 2, id="/C"),
        pytest.param("bp nt!Inner", "bp /p 1 nt!Inner", 2, id="/p"),
        pytest.param("bp nt!Inner", "bp /t 1 nt!Inner", 2, id="/t"),
        pytest.param("bp nt!Inner", 'bp /w "1" nt!Inner', 2, id="/w"),
        pytest.param("bp nt!Inner", "ba e1 nt!Inner", 2, id="hardware"),
        pytest.param("ba w4 nt!PoolHitTag", "ba w4 nt!PoolHitTag 2", 1, id="passes"),
        pytest.param("ba w4 nt!PoolHitTag", "ba r4 nt!PoolHitTag", 2, id="access"),
    ],
)
def test_what_makes_a_second_breakpoint(kd: Kd, first: str, second: str, count: int) -> None:
    assert kd.run(first) == ""
    assert kd.run(second) == ("breakpoint 0 redefined\n" if count == 1 else "")
    assert len(kd.session.breakpoints) == count


def test_a_number_that_is_taken_is_redefined(kd: Kd) -> None:
    kd.run("bp3 nt!Inner")
    assert kd.run("bp3 nt!Outer") == "breakpoint 3 redefined\n"
    assert kd.lines("bl") == [" 3 e fffff807`11001020     0001 (0001) nt!Outer"]


@pytest.mark.parametrize(
    "line",
    [
        "bp0 /1 0xfffff807`11001040 ;",
        "bp0 /p 0xffffa000`00002000 /t 0x5 0xfffff807`11001040 ;",
        'bp0 /c 0x5 /w "@rcx == 1" 0xfffff807`11001040 0x12 "r rax";',
        "ba0 w4 /C 0x3 0xfffff807`11003000 ;",
        'bu0 nt!Inner "kb";',
        "bu0 nosuch!name;",
    ],
)
def test_bpcmds_shows_what_sets_it_again(kd: Kd, line: str) -> None:
    kd.run(line)
    assert kd.lines(".bpcmds") == [line]


def test_enabling_does_not_begin_to_count_again(kd: Kd) -> None:
    kd.run("bp nt!Inner 2; bp nt!Outer; g; g")
    assert "0001 (0002)" in kd.lines("bl 0")[0]
    kd.run("bd 0; be 0")
    assert "0001 (0002)" in kd.lines("bl 0")[0]


def test_bl_shows_source_lines_unless_told_otherwise(kd: Kd) -> None:
    from kdsim.symbols.lines import SourceLine

    kd.run("bp nt!Inner; .lines -e")
    kd.space.lines[KERNEL + 0x1040] = SourceLine("inner.c", 7, 0x1040, 4)
    assert kd.lines("bl") == [" 0 e fffff807`11001040 [inner.c @ 7]     0001 (0001) nt!Inner"]
    assert kd.lines("bl /L") == [" 0 e fffff807`11001040     0001 (0001) nt!Inner"]


def test_data_breakpoints_applied_to_a_context(kd: Kd) -> None:
    kd.poke(DATA + 0x400, bytes(CONTEXT_SIZE))
    kd.run("ba w4 nt!PoolHitTag; ba e1 nt!Inner; bd 1; .apply_dbp /m nt!PoolHitTag+400")
    context = Context(kd.backend.virtual.peek(DATA + 0x400, CONTEXT_SIZE))
    assert (context.get("dr0"), context.get("dr1")) == (DATA, 0)
    assert context.get("dr7") == 0x400 | 2 | 0xD << 16
