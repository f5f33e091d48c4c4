"""The wire, by our kd and by ntoseye's SDK, in turn against the same running target.

    python -m benchmarks.wire

Reading 16 MiB of the target's memory, single requests, steps and break-ins, over KDNET and over
KDCOM. Debuggers take turns at one target, so a noisy machine is as unkind to one as to the other;
what counts is the ratio of the medians. Processor time is that of both ends together.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import ntoseye

from kdsim.debugger.backends.live import LiveBackend
from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from kdsim.debugger.shell.interrupts import break_in_on_interrupt
from kdsim.resources import resource_path
from tests.labs import lasting_lab
from tests.ports import free_udp_port

KEY = "1.2.3.4"
MEGABYTES = 16
PIECE = 1 << 20
START = 0x100_0000
"""Physical memory from here on; neither debugger has it in a cache."""
REQUESTS = 500
STEPS = 50
BREAK_INS = 10
ROUNDS = 5
REQUIRED = {"KDNET": 0.4, "KDCOM": 1.0}
"""Our bytes per second of processor time over ntoseye's, at least. By the clock ours are as fast
over KDNET on a quiet machine, where both ends look for the next packet instead of sleeping. A
stream brings us 3944 bytes a read and ntoseye 2048."""
TIMEOUT = 30.0


class Debugger(Protocol):
    """What is measured of either."""

    def read(self, address: int, size: int) -> bytes: ...
    def step(self) -> None: ...
    def go(self) -> None: ...
    def break_in(self) -> None: ...
    def close(self) -> None: ...


class Ours:
    def __init__(self, where: str) -> None:
        kind = "com:pipe,port=" if where.startswith("/") else "net:port="
        self.backend = LiveBackend.from_text(f"{kind}{where}", KEY)
        self.session = Session(self.backend, Output(lambda text: None))
        equip(self.session)
        self._interrupts = break_in_on_interrupt(self.session)
        self._interrupts.__enter__()
        self.session.attach(break_in=True, timeout=TIMEOUT)

    def read(self, address: int, size: int) -> bytes:
        return self.backend.read_physical(address, size)

    def step(self) -> None:
        self.session.execute("t")

    def go(self) -> None:
        self.session.control.release()

    def break_in(self) -> None:
        self.session.control.wait_for_stop(break_in=True)

    def close(self) -> None:
        self.session.control.release()
        self.session.close()
        self._interrupts.__exit__(None, None, None)


class Theirs:
    def __init__(self, where: str) -> None:
        kind, connect = ("kd", where) if where.startswith("/") else ("kdnet", f"127.0.0.1:{where}")
        key = KEY if kind == "kdnet" else None
        self.debugger = ntoseye.attach(kind, connect=connect, key=key, memory_source="kd")

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.debugger.physical.read(address, size))

    def step(self) -> None:
        self.debugger.step(TIMEOUT)

    def go(self) -> None:
        self.debugger.run(0)

    def break_in(self) -> None:
        self.debugger.interrupt()

    def close(self) -> None:
        self.debugger.close()


class Target:
    """`kdsim target` in its own process, and the processor time both ends use."""

    def __init__(self, folder: str, way: list[str]) -> None:
        machine = (lasting_lab(Path(folder)), "--seed", "1", "--wait")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdsim", "target", *machine, *way],
            env=dict(os.environ, XDG_RUNTIME_DIR=folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def processor_time(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2]
        target = sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
        return target + time.process_time()


class Round(NamedTuple):
    """One debugger's turn: bytes per second of wall and of processor time; seconds of the rest."""

    rate: float
    rate_by_processor: float
    median: float
    worst: float
    step: float
    break_in: float


def turn(target: Target, attach: Callable[[str], Debugger], where: str) -> Round:
    debugger = attach(where)
    try:
        used, start = target.processor_time(), time.perf_counter()
        for piece in range(MEGABYTES):
            assert len(debugger.read(START + piece * PIECE, PIECE)) == PIECE
        seconds, used = time.perf_counter() - start, target.processor_time() - used
        each = sorted(
            took(lambda n=n: debugger.read(START + n * 0x1000, 8)) for n in range(REQUESTS)
        )
        step = statistics.median(took(debugger.step) for _ in range(STEPS))
        break_in = statistics.median(running(debugger) for _ in range(BREAK_INS))
    finally:
        debugger.close()
    size = MEGABYTES * PIECE
    worst = each[REQUESTS * 99 // 100]
    return Round(size / seconds, size / used, each[REQUESTS // 2], worst, step, break_in)


def took(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def running(debugger: Debugger) -> float:
    """From the break-in of a target that runs to the prompt."""
    debugger.go()
    time.sleep(0.02)
    return took(debugger.break_in)


@contextmanager
def running_target(kind: str) -> Iterator[tuple[Target, str]]:
    """A target and where to find it: a UDP port or a socket."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "KDNET":
            where = str(free_udp_port())
            way = ["--port", where, "--key", KEY]
        else:
            where = f"{folder}/kd"
            way = ["--com", f"unix:{where}"]
        target = Target(folder, way)
        try:
            yield target, where
        finally:
            target.process.terminate()
            target.process.communicate()


def compare(kind: str) -> bool:
    """Measure one transport; whether ours reads fast enough."""
    with running_target(kind) as (target, where):
        pairs = [(turn(target, Ours, where), turn(target, Theirs, where)) for _ in range(ROUNDS)]
    ours, theirs = (
        Round(*map(statistics.median, zip(*rounds, strict=True)))
        for rounds in zip(*pairs, strict=True)
    )
    for name, own, other, unit, scale in (
        ("reading 16 MiB", ours.rate, theirs.rate, "MB/s", 1e-6),
        ("  per second of processor time", *(r.rate_by_processor for r in (ours, theirs)),
         "MB/s", 1e-6),
        ("one request, median", ours.median, theirs.median, "us", 1e6),
        ("one request, 99 of 100", ours.worst, theirs.worst, "us", 1e6),
        ("t", ours.step, theirs.step, "ms", 1e3),
        ("break-in to prompt", ours.break_in, theirs.break_in, "ms", 1e3),
    ):  # fmt: skip
        figures = f"{own * scale:8.2f} {other * scale:8.2f} {unit}"
        print(f"{kind} {name:32} {figures}  ratio {own / other:.2f}")
    return ours.rate_by_processor >= REQUIRED[kind] * theirs.rate_by_processor


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(resource_path("targets", "images"), Path(home, ".ntoseye", "symbols"))
        before, os.environ["HOME"] = os.environ.get("HOME", ""), home
        try:
            print(f"{'wire':38}      kd  ntoseye")
            good = [compare(kind) for kind in ("KDNET", "KDCOM")]
        finally:
            os.environ["HOME"] = before
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
