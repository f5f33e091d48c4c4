"""Cold start of `kdsim kd -c q` against importing its libraries; the lab's memory and boot."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdsim.target.lab import find_lab
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.machine import Reason
from kdsim.target.system import System

RATIO_LIMIT = 4.0
MEMORY_LIMIT_MB = 400
RUNS = 9
IMPORTS = "import unicorn, lark, prompt_toolkit, cryptography"
KDSIM = [sys.executable, "-m", "kdsim"]


def seconds(command: list[str]) -> float:
    """Wall time of a whole process, its children included."""
    start = time.perf_counter()
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def cold_start() -> bool:
    """The two commands in turn, so that a noisy machine is as unkind to one as to the other."""
    start, imports = [*KDSIM, "kd", "-c", "q"], [sys.executable, "-c", IMPORTS]
    seconds(start), seconds(imports)
    pairs = [(seconds(start), seconds(imports)) for _ in range(RUNS)]
    ratio = statistics.median(a / b for a, b in pairs)
    whole, base = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"cold start: {whole:.2f} s, {ratio:.1f} times the imports' {base:.2f} s"
        f" (limit {RATIO_LIMIT})"
    )
    return ratio <= RATIO_LIMIT


def resident_memory() -> bool:
    """The lab after the leak hunt's 60 seconds of machine time, from /proc."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kd.sock"
        target = subprocess.Popen(
            [*KDSIM, "target", "lab", "--seed", "1", "--com", f"unix:{path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, XDG_RUNTIME_DIR=folder),
        )
        assert target.stderr is not None
        target.stderr.readline()  # the bug check at the end, with nobody attached
        status = Path(f"/proc/{target.pid}/status").read_text(encoding="ascii")
        target.terminate()
        target.communicate()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    peak = int(found[1]) / 1024
    print(f"memory: the lab's process peaks at {peak:.0f} MB (limit {MEMORY_LIMIT_MB})")
    return peak < MEMORY_LIMIT_MB


def boot() -> None:
    """Power-on to the initial break, in this process, so without imports and without the wire."""
    lab, figures = find_lab("lab"), []
    for _ in range(RUNS):
        begin = time.perf_counter()
        system = System.power_on(lab, Nobody(), print, clock=Clock(ClockMode.VIRTUAL))
        stop = system.run()
        figures.append(time.perf_counter() - begin)
        assert stop.reason is Reason.DEBUG, stop
        system.close()
    print(f"boot: {statistics.median(figures) * 1000:.0f} ms from power-on to the initial break")


class Nobody:
    """Stands where a connection stands, and nobody is there."""

    present = False
    data_limit = 0

    def poll(self) -> None:
        return None


def main() -> int:
    kept = [cold_start(), resident_memory()]
    boot()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
