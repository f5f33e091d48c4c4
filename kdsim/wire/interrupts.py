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
        self._depth += 1
        if self._depth > 1 or threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous):
            self._previous = previous
            signal.signal(signal.SIGINT, self._caught)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        previous = self._previous
        if self._depth or not callable(previous):
            return
        signal.signal(signal.SIGINT, previous)
        self._previous = None
        if self._pending:
            self._pending = False
            if error is None:
                previous(signal.SIGINT, None)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._asleep and callable(self._previous):
            self._previous(number, frame)
        else:
            self._pending = True

    def _fall_asleep(self) -> None:
        self._asleep = True
        if self._pending and callable(self._previous):
            self._pending = False
            self._previous(signal.SIGINT, None)

    def _wake_up(self) -> None:
        self._asleep = False


class _Sleep:
    """The block in which the program only waits and may be interrupted."""

    def __init__(self, owner: Interrupts) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        try:
            self._owner._fall_asleep()
        except BaseException:
            self._owner._wake_up()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner._wake_up()
