"""The two lines at the bottom, on terminals of all sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdsim.debugger.shell.bottomline import KEYS, BottomLine
from kdsim.debugger.text import width
from kdsim.errors import TargetGone
from tests.shell.synthetic import engine_over, kernel_pdb

FACTS = {
    "target": "net:port=50000",
    "build": "19041 x64",
    "processor": "cpu 0/2",
    "irql": "IRQL 2",
    "process": "메모리.exe 1a4",
    "state": "broken in",
}


@pytest.fixture
def bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BottomLine:
    line = BottomLine(engine_over({"nt": kernel_pdb(tmp_path)}).session)
    monkeypatch.setattr(line, "_ask", lambda: FACTS)
    return line


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        (100, "net:port=50000 | 19041 x64 | cpu 0/2 | IRQL 2 | 메모리.exe 1a4 | broken in"),
        (72, "19041 x64 | cpu 0/2 | IRQL 2 | 메모리.exe 1a4 | broken in"),
        (50, "cpu 0/2 | IRQL 2 | 메모리.exe 1a4 | broken in"),
        (40, "cpu 0/2 | 메모리.exe 1a4 | broken in"),
        (30, "메모리.exe 1a4 | broken in"),
        (20, "broken in"),
        (4, "brok"),
    ],
)
def test_what_a_narrow_terminal_goes_without(bottom: BottomLine, columns: int, status: str) -> None:
    assert bottom.status(columns) == status


@pytest.mark.parametrize("columns", [10, 24, 80, 200])
def test_lines_fill_the_terminal_and_no_more(bottom: BottomLine, columns: int) -> None:
    (_, hint), (_, status) = bottom('bp nt!x "k', columns, 24)
    assert width(hint.rstrip("\n")) <= columns
    assert width(status) == columns


def test_a_low_terminal_has_one(bottom: BottomLine) -> None:
    assert [style for style, _ in bottom("", 80, 8)] == ["class:status"]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        pytest.param("", KEYS, id="nothing"),
        pytest.param("!pcr", "!pcr [processor]   ", id="name"),
        pytest.param("db ", "db ", id="argument"),
        pytest.param('bp nt!x "dt nt!_E', "dt ", id="command-in-a-command"),
        pytest.param("lmv", "lm ", id="name-with-letters-of-its-own"),
        pytest.param(".echo ", ".echo <text>   text: ", id="nothing-to-complete"),
        pytest.param(".if", ".if (condition)", id="control"),
        pytest.param(".for (r $t0 = 0; @$t0", ".for (command", id="inside-a-loop's-head"),
        pytest.param(".for (r $t0", "r [register]", id="command-in-a-loop's-head"),
        pytest.param(".foreach /p", ".foreach ", id="switch-of-a-loop"),
        pytest.param("k; as x ", "as name text   Define", id="alias"),
        pytest.param("$$>a<scr", "$$>a<file argument", id="script"),
        pytest.param("nosuch ", "", id="unknown"),
        pytest.param("* remark", "", id="comment"),
    ],
)
def test_hint(bottom: BottomLine, typed: str, hint: str) -> None:
    shown = bottom.hint(typed, 120)
    assert shown.startswith(hint)
    assert bool(shown) == bool(hint)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (80, "dt [options] <type> [fields] [address]   fields: only these; name. opens one"),
        (40, "fields: only these; name. opens one"),
    ],
)
def test_what_matters_now_is_seen_on_a_narrow_terminal(
    bottom: BottomLine, columns: int, hint: str
) -> None:
    assert bottom.hint("dt nt!_EPROCESS Pcb", columns) == hint


def test_the_target_is_asked_once_for_each_stop(
    bottom: BottomLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(bottom, "_ask", lambda: asked.append(1) or FACTS)
    for typed in ("", "d", "dd", "dd nt"):
        bottom(typed, 80, 24)
    assert len(asked) == 1
    bottom._session.processor = 1
    bottom("", 80, 24)
    assert len(asked) == 2


def test_a_target_that_is_gone(tmp_path: Path) -> None:
    session = engine_over({"nt": kernel_pdb(tmp_path)}).session
    session.lost = TargetGone("no answer")
    assert BottomLine(session).status(80).endswith("no answer")
