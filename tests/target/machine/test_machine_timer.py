"""Timed slices end, whatever happens to a stop."""

from __future__ import annotations

import threading
import time

import pytest

from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.processor import Exit
from kdsim.target.machine.timer import StopTimer
from tests.target.machine.conftest import HLT, KERNEL, Guest


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
