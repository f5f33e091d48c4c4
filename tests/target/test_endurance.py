"""A machine in wall-clock time under debuggers that come, break in, go on and leave."""

import gc
import os
import random
import re
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdsim.debugger.backends.base import Event, ModuleEvent, Resume, StopEvent
from kdsim.debugger.backends.live import LiveBackend
from kdsim.target.ntos.addresses import SHARED_DATA
from kdsim.wire.context import Context
from kdsim.wire.local import LocalClient
from kdsim.wire.manipulate import Api
from kdsim.wire.requests import Requests
from tests.labs import calm_lab
from tests.ports import free_udp_port
from tests.properties.patience import FUZZ_SECONDS
from tests.target.process import TargetProcess

KEY = "1.2.3.4"
INTERRUPT_TIME = SHARED_DATA + 8
SETTLED = 0.4
SECONDS = 1.0
VISITS = 6
PATIENCE = 60.0
"""Seconds for what happens at once on a machine that has nothing else to do."""
LONG = 60
"""Of KDSIM_FUZZ_SECONDS, from which on the long ones run."""


@dataclass
class Debuggers:
    """One after the other, each at the same transport."""

    transport: str
    random: random.Random
    visits: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds from a break-in to its stop."""
    held: float = 0.0
    """Seconds the machine stood still."""

    def visit(self) -> None:
        """Attach, break in and go on a few times, leave the machine running."""
        backend = LiveBackend.from_text(self.transport)
        with closing(backend):
            backend.connect(10)
            for _ in range(self.random.randrange(1, 5)):
                time.sleep(self.random.random() * 0.02)
                self.break_in(backend)
        self.visits += 1

    def break_in(self, backend: LiveBackend) -> None:
        start = time.monotonic()
        backend.break_in()
        while isinstance(event := _next(backend), ModuleEvent):
            backend.resume(Resume())
            backend.break_in()
        assert isinstance(event, StopEvent)
        stopped = time.monotonic()
        self.waits.append(stopped - start)
        base = backend.version().kernel_base
        assert backend.read_virtual(base, 2) == b"MZ"
        if backend.read_virtual(event.pc, 1) == b"\xcc":
            context = Context(backend.read_context(event.processor))
            context.set("rip", event.pc + 1)
            backend.write_context(event.processor, context.raw)
        backend.resume(Resume())
        self.held += time.monotonic() - stopped


def _next(backend: LiveBackend) -> Event:
    while True:
        event = backend.wait(10)
        assert event is not None, "no answer"
        if isinstance(event, ModuleEvent | StopEvent):
            return event


@dataclass(frozen=True)
class Burden:
    """What a process holds; the guest's own RAM aside."""

    megabytes: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Burden":
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes, threads = (
            int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE).group(1))
            for name in ("RssAnon", "Threads")
        )
        return cls(kilobytes / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads)


def machine_time(name: str) -> float:
    """Seconds the guest counts since power-on, read while it runs."""
    with closing(LocalClient(name)) as client:
        requests = Requests(client.request, 0x1000, 0x1000)
        raw = requests.read(Api.READ_VIRTUAL, INTERRUPT_TIME, 8)
        return int.from_bytes(raw, "little") / 1e7


def passes(name: str, moment: float) -> None:
    """Wait until the guest's time is beyond a moment."""
    deadline = time.monotonic() + PATIENCE
    while machine_time(name) <= moment:
        assert time.monotonic() < deadline, "the machine's time stands still"
        time.sleep(0.05)


def endure(folder: Path, way: str, seconds: float) -> None:
    """Let debuggers come and go for so long; the machine must be no worse for it."""
    if way == "net":
        port = free_udp_port()
        arguments, transport = ("--port", str(port)), f"net:port={port},key={KEY}"
    else:
        arguments, transport = ("--com", f"unix:{folder}/kd"), f"com:pipe,port={folder}/kd"
    with TargetProcess(folder, calm_lab(folder), *arguments, key=KEY) as target:
        name = target.banner().partition(":")[0]
        debuggers = Debuggers(transport, random.Random(1))
        debuggers.visit()
        time.sleep(SETTLED)
        burden, begun = Burden.of(target.process.pid), machine_time(name)
        start, held, waited = time.monotonic(), debuggers.held, sum(debuggers.waits)
        while time.monotonic() < start + seconds or debuggers.visits < VISITS:
            debuggers.visit()
        # Its clock stands still while it does, which begins some time before we know of it.
        stood = debuggers.held - held + sum(debuggers.waits) - waited
        passes(name, begun + 0.9 * (time.monotonic() - start - stood))
        # It runs when the last of them has left.
        passes(name, machine_time(name))
        time.sleep(SETTLED)
        after = Burden.of(target.process.pid)
        assert after.megabytes < burden.megabytes + 2
        assert (after.descriptors, after.threads) == (burden.descriptors, burden.threads)
        assert target.stop() == (0, "")


@pytest.mark.parametrize("way", ["net", "pipe"])
def test_debuggers_come_and_go(runtime, way):
    endure(runtime, way, SECONDS)


class Endured:
    """A machine whose clock runs as fast as it can, at KDNET."""

    def __init__(self, folder: Path) -> None:
        port = free_udp_port()
        self.transport = f"net:port={port},key={KEY}"
        arguments = (calm_lab(folder), "--port", str(port), "--seed", "1")
        self.target = TargetProcess(folder, *arguments, key=KEY)

    @contextmanager
    def unburdened(self):
        """What the block does must not make the machine hold more."""
        name = self.target.banner().partition(":")[0]
        debuggers = Debuggers(self.transport, random.Random(1))
        debuggers.visit()
        before = Burden.of(self.target.process.pid)
        yield name, debuggers
        time.sleep(SETTLED)
        after = Burden.of(self.target.process.pid)
        assert after.megabytes < before.megabytes + 8
        assert (after.descriptors, after.threads) == (before.descriptors, before.threads)
        assert self.target.stop() == (0, "")


def cycle(folder: Path, times: int) -> None:
    """Break in and go on, in one session."""
    endured = Endured(folder)
    with endured.target, endured.unburdened() as (_, debuggers):
        # What earlier tests left to the collector would go away meanwhile.
        gc.collect()
        own = Burden.of(os.getpid())
        with closing(LiveBackend.from_text(endured.transport)) as backend:
            backend.connect(10)
            for _ in range(times):
                debuggers.break_in(backend)
        gc.collect()
        grown = Burden.of(os.getpid())
        assert grown.megabytes < own.megabytes + 8
        assert grown.descriptors <= own.descriptors
        assert grown.threads <= own.threads


def pass_time(folder: Path, seconds: float) -> None:
    """So much machine time, with debuggers that come and go at random."""
    endured = Endured(folder)
    with endured.target, endured.unburdened() as (name, debuggers):
        end = machine_time(name) + seconds
        while machine_time(name) < end or debuggers.visits < VISITS:
            debuggers.visit()
            time.sleep(debuggers.random.random() * 0.1)


def test_break_in_and_go(runtime):
    cycle(runtime, 300)


def test_minutes_of_machine_time(runtime):
    pass_time(runtime, 300)


@pytest.mark.fuzz
@pytest.mark.skipif(FUZZ_SECONDS < LONG, reason="minutes: KDSIM_FUZZ_SECONDS=300")
@pytest.mark.timeout(3600)
def test_ten_thousand_cycles(runtime):
    cycle(runtime, 10_000)


@pytest.mark.fuzz
@pytest.mark.skipif(FUZZ_SECONDS < LONG, reason="minutes: KDSIM_FUZZ_SECONDS=300")
@pytest.mark.timeout(3600)
def test_a_day_of_machine_time(runtime):
    pass_time(runtime, 86400)
