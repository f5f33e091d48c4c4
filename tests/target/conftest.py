"""Machines at their initial break, and a place where machines are registered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.booted import Debugged


def _at_initial_break() -> Iterator[Debugged]:
    debugged = Debugged()
    debugged.run_to_stop()
    yield debugged
    debugged.system.close()


@pytest.fixture(scope="module")
def booted() -> Iterator[Debugged]:
    """For tests that leave it where it is."""
    yield from _at_initial_break()


@pytest.fixture
def fresh() -> Iterator[Debugged]:
    yield from _at_initial_break()


@pytest.fixture(scope="module")
def kernel(booted: Debugged):
    return booted.kernel


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machines are registered: the test's own folder."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path
