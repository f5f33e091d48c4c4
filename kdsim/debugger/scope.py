"""Where the user is looking: a processor or a chosen context, and the place a listing reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdsim.debugger.registers import RegisterFile

if TYPE_CHECKING:
    from kdsim.debugger.backends.base import Halt
    from kdsim.debugger.settings import Settings


@dataclass(slots=True)
class Cursor:
    """Where `d`, `u` and `s` without an address go on; None: at the instruction pointer.

    Attributes:
        display: the last display command, which `d` repeats.
        arguments: of the last `dt` or `dv`, which have no place to go on from.
        entry: the last enter command, which `e` repeats.
        physical: where `!db` and its kin go on.
        hits: addresses that `s -[s]` saved.
        held: memory that `.holdmem` keeps, by address.
        instruction, pattern: where `#` goes on, and what it looks for.
        type_name: the last name of `dt`, which `dt .` repeats.
    """

    data: int | None = None
    code: int | None = None
    physical: int = 0
    display: str = "db"
    arguments: str = ""
    entry: str = "eb"
    hits: list[int] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)
    instruction: int | None = None
    pattern: str = ""
    type_name: str = ""


@dataclass(slots=True)
class Scope:
    """Dies when the target runs.

    Attributes:
        registers: of `.thread`, `.cxr` or `.trap`; None: the live processor's.
        borrowed: the registers are another processor's, for one command only.
        frame: index of the frame `.frame` chose.
        thread: implicit thread (`.thread`); 0: the current one.
        process: implicit process (`.process`); 0: the current one.
    """

    registers: RegisterFile | None = None
    borrowed: bool = False
    frame: int = 0
    thread: int = 0
    process: int = 0

    @property
    def is_default(self) -> bool:
        return self.registers is None or self.borrowed

    def reset_registers(self) -> None:
        """Back to the live processor; implicit process and thread stay."""
        self.registers = None
        self.frame = 0


@dataclass(frozen=True, slots=True)
class SavedState:
    """What one `.push` keeps.

    Attributes:
        event: the stop that the scope belongs to, and does not outlive.
        registers: `$t0` to `$t19` with their values, after `.push /r`.
    """

    settings: Settings
    scope: Scope
    event: Halt | None
    registers: dict[str, Any]
