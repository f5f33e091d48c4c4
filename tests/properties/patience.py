"""How long one input may take, and how long the random runs go on.

`KDSIM_FUZZ_SECONDS=300 pytest -m fuzz` makes each of them five minutes long; by default it is a
moment. `KDSIM_FUZZ_SEED` says where they begin, so that a failure can be seen again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 10.0
"""Seconds of processor time a line may take, whatever else the host is doing."""

FUZZ_SECONDS = float(os.environ.get("KDSIM_FUZZ_SECONDS", "2"))
FUZZ_SEED = int(os.environ.get("KDSIM_FUZZ_SEED", "1"))


class Hang(BaseException):
    """Nothing of the program catches this."""


@contextmanager
def in_time(line: str) -> Iterator[None]:
    """Raise Hang when the block takes too long."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hang(line)

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
