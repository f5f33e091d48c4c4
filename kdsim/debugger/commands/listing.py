"""Long listings: shown while they are read, so that Ctrl+C leaves what there was to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from kdsim.debugger.commands.registry import Record, render
from kdsim.errors import KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

PIECE = 0x400
"""Rows shown at once."""

Row = TypeVar("Row")
Listing = TypeVar("Listing", bound=Record)


def in_pieces(
    session: Session, rows: Iterable[Row], listing: Callable[[tuple[Row, ...]], Listing]
) -> Listing:
    """The record of the last rows; those before it are shown already. JSON gets all in one."""
    waiting: list[Row] = []
    try:
        for row in rows:
            session.check_interrupt()
            if len(waiting) >= PIECE and not session.settings.json:
                shown, waiting = waiting, []
                _show(session, listing, shown)
            waiting.append(row)
    except (KeyboardInterrupt, KdsimError):
        _show(session, listing, waiting)
        raise
    return listing(tuple(waiting))


def as_found(
    session: Session, rows: Iterable[Row], listing: Callable[[tuple[Row, ...]], Listing]
) -> Listing:
    """The same for a slow search, whose every row is shown when it is found."""
    if session.settings.json:
        return in_pieces(session, rows, listing)
    for row in rows:
        session.check_interrupt()
        _show(session, listing, (row,))
    return listing(())


def _show(
    session: Session, listing: Callable[[tuple[Row, ...]], Listing], rows: Sequence[Row]
) -> None:
    session.out.write("".join(f"{line}\n" for line in render(listing(tuple(rows)))))
