"""Pool allocate+free pairs a second from guest code: the time the driver churn takes."""

from __future__ import annotations

import re
import sys
import time

from kdsim.target.lab import Task, find_lab
from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.machine import Reason
from kdsim.target.system import System

REQUIRED = 25_000
RUNS = 3
BUDGET = 60 * 10_000_000
"""Machine time the whole run may take, in 100 ns."""


class Lines:
    """Stands where a connection stands and nobody listens: notes when churn prints."""

    present = False
    data_limit = 0

    def __init__(self) -> None:
        self.printed: list[tuple[float, str]] = []

    def poll(self) -> None:
        return None

    def print(self, text: bytes, processor: int = 0, level: int = 0) -> bool:
        self.printed.append((time.perf_counter(), text.decode("latin-1")))
        return False


def pairs_a_second() -> float:
    """One run with churn as the only task, under the wall clock as in interactive use."""
    task = Task(at=0.1, driver="churn.sys", start=True)
    lab = find_lab("lab")._replace(tasks=(task,))
    lines = Lines()
    clock = Clock(ClockMode.WALL)
    system = System.power_on(lab, lines, print, clock=clock, break_at_boot=False)
    try:
        while len(lines.printed) < 2:
            stop = system.machine.run(until=system.machine.clock.now() + 1_000_000)
            if stop.reason is not Reason.UNTIL or system.machine.clock.now() > BUDGET:
                raise SystemExit(f"churn did not finish: {stop}")
    finally:
        system.close()
    (start, first), (end, _) = lines.printed
    found = re.search(r"\d+", first)
    assert found is not None
    return int(found.group()) / (end - start)


def main() -> int:
    figure = max(pairs_a_second() for _ in range(RUNS))
    print(f"pool pairs a second: {figure:,.0f} (at least {REQUIRED:,})")
    return int(figure < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
