"""`.style`: the colours of prompt and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Param, command
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session


@dataclass(frozen=True, slots=True)
class StyleInUse:
    style: str

    def lines(self) -> list[str]:
        return [f"Style is {self.style}"]


@command(
    ".style",
    summary="Show or choose the colours of prompt and output.",
    group="session",
    params=(
        Param(
            "name",
            "word",
            "alone: show; the variable KDSIM_STYLE sets the first",
            optional=True,
            words=(
                ("dark", "for a dark background"),
                ("light", "for a light one"),
                ("colour-blind", "no red against green, dark"),
                ("colour-blind-light", "the same, light"),
                ("none", "no colours"),
            ),
        ),
    ),
    examples=(".style light",),
    notes="WinDbg has no such command; its colours are those of its windows.",
)
def choose_style(session: Session, args: Arguments, name: str) -> StyleInUse:
    """The terminal knows its styles, and refuses others."""
    wanted = args.word() or ""
    args.at_end()
    if session.out.style is None:
        raise UserError("The output does not go to a terminal, so it has no style")
    return StyleInUse(session.out.style(wanted))
