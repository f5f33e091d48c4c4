"""Where the user is looking: a processor as it stopped, or a context chosen by a command."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdsim.debugger.registers import RegisterFile


@dataclass(slots=True)
class Scope:
    """Dies when the target runs.

    Attributes:
        registers: of `.thread`, `.cxr` or `.trap`; None: the live processor's.
        frame: index of the frame `.frame` chose.
        thread: implicit thread (`.thread`); 0: the current one.
        process: implicit process (`.process`); 0: the current one.
    """

    registers: RegisterFile | None = None
    frame: int = 0
    frame_registers: RegisterFile | None = field(default=None)
    thread: int = 0
    process: int = 0

    @property
    def is_default(self) -> bool:
        return self.registers is None

    def reset_registers(self) -> None:
        """Back to the live processor; implicit process and thread stay."""
        self.registers = None
        self.reset_frame()

    def reset_frame(self) -> None:
        self.frame = 0
        self.frame_registers = None
