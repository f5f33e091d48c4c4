"""What ways of reaching a target that cannot run it have in common: they say why not."""

from __future__ import annotations

from typing import NoReturn

from kdsim.debugger.backends.base import Caps, Resume
from kdsim.errors import Unsupported


class PassiveBackend:
    """The requests of a `Backend` that run a target or change its processors, all refused."""

    refusals: dict[Caps, str]

    def break_in(self) -> None:
        self._refuse(Caps.RUN)

    def resume(self, how: Resume) -> None:
        self._refuse(Caps.RUN)

    def reboot(self) -> None:
        self._refuse(Caps.RUN)

    def restart(self) -> None:
        self._refuse(Caps.RUN)

    def bugcheck(self) -> None:
        self._refuse(Caps.RUN)

    def answer_prompt(self, text: str) -> None:
        self._refuse(Caps.RUN)

    def write_context(self, processor: int, context: bytes) -> None:
        self._refuse(Caps.REGISTERS)

    def write_control_space(self, processor: int, selector: int, data: bytes) -> None:
        self._refuse(Caps.REGISTERS)

    def read_msr(self, msr: int) -> int:
        self._refuse(Caps.MSR)

    def write_msr(self, msr: int, value: int) -> None:
        self._refuse(Caps.MSR)

    def set_breakpoint(self, va: int) -> int:
        self._refuse(Caps.BREAKPOINTS)

    def clear_breakpoint(self, handle: int) -> None:
        self._refuse(Caps.BREAKPOINTS)

    def _refuse(self, what: Caps) -> NoReturn:
        raise Unsupported(self.refusals[what])
