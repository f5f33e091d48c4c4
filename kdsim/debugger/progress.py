"""How far long work has come: one line that comes late and goes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

DELAY = 0.5
"""Seconds of work before anything is shown; most work ends earlier."""
INTERVAL = 0.1
"""Seconds between two looks at the same work."""


class Progress:
    """Made by `Session.progress`; `advance` is cheap, so it may be called for every item.

    Work that only calls `Session.check_interrupt` now and then is shown without its share.
    """

    def __init__(
        self,
        label: str,
        total: int,
        show: Callable[[str], None],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total` 0: nobody knows; `show` gets the line; `check` ends the work on Ctrl+C."""
        self._label = label
        self._total = total
        self._show = show
        self._check = check
        self._clock = clock
        self._next = clock() + DELAY
        self._item = ""
        self.done = 0

    def advance(self, amount: int = 1, item: str = "") -> None:
        """Some of it is done; `item` is what comes next.

        Raises:
            KeyboardInterrupt: the user does not want the rest.
        """
        self.done += amount
        self._item = item
        self._check()
        self.tick()

    def tick(self) -> None:
        """The work goes on."""
        now = self._clock()
        if now >= self._next:
            self._next = now + INTERVAL
            self._show(self.line())

    def line(self) -> str:
        """`Loading symbols: 40% hal - Ctrl+C stops`."""
        share = f"{min(100 * self.done // self._total, 100)}%" if self._total else ""
        detail = " ".join(part for part in (share, self._item) if part)
        return f"{self._label}{f': {detail}' if detail else ''} - Ctrl+C stops"
