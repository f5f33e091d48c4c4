"""`s -d` over 256 MB of a machine, seen locally, against `bytes.find` on the same bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NoReturn
from unittest import mock

from kdsim.debugger.backends.local import LocalBackend
from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from kdsim.target.lab import find_lab
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.paging import NO_EXECUTE, WRITABLE
from kdsim.target.machine.ram import PAGE_SIZE
from kdsim.target.system import System
from kdsim.wire.local import DATA_LIMIT, LocalServer

NAME = "search-benchmark"
SIZE = 256 << 20
PIECE = 1 << 20
WHERE = 0xFFFF_DEAD_0000_0000
"""A part of kernel space in which the lab has nothing."""
REQUIRED = 0.5
RUNS = 5


def contents() -> Iterator[bytes]:
    """What the memory holds; the machine and the debugger make it alike."""
    source = random.Random(1)
    return (source.randbytes(PIECE) for _ in range(SIZE // PIECE))


class Nobody:
    """Stands where a connection stands, and nobody is there."""

    present = False
    data_limit = 0

    def poll(self) -> None:
        return None


def serve() -> NoReturn:
    """Be the machine: boot, map the memory, answer until the end."""
    lab = find_lab("lab")._replace(ram=2 * SIZE)
    system = System.power_on(lab, Nobody(), print, clock=Clock(ClockMode.VIRTUAL))
    system.run()
    ram = system.machine.ram
    tables = iter(range(ram.size - SIZE - PIECE, ram.size - SIZE, PAGE_SIZE))
    memory = system.machine.address_space(system.memory.cr3)
    memory.allocate = tables.__next__
    memory.map(WHERE, ram.size - SIZE, SIZE, WRITABLE | NO_EXECUTE)
    for index, piece in enumerate(contents()):
        ram.write(ram.size - SIZE + index * PIECE, piece)
    server = LocalServer(NAME, lambda message: system.answer_locally(message, DATA_LIMIT))
    print("ready", flush=True)
    while True:
        server.wait(None)


def seconds_of_find(data: bytes, pattern: bytes) -> float:
    start = time.perf_counter()
    assert data.find(pattern) < 0
    return time.perf_counter() - start


def seconds_of_command(session: Session, line: str) -> float:
    start = time.perf_counter()
    session.execute(line)
    return time.perf_counter() - start


def measure() -> tuple[float, float]:
    """The best times of `bytes.find` and of the command, in turn."""
    data = b"".join(contents())
    absent = next(n for n in range(0x12345678, 1 << 32) if n.to_bytes(4, "little") not in data)
    printed: list[str] = []
    session = Session(LocalBackend(NAME), Output(printed.append))
    equip(session)
    session.attach()
    try:
        found = data[SIZE - 4 :][::-1].hex()
        printed.clear()
        session.execute(f"s -[1]d {WHERE:x} L{SIZE // 4:x} {found}")
        assert f"{WHERE + SIZE - 4:016x}" in "".join(printed), "the last dword is found"
        printed.clear()
        line = f"s -d {WHERE:x} L{SIZE // 4:x} {absent:x}"
        pattern = absent.to_bytes(4, "little")
        pairs = [
            (seconds_of_find(data, pattern), seconds_of_command(session, line)) for _ in range(RUNS)
        ]
        assert not printed, printed
    finally:
        session.close()
    plain, command = (min(column) for column in zip(*pairs, strict=True))
    return plain, command


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        environment = {"XDG_RUNTIME_DIR": folder}
        machine = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.search", "serve"],
            stdout=subprocess.PIPE,
            env=dict(os.environ, **environment),
        )
        try:
            assert machine.stdout is not None
            machine.stdout.readline()
            with mock.patch.dict(os.environ, environment):
                plain, command = measure()
        finally:
            machine.kill()
            machine.communicate()
    ratio = plain / command
    print(
        f"search: s -d over {SIZE >> 20} MB takes {command * 1000:.0f} ms, {ratio:.2f} of the speed"
        f" of bytes.find (at least {REQUIRED})"
    )
    return int(ratio < REQUIRED)


if __name__ == "__main__":
    if "serve" in sys.argv:
        serve()
    sys.exit(main())
