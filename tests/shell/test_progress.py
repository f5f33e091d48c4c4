"""The line that tells how far long work is."""

from __future__ import annotations

import pytest

from kdsim.debugger.output import Output
from kdsim.debugger.progress import DELAY, INTERVAL, Progress
from kdsim.debugger.text import clip, width
from tests.shell.synthetic import engine_over


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def nothing() -> None: ...


def test_short_work_shows_nothing() -> None:
    shown: list[str] = []
    clock = Clock()
    progress = Progress("Searching", 4, shown.append, nothing, clock)
    for _ in range(4):
        clock.now += DELAY / 8
        progress.advance()
    assert shown == []


def test_long_work_shows_its_share_now_and_then() -> None:
    shown: list[str] = []
    clock = Clock()
    progress = Progress("Loading symbols", 200, shown.append, nothing, clock)
    clock.now += DELAY
    for number in range(100):
        progress.advance(item=f"driver{number}")
        clock.now += INTERVAL / 8
    assert shown[0] == "Loading symbols: 0% driver0 - Ctrl+C stops"
    assert shown[-1].startswith("Loading symbols: 4")
    assert len(shown) == pytest.approx(100 / 8, abs=2)


def test_work_of_unknown_size() -> None:
    progress = Progress("Downloading nt.pdb", 0, print, nothing)
    assert progress.line() == "Downloading nt.pdb - Ctrl+C stops"
    progress.advance(0, "1.5 MB")
    assert progress.line() == "Downloading nt.pdb: 1.5 MB - Ctrl+C stops"


def test_work_that_only_looks_for_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    session = engine_over({}).session
    session.out.control = written.append
    monkeypatch.setattr("kdsim.debugger.progress.DELAY", 0.0)
    with session.progress("Searching"):
        session.check_interrupt()
    assert written == ["\rSearching - Ctrl+C stops\x1b[K", "\r\x1b[K"]


def test_the_user_ends_it() -> None:
    session = engine_over({}).session
    session.interrupt()
    with pytest.raises(KeyboardInterrupt), session.progress("Searching") as progress:
        progress.advance()


def test_the_line_goes_before_text_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setenv("COLUMNS", "12")
    out = Output(written.append)
    out.control = written.append
    out.status("a long line of progress")
    out.line("text")
    out.status("in a listing that goes on")
    out.write("half")
    monkeypatch.setattr("kdsim.debugger.output.QUIET", -1.0)
    out.status("not behind half a line")
    assert written == ["\ra long line\x1b[K", "\r\x1b[K", "text\n", "half"]


def test_nothing_without_a_terminal() -> None:
    written: list[str] = []
    Output(written.append).status("progress")
    assert written == []


@pytest.mark.parametrize(
    ("text", "columns", "clipped"),
    [
        pytest.param("abc", 3, "abc", id="fits"),
        pytest.param("abc", 2, "ab", id="too-long"),
        pytest.param("한글 메모리", 6, "한글 ", id="korean"),
        pytest.param("한글", 3, "한", id="half-a-syllable"),
        pytest.param("e\u0301x", 1, "e\u0301", id="combining-mark"),
    ],
)
def test_columns(text: str, columns: int, clipped: str) -> None:
    assert clip(text, columns) == clipped
    assert width(clipped) <= columns
