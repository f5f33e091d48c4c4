"""Ctrl+C that cannot tear a protocol step apart."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """Within the block, Ctrl+C takes effect only where `sleeping` is entered, or at the end.

    Python raises KeyboardInterrupt between any two bytecodes; between taking a packet off the
    socket and noting its id that would desynchronise the connection.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._previous: object = None
        self._asleep = False
        self._pending = False
        self.sleeping = _Sleep(self)

    def __enter__(self) -> None:
        # An interrupt can still come out of this method until our handler is in place; nothing
        # noted before that may need undoing.
        if not self._depth and threading.current_thread() is threading.main_thread():
            self._pending = False
            self._previous = signal.getsignal(signal.SIGINT)
            if callable(self._previous):
                signal.signal(signal.SIGINT, self._caught)
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        self._asleep = False
        previous = self._previous
        if self._depth or not callable(previous):
            return
        signal.signal(signal.SIGINT, previous)
        if self._pending and error is None:
            self._strike()

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._asleep and callable(self._previous):
            self._previous(number, frame)
        else:
            self._pending = True

    def _strike(self) -> None:
        """What was noted takes effect."""
        self._pending = False
        if callable(self._previous):
            self._previous(signal.SIGINT, None)


class _Sleep:
    """The block in which the program only waits and may be interrupted."""

    def __init__(self, owner: Interrupts) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        owner = self._owner
        try:
            owner._asleep = True
            if owner._pending:
                owner._strike()
        except BaseException:
            owner._asleep = False
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner._asleep = False
