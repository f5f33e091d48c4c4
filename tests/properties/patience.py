"""A limit on how long one input may take."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 10.0
"""Seconds a line may take."""


class Hang(BaseException):
    """Nothing of the program catches this."""


@contextmanager
def in_time(line: str) -> Iterator[None]:
    """Raise Hang when the block takes too long."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hang(line)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
