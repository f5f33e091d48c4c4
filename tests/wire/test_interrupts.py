# ruff: noqa: PT012
# What stands in the blocks is the step that an interrupt must not tear.
"""When Ctrl+C takes effect around a protocol step."""

import signal
import threading
from contextlib import contextmanager

import pytest

from kdsim.wire.interrupts import Deferrable, Interrupts


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


@contextmanager
def handled_by(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["the default handler", "a deferrable one"])
def interrupts(request):
    handler = signal.default_int_handler
    with handled_by(Deferrable(handler) if "deferrable" in request.param else handler):
        installed = signal.getsignal(signal.SIGINT)
        yield Interrupts()
        assert signal.getsignal(signal.SIGINT) is installed
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()


def test_it_waits_for_the_end_of_the_block(interrupts):
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts:
        ctrl_c()
        done.append("the step")
    assert done == ["the step"]


def test_it_waits_for_the_outermost_block(interrupts):
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts:
        with interrupts, Interrupts():
            ctrl_c()
        done.append("the step")
    assert done == ["the step"]


def test_it_comes_when_the_program_falls_asleep(interrupts):
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts:
        ctrl_c()
        done.append("the step")
        with interrupts.sleeping:
            done.append("asleep")
    assert done == ["the step"]


def test_it_comes_at_once_to_one_who_sleeps(interrupts):
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts, interrupts.sleeping:
        ctrl_c()
        done.append("still asleep")
    assert not done


def test_it_is_forgotten_when_the_block_fails(interrupts):
    with pytest.raises(ValueError, match="failed"), interrupts:
        ctrl_c()
        raise ValueError("failed")


def test_another_thread_leaves_it_alone(interrupts):
    inside, leave = threading.Event(), threading.Event()

    def step():
        with interrupts:
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=step)
    thread.start()
    inside.wait(5)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()
    leave.set()
    thread.join()


@pytest.mark.parametrize("ignored", [signal.SIG_IGN])
def test_one_that_is_ignored_stays_ignored(ignored):
    with handled_by(ignored):
        with Interrupts():
            ctrl_c()
        assert signal.getsignal(signal.SIGINT) is ignored
