"""Memory shown as numbers and characters: `db dw dW dd dc dq dp df dD d`, `!db !dw !dd !dc !dq`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands import display_strings
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import (
    FORMATS,
    CellFormat,
    Row,
    cells_text,
    row_line,
    rows,
)
from kdsim.debugger.commands.registry import Param, command

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

RANGE = Param("range", "range", "where, for instance nt!PoolHitTag L4", optional=True)


@dataclass(frozen=True, slots=True)
class Dump:
    """Rows of cells."""

    kind: str
    columns: int
    rows: tuple[Row, ...]
    physical: bool = False

    def lines(self) -> Iterator[str]:
        layout = FORMATS[self.kind]
        for row in self.rows:
            if self.physical:
                yield f"#{row.address:8x} {cells_text(row, layout, self.columns)}"
            else:
                yield row_line(row, layout, self.columns)


@command(
    *FORMATS,
    "d",
    summary="Display memory as bytes, words, double words, quad words, pointers or floats.",
    group="memory",
    params=(RANGE,),
    needs=Caps.READ,
    see_also=("da", "dps", "eb", "!db"),
    notes="d repeats the last display command. /c N sets the columns, /p reads physical memory.",
)
def display(session: Session, args: Arguments, name: str) -> object:
    kind = session.cursor.display if name == "d" else name
    if kind in display_strings.KINDS:
        return display_strings.show(session, args, kind)
    if kind not in FORMATS:
        from kdsim.debugger.commands import display_symbols

        return display_symbols.display_pointers(session, args, kind)
    return show(session, args, kind)


@command(
    *(f"!{kind}" for kind in ("db", "dw", "dd", "dc", "dq", "dp", "da", "du")),
    summary="Display physical memory.",
    group="memory",
    params=(RANGE,),
    needs=Caps.PHYSICAL,
    see_also=("db", "!vtop", "!pte"),
)
def display_physical(session: Session, args: Arguments, name: str) -> object:
    if name[1:] in display_strings.KINDS:
        return display_strings.show(session, args, name[1:], physical=True)
    return show(session, args, name[1:], physical=True)


def show(session: Session, args: Arguments, kind: str, *, physical: bool = False) -> Dump:
    """Read and remember where to go on."""
    layout = FORMATS[kind]
    columns, flagged = columns_and_space(args, layout)
    span = args.range(layout.size, layout.count)
    args.at_end()
    start = next_address(session, span.address)
    memory = session.physical if physical or flagged else session.memory
    session.cursor.display = kind
    dump = in_pieces(
        session,
        rows(memory, start, span.count, layout, columns),
        lambda found: Dump(kind, columns, found, physical),
    )
    session.cursor.data = start + span.count * layout.size & (1 << 64) - 1
    _remember(args, dump.rows)
    return dump


def next_address(session: Session, address: int | None) -> int:
    """What the user wrote, or where the last listing ended, or the instruction pointer."""
    if address is not None:
        return address
    if session.cursor.data is not None:
        return session.cursor.data
    return session.version.kernel_base if session.local else session.instruction_pointer


def columns_and_space(args: Arguments, layout: CellFormat) -> tuple[int, bool]:
    """`/c N` and `/p` of a display command: columns, and whether memory is physical."""
    columns, physical = layout.columns, False
    while True:
        if args.take("/c"):
            columns = max(1, args.expression())
        elif args.take("/p"):
            physical = True
            args.take("[uc]", "[wc]", "[c]")
        else:
            return columns, physical


def _remember(args: Arguments, found: tuple[Row, ...]) -> None:
    """`$p` is the last value shown."""
    if found and found[-1].cells[-1] is not None:
        value = int.from_bytes(found[-1].cells[-1], "little")
        args.context.set_pseudo("$p", value)
