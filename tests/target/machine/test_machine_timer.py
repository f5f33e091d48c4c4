"""Timed slices end, whatever happens to a stop."""

from __future__ import annotations

import threading
import time

import pytest

from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.processor import Exit
from kdsim.target.machine.timer import StopTimer
from tests.target.machine.conftest import DATA, HLT, KERNEL, Guest


def test_stops_are_repeated_until_the_slice_ends():
    stops: list[float] = []
    enough = threading.Event()

    def stop() -> None:
        stops.append(time.monotonic())
        if len(stops) == 3:
            enough.set()

    timer = StopTimer(stop)
    started = time.monotonic()
    timer.begin(0.01)
    assert enough.wait(10)
    timer.end()
    count = len(stops)
    assert timer.expired
    assert stops[0] - started >= 0.01
    timer.begin(30)
    assert not timer.expired
    timer.end()
    timer.close()
    assert len(stops) == count


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("48ff07", id="inc"),
        pytest.param("f048ff07", id="lock inc"),
        pytest.param("48830701", id="add"),
        pytest.param("b801000000f0480fc107", id="lock xadd"),
        pytest.param("5848ff0750", id="pop inc push"),
        pytest.param("488b0748ffc0488707", id="xchg"),
        pytest.param("488b07488d4801f0480fb10f", id="lock cmpxchg"),
    ],
)
def test_a_slice_ends_between_two_instructions(code: str):
    """A loop counts in memory and in R8; whoever counts twice is ahead."""
    guest = Guest(clock=Clock(ClockMode.WALL))
    body = bytes.fromhex("49ffc0" + code)
    start = b"\x48\xbf" + DATA.to_bytes(8, "little") + b"\x4d\x31\xc0"
    guest.start(start + body + b"\xeb" + bytes([256 - len(body) - 2]))
    cpu = guest.machine.processors[0]
    for _ in range(300):
        assert cpu.run(timeout=60) is Exit.SLICE
        assert guest.space.read_u64(DATA) == cpu.r8
    assert cpu.r8 > 300
    guest.machine.close()


def test_a_lock_is_not_taken_twice():
    """xchg finds it free each time, since nobody else is there; the loop ends when not."""
    guest = Guest(clock=Clock(ClockMode.WALL))
    loop = "b801000000 488707 4885c0 750d 48ff4708 48c70700000000 ebe6 bbadde0000 f4"
    guest.start(b"\x48\xbf" + DATA.to_bytes(8, "little") + bytes.fromhex(loop))
    cpu = guest.machine.processors[0]
    for _ in range(300):
        assert cpu.run(timeout=60) is Exit.SLICE
    guest.machine.close()


def test_a_shorter_slice_ends_in_its_own_time():
    stopped = threading.Event()
    timer = StopTimer(stopped.set)
    timer.begin(60)
    timer.end()
    timer.begin(0.001)
    assert stopped.wait(10)
    timer.end()
    timer.close()


def test_closing_ends_the_thread():
    others = set(threading.enumerate())
    guest = Guest(clock=Clock(ClockMode.WALL))
    guest.start(b"\xeb\xfe")
    guest.machine.run(until=100_000)
    (thread,) = set(threading.enumerate()) - others
    guest.machine.close()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("microseconds", [1, 50, 1000])
def test_a_slice_that_expires_is_no_halt(guest: Guest, microseconds):
    cpu = guest.start(b"\xeb\xfe")
    for _ in range(20):
        assert cpu.run(timeout=microseconds) is Exit.SLICE
        assert cpu.rip == KERNEL


def test_a_halt_is_no_slice(guest: Guest):
    cpu = guest.start(b"\x90" + HLT)
    assert cpu.run(timeout=60_000_000) is Exit.HALTED
    assert cpu.rip == KERNEL + 2
