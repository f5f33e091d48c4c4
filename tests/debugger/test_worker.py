"""`.process /i` and `.pagein` on a kernel that has a worker for the debugger."""

from __future__ import annotations

import struct

import pytest

from kdsim.symbols.symbols import Symbol
from tests.debugger.conftest import Kd, qwords
from tests.debugger.debugger_fakes import DATA, PROCESS

WORK, ATTACH, PAGE = DATA + 0x700, DATA + 0x708, DATA + 0x710


@pytest.fixture
def with_worker(kd: Kd) -> Kd:
    names = ("ExpDebuggerWork", "ExpDebuggerProcessAttach", "ExpDebuggerPageIn")
    kd.space.known["nt"] += [Symbol(n, 0x3700 + 8 * i, 0, "data") for i, n in enumerate(names)]
    return kd


def asked(kd: Kd) -> tuple[int, int, int]:
    data = kd.backend.virtual.peek(WORK, 24)
    return struct.unpack("<IxxxxQQ", data)


@pytest.mark.parametrize(
    ("line", "request_left"),
    [
        pytest.param(f".process /i {PROCESS:x}", (1, PROCESS, 0), id="process"),
        pytest.param(".process /i", (1, PROCESS, 0), id="the current process"),
        pytest.param(".pagein 12345", (1, 0, 0x12345), id="page"),
        pytest.param(f".pagein /p {PROCESS:x} 12345", (1, PROCESS, 0x12345), id="of a process"),
        pytest.param(".pagein /f nt", (1, 0, 0xFFFFF80711000000), id="kernel page"),
    ],
)
def test_a_request_is_left(with_worker: Kd, line: str, request_left: tuple[int, int, int]) -> None:
    assert with_worker.lines(line)[0].startswith("You need to continue execution (press 'g'")
    assert asked(with_worker) == request_left


def test_one_request_at_a_time(with_worker: Kd) -> None:
    with_worker.poke(WORK, qwords(1))
    assert with_worker.run(".pagein 12345") == (
        "The target has not done yet what it was asked before\n"
    )
    assert asked(with_worker) == (1, 0, 0)


@pytest.mark.parametrize("line", [".process /i", ".pagein 12345"])
def test_a_kernel_without_a_worker(kd: Kd, line: str) -> None:
    assert kd.run(line).startswith("This kernel has no worker for the debugger")
