"""SIGKILL on either side, at any point: the other goes on with whoever comes next."""

import os
import random
import subprocess
import sys
import time
from contextlib import closing

import pytest

from kdsim.debugger.backends.base import ModuleEvent, Reconnected, Resume, StopEvent
from kdsim.debugger.backends.live import LiveBackend
from tests.ports import free_udp_port
from tests.target.process import TargetProcess

KEY = "1.2.3.4"
PATIENCE = 60
CODE = 0x8000
"""Bytes of the kernel compared, its first code among them."""


class Lab:
    """A machine's command line and the way to it."""

    def __init__(self, folder, way):
        folder.chmod(0o700)
        self.folder = folder
        port = free_udp_port()
        if way == "net":
            self.place, self.transport = ("--port", str(port)), f"net:port={port},key={KEY}"
        else:
            self.place = ("--com", f"unix:{folder}/kd")
            self.transport = f"com:pipe,port={folder}/kd,reconnect"

    def target(self):
        return TargetProcess(self.folder, "lab", *self.place, "--wait", "--seed", "1", key=KEY)

    def debugger(self, commands):
        return subprocess.Popen(
            [sys.executable, "-m", "kdsim", "kd", "-k", self.transport, "-b", "-c", commands],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ,
        )

    def code(self):
        """The kernel's code, as a debugger sees it that has just come."""
        with closing(LiveBackend.from_text(self.transport)) as backend:
            backend.connect(PATIENCE)
            backend.break_in()
            assert stopped(backend)
            base = backend.version().kernel_base
            code = backend.read_virtual(base, CODE)
            assert len(code) == CODE
            return code


def stopped(backend):
    while not isinstance(event := backend.wait(PATIENCE), StopEvent):
        assert event is not None
        if isinstance(event, ModuleEvent):
            backend.resume(Resume())
            backend.break_in()
    return event


@pytest.fixture(params=["net", "pipe"])
def lab(request, tmp_path):
    return Lab(tmp_path, request.param)


def test_debuggers_die(lab):
    """None of them leaves a byte behind, above all no breakpoint."""
    chance = random.Random(1)
    busy = "bp nt!KeBugCheckEx; bp nt!ExAllocatePoolWithTag; .for (r $t0=0; 1; r $t0=@$t0+1) {t}"
    with lab.target() as target:
        target.banner()
        before = lab.code()
        for _ in range(5):
            debugger = lab.debugger(busy)
            time.sleep(0.3 + chance.random())
            debugger.kill()
            debugger.communicate()
            assert target.process.poll() is None
        assert lab.code() == before
        assert target.stop() == (0, "")


def test_targets_die(lab):
    """The debugger waits, and meets the machine that is started next."""
    first = lab.target()
    with first:
        first.banner()
        backend = LiveBackend.from_text(lab.transport)
        backend.connect(PATIENCE)
        assert stopped(backend)
        base = backend.version().kernel_base
        code = backend.read_virtual(base, CODE)
        first.process.kill()
    with closing(backend), lab.target() as second:
        second.banner()
        assert isinstance(backend.wait(PATIENCE), Reconnected)
        backend.break_in()
        assert stopped(backend)
        assert backend.version().kernel_base == base
        assert backend.read_virtual(base, CODE) == code
