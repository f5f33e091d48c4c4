"""Ends timed slices.

The engine has a timeout of its own, but its stop is lost when the host does not run us for that
long just before the start, and the slice then never ends. Here a stop is repeated until the slice
is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_RETRY_SECONDS = 0.001


class StopTimer:
    """Calls `stop` from a thread of its own when a slice has lasted long enough.

    Attributes:
        expired: the current or last slice was stopped from here.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None
        self._wakes_at: float | None = None
        self._closed = False
        self.expired = False

    def begin(self, seconds: float) -> None:
        """A slice starts."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="slice timer", daemon=True)
            self._thread.start()
        with self._changed:
            self.expired = False
            self._deadline = time.monotonic() + seconds
            if self._wakes_at is None or self._deadline < self._wakes_at:
                self._changed.notify()

    def end(self) -> None:
        """The slice is over; no stop comes after this. The thread finds out by itself."""
        with self._changed:
            self._deadline = None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._deadline is None:
                    self._wakes_at = None
                elif now < self._deadline:
                    self._wakes_at = self._deadline
                else:
                    self.expired = True
                    self._stop()
                    self._wakes_at = now + _RETRY_SECONDS
                self._changed.wait(None if self._wakes_at is None else self._wakes_at - now)
