"""Looking for an answer a little before going to sleep."""

from __future__ import annotations

import os
from time import perf_counter

from kdsim.wire.links import Link

LOOKING = 200e-6
"""Seconds. Two ends on one machine answer each other in half of that when they stay awake; to be
woken costs about a third of it, and a processor that slept has nothing in its caches."""
SHORTEST_REST, LONGEST_REST = 8, 1024
"""Waits."""


class Eagerness:
    """Waits for a link without sleeping, as long as that pays.

    Looking takes processor time, which the other end may need. After a look that was in vain, or
    that others kept us from, the next waits sleep at once: twice as many each time.
    """

    def __init__(self) -> None:
        self._rest = 0
        self._longest = 0

    def wait(self, link: Link, timeout: float | None) -> bool:
        """As `Link.wait`."""
        if self._rest:
            self._rest -= 1
        elif self._look(link):
            self._longest = max(0, self._longest - 1)
            return True
        else:
            self._longest = min(max(SHORTEST_REST, 2 * self._longest), LONGEST_REST)
            self._rest = self._longest
        return link.wait(timeout)

    def _look(self, link: Link) -> bool:
        """Whether something came in time."""
        end = perf_counter() + LOOKING
        while not link.wait(0):
            os.sched_yield()
            if perf_counter() > end:
                return False
        return perf_counter() < end
