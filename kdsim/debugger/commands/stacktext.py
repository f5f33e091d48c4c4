"""Stack lines inside other commands' output: `!thread`, `!process`, `!analyze`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.stack import home_slots
from kdsim.debugger.text import address as tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdsim.debugger.session import Session
    from kdsim.debugger.stack import Frame

HEADER = f"{'Child-SP':17} {'RetAddr':17} : {'Args to Child':71} : Call Site"
FRAME_LIMIT = 32
UNREADABLE = "????????`????????"


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One frame: stack pointer, return address, the four home slots, where it is."""

    child_sp: int
    return_address: int
    slots: tuple[int | None, ...]
    symbol: str

    def __str__(self) -> str:
        slots = " ".join(UNREADABLE if slot is None else tick(slot) for slot in self.slots)
        return f"{tick(self.child_sp)} {tick(self.return_address)} : {slots} : {self.symbol}"


def frame_lines(session: Session, frames: Sequence[Frame]) -> tuple[FrameLine, ...]:
    symbol = session.symbols.format
    return tuple(
        FrameLine(f.child_sp, f.return_address, home_slots(session, f), symbol(f.ip))
        for f in frames
    )
