"""What `wt` makes of the instructions it is told of, and `wt` itself on the toy target."""

from __future__ import annotations

import pytest

from kdsim.debugger.commands.watch import Call, Watch
from tests.debugger.conftest import Kd

TRACES = {
    "a call and its return": (
        [("", "f"), ("call", "g"), ("", "g"), ("ret", "f"), ("", "f"), ("ret", "")],
        [
            "    2     0 [  0] f",
            "    2     0 [  1]   g",
            "    4     2 [  0] f",
        ],
        {"f": [4], "g": [2]},
    ),
    "a jump takes the place of the caller": (
        [("call", "thunk"), ("jump", "g"), ("", "g"), ("ret", "f"), ("ret", "")],
        [
            "    1     0 [  0] f",
            "    1     0 [  1]   thunk",
            "    2     0 [  1]   g",
            "    2     3 [  0] f",
        ],
        {"thunk": [1], "g": [2], "f": [2]},
    ),
    "a branch within the function is none of our business": (
        [("branch", "f"), ("jump", "f"), ("", "f"), ("ret", "")],
        ["    4     0 [  0] f"],
        {"f": [4]},
    ),
    "recursion": (
        [("call", "f"), ("ret", "f"), ("ret", "")],
        ["    1     0 [  0] f", "    1     0 [  1]   f", "    2     1 [  0] f"],
        {"f": [1, 2]},
    ),
    "an interrupt is a call": (
        [("", "isr"), ("", "isr"), ("ret", "f"), ("ret", "")],
        ["    1     0 [  0] f", "    2     0 [  1]   isr", "    2     2 [  0] f"],
        {"isr": [2], "f": [2]},
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_calls(name: str) -> None:
    steps, rows, totals = TRACES[name]
    tracker = Watch([Call("f")], shown=9)
    shown = []
    for kind, function in steps:
        stays = kind == "" and function == (tracker.stack[-1].name if tracker.stack else "")
        shown += tracker.step(kind, function, sequential=stays)
    assert shown == rows
    assert tracker.done
    assert {name: item.counts for name, item in tracker.totals.items()} == totals
    assert list(tracker.summary())[1] == f"{len(steps)} instructions were executed"


SESSIONS = {
    "a function": [
        ("g nt!Outer", None),
        (
            "wt",
            "Tracing nt!Outer to return address fffff807`1100108b\n"
            "    2     0 [  0] nt!Outer\n"
            "    5     0 [  1]   nt!Inner\n"
            "    4     5 [  0] nt!Outer\n"
            "\n"
            "9 instructions were executed\n"
            "\n"
            "Function Name                                  Invocations MinInst MaxInst AvgInst\n"
            "nt!Inner                                                 1       5       5       5\n"
            "nt!Outer                                                 1       4       4       4\n"
            "nt!Loop+0xb:\nfffff807`1100108b 90              nop\n",
        ),
    ],
    "without calls and table": [
        ("g nt!Outer", None),
        (
            "wt -nc -ns",
            "Tracing nt!Outer to return address fffff807`1100108b\n"
            "nt!Loop+0xb:\nfffff807`1100108b 90              nop\n",
        ),
    ],
    "only as deep as told": [
        ("g nt!Outer", None),
        (
            "wt -l 0 -ns",
            "Tracing nt!Outer to return address fffff807`1100108b\n"
            "    2     0 [  0] nt!Outer\n"
            "    4     5 [  0] nt!Outer\n"
            "nt!Loop+0xb:\nfffff807`1100108b 90              nop\n",
        ),
    ],
    "a breakpoint ends it": [
        ("g nt!Outer; bp nt!Inner", None),
        (
            "wt",
            "Tracing nt!Outer to return address fffff807`1100108b\n"
            "    2     0 [  0] nt!Outer\n"
            "Breakpoint 0 hit\n"
            "nt!Inner:\nfffff807`11001040 4883ec18        sub     rsp,18h\n",
        ),
    ],
    "elsewhere it is p": [
        ("g nt!Loop+b", None),
        ("wt", "nt!Loop+0xc:\nfffff807`1100108c e88fffffff      call    nt!Outer "
               "(fffff807`11001020)\n"),
    ],
    "to an address": [
        ("g nt!Loop+b", None),
        (
            "wt -ns nt!Inner",
            "    2     0 [  0] nt!Loop\n"
            "    2     0 [  1]   nt!Outer\n"
            "    2     0 [  1]   nt!Outer\n"
            "    2     2 [  0] nt!Loop\n"
            "nt!Inner:\nfffff807`11001040 4883ec18        sub     rsp,18h\n",
        ),
    ],
    "options of user mode": [("wt -oR", "wt -oR works in user mode only\n")],
}  # fmt: skip


@pytest.mark.parametrize("name", SESSIONS)
def test_wt(kd: Kd, name: str) -> None:
    for line, expected in SESSIONS[name]:
        printed = kd.run(line)
        assert expected is None or printed == expected
