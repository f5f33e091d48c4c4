"""Ctrl+C that cannot tear a protocol step apart."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object]

_MAIN = threading.main_thread().ident


class Deferrable:
    """A handler of Ctrl+C that can be told to wait.

    A program that installs its own handler as one of these spares every protocol step the two
    system calls that exchange it.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.depth = 0
        self.asleep = False
        self.pending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.depth and not self.asleep:
            self.pending = True
        else:
            self._handler(number, frame)

    def strike(self) -> None:
        """What was noted takes effect."""
        self.pending = False
        self._handler(signal.SIGINT, None)


class Interrupts:
    """Within the block, Ctrl+C takes effect only where `sleeping` is entered, or at the end.

    Python raises KeyboardInterrupt between any two bytecodes; between taking a packet off the
    socket and noting its id that would desynchronise the connection.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._handler: Deferrable | None = None
        self._replaced: Handler | None = None
        self.sleeping = _Sleep(self)

    def __enter__(self) -> None:
        # An interrupt can come out of this method as long as nothing would need undoing.
        if not self._depth:
            self._begin()
        elif self._handler is not None:
            self._handler.depth += 1
        self._depth += 1

    def _begin(self) -> None:
        self._handler = self._replaced = None
        handler = signal.getsignal(signal.SIGINT)
        if threading.get_ident() != _MAIN or not callable(handler):
            return
        if isinstance(handler, Deferrable):
            handler.depth += 1
            self._handler = handler
            return
        self._handler = ours = Deferrable(handler)
        ours.depth = 1
        self._replaced = handler
        signal.signal(signal.SIGINT, ours)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        handler = self._handler
        if handler is None:
            return
        handler.asleep = False
        if handler.depth == 1 and self._replaced is not None:
            signal.signal(signal.SIGINT, self._replaced)
        handler.depth -= 1
        if handler.pending and not handler.depth:
            handler.pending = False
            if error is None:
                handler.strike()


class _Sleep:
    """The block in which the program only waits and may be interrupted."""

    def __init__(self, owner: Interrupts) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        handler = self._owner._handler
        if handler is None:
            return
        try:
            handler.asleep = True
            if handler.pending:
                handler.strike()
        except BaseException:
            handler.asleep = False
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        handler = self._owner._handler
        if handler is not None:
            handler.asleep = False
