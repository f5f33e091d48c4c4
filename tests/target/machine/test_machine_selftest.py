"""The machine refuses an engine that is not the one it knows."""

from __future__ import annotations

import ctypes

import pytest

from kdsim.errors import TargetError
from kdsim.target.machine import engine, layout, processor, selftest
from kdsim.target.machine.engine import Engine
from kdsim.target.machine.ram import PhysicalMemory

check = selftest.check.__wrapped__


def test_this_engine_is_fine():
    check()


def test_a_moved_field_is_named(monkeypatch):
    monkeypatch.setitem(selftest._PUBLIC, "r9", selftest._PUBLIC["r10"])
    with pytest.raises(TargetError, match=r"unicorn 2\.1\.4\) differs: the place of r9"):
        check()


def test_without_the_cure_the_second_fault_is_noticed(monkeypatch):
    monkeypatch.setattr(processor, "_NO_EXCEPTION", 14)
    with pytest.raises(TargetError, match=r"two page faults in a row \(triple fault"):
        check()


def test_a_missing_cr8_is_noticed(monkeypatch):
    monkeypatch.setattr(layout, "HFLAGS2_CR8", 0)
    with pytest.raises(TargetError, match="differs: CR8"):
        check()


def test_stale_code_is_noticed(monkeypatch):
    monkeypatch.setattr(Engine, "forget_code", lambda self, va, size: None)
    with pytest.raises(TargetError, match="differs: changed code"):
        check()


def test_a_moved_counter_is_noticed(monkeypatch):
    monkeypatch.setattr(Engine, "used_up", property(lambda self: False))
    with pytest.raises(TargetError, match="differs: counting"):
        check()


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(TargetError, match="unicorn is not installed"):
        engine._load()


def test_a_library_that_cannot_be_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "_library_path", lambda: tmp_path / "libunicorn.so.2")
    with pytest.raises(TargetError, match="cannot be loaded"):
        engine._load()


def test_another_version(monkeypatch):
    monkeypatch.setattr(engine, "VERSION", (2, 9, 0))
    with pytest.raises(TargetError, match=r"is unicorn 2\.1\.4; this machine needs 2\.9\.0"):
        engine._load()


def test_another_state_size(monkeypatch):
    monkeypatch.setattr(layout, "STATE_SIZE", 4096)
    ram = PhysicalMemory("1M")
    with pytest.raises(TargetError, match="not the expected layout"):
        Engine(ram.pointer, ram.size)


def test_callbacks_that_raise_end_the_run():
    ram = PhysicalMemory("1M")
    made = Engine(ram.pointer, ram.size)
    ram.write(0x1000, b"\xcd\x80\xcd\x80")

    def interrupted(_vector: int) -> None:
        raise KeyboardInterrupt

    made.hook_interrupts(interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.start(0x1000, 0, 10)
    assert made.executed == 1
    made.close()


def test_the_engine_is_given_back():
    """Closing twice is harmless, and views die with their engine."""
    ram = PhysicalMemory("1M")
    made = Engine(ram.pointer, ram.size)
    made.close()
    made.close()
    assert ctypes.c_char.from_buffer(ram.view).value == b"\0"
