"""What was typed outlives the session, and sessions share it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kdsim.debugger.shell import history
from kdsim.debugger.shell.history import SharedHistory, open_history


def loaded(shared: SharedHistory) -> list[str]:
    async def all_of() -> list[str]:
        return [text async for text in shared.load()]

    return asyncio.run(all_of())


def test_kept_newest_first_and_each_once(tmp_path: Path) -> None:
    first = SharedHistory(tmp_path / "history")
    for line in ("k", ".echo 한글", ".for (;;) {\n k\n}", "k"):
        first.append_string(line)
    assert loaded(SharedHistory(tmp_path / "history")) == ["k", ".for (;;) {\n k\n}", ".echo 한글"]


def test_two_sessions_at_once(tmp_path: Path) -> None:
    one, two = SharedHistory(tmp_path / "history"), SharedHistory(tmp_path / "history")
    assert loaded(one) == loaded(two) == []
    one.append_string("from one")
    two.append_string("from two")
    one.look_again()
    two.look_again()
    assert loaded(one) == loaded(two) == ["from two", "from one"]


def test_a_long_file_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 3)
    shared = SharedHistory(tmp_path / "history")
    for number in range(9):
        shared.append_string(f"line {number}")
    assert loaded(SharedHistory(tmp_path / "history")) == ["line 8", "line 7", "line 6"]
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    open_history().append_string("k")


def test_the_file_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    open_history().append_string("k")
    assert history.history_path().stat().st_mode & 0o077 == 0
