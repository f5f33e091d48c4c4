"""Machine time: nanoseconds since power-on.

In virtual mode every executed instruction takes `NS_PER_INSTRUCTION`, on whichever processor, and
an idle machine skips to its next event: time is a function of what was executed, so runs repeat.
In wall mode it is real time, standing still while the machine does not run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

NS_PER_INSTRUCTION = 10
"""A machine of 100 million instructions a second, about what the engine does when it counts."""
NS_PER_UNIT = 100
"""The unit of Windows' times."""


class ClockMode(Enum):
    VIRTUAL = "virtual"
    WALL = "wall"


class Clock:
    """See the module docstring.

    Attributes:
        executing: in virtual mode, the instructions of the running slice so far.
    """

    def __init__(self, mode: ClockMode | str = ClockMode.VIRTUAL, now_ns: int = 0) -> None:
        self.mode = ClockMode(mode)
        self.virtual = self.mode is ClockMode.VIRTUAL
        self._base = now_ns
        self._since: int | None = None
        self.executing: Callable[[], int] | None = None

    def now_ns(self) -> int:
        if self.executing is not None:
            return self._base + self.executing() * NS_PER_INSTRUCTION
        if self._since is not None:
            return self._base + time.monotonic_ns() - self._since
        return self._base

    def now(self) -> int:
        """Time in Windows' units of 100 ns."""
        return self.now_ns() // NS_PER_UNIT

    def charge(self, instructions: int) -> None:
        """Count executed instructions; does nothing in wall mode."""
        if self.virtual:
            self._base += instructions * NS_PER_INSTRUCTION

    def skip_to(self, ns: int) -> None:
        """Virtual mode: nothing happens until then."""
        self._base = max(self._base, ns)

    def resume(self) -> None:
        """Wall mode: time passes from now on."""
        if not self.virtual and self._since is None:
            self._since = time.monotonic_ns()

    def pause(self) -> None:
        """Wall mode: time stands still, for instance while a debugger holds the machine."""
        if self._since is not None:
            self._base = self.now_ns()
            self._since = None
