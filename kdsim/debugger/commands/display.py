"""Memory shown as numbers and characters: `db dw dW dd dc dq dp df dD d`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.display_options import OPTIONS, next_address, take_options
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import FORMATS, Row, row_line, rows
from kdsim.debugger.commands.registry import Param, Record, command
from kdsim.debugger.language.arguments import Arguments

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

REPEATED = ("dt", "dv")
"""`d` alone shows the same again, for they know no next address."""
RANGE = Param("range", "range", "where, for instance nt!PoolHitTag L4", optional=True)


@dataclass(frozen=True, slots=True)
class Dump:
    """Rows of cells."""

    kind: str
    columns: int
    rows: tuple[Row, ...]

    def lines(self) -> Iterator[str]:
        for row in self.rows:
            yield row_line(row, FORMATS[self.kind], self.columns)


@command(
    *FORMATS,
    "d",
    summary="Display memory as bytes, words, double words, quad words, pointers or floats.",
    group="memory",
    params=(RANGE,),
    options=OPTIONS,
    needs=Caps.READ,
    see_also=("da", "dps", "eb", "!db"),
    notes="d repeats the last command whose name begins with d.",
)
def display(session: Session, args: Arguments, name: str) -> Record | None:
    kind = session.cursor.display if name == "d" else name
    if kind in FORMATS:
        return show(session, args, kind)
    if kind in REPEATED and args.done:
        args = Arguments(kind + session.cursor.arguments, args.context, len(kind))
    declared = REGISTRY.get(kind)
    assert declared is not None
    return declared.function(session, args, kind)


def show(session: Session, args: Arguments, kind: str) -> Dump:
    """Read and remember where to go on."""
    layout = FORMATS[kind]
    options = take_options(args)
    columns = options.columns or layout.columns
    span = args.range(layout.size, layout.count)
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = kind
    dump = in_pieces(
        session,
        rows(options.memory(session), start, span.count, layout, columns),
        lambda found: Dump(kind, columns, found),
    )
    session.cursor.data = start + span.count * layout.size & (1 << 64) - 1
    _remember(args, dump.rows)
    return dump


def _remember(args: Arguments, found: tuple[Row, ...]) -> None:
    """`$p` is the last value shown."""
    if found and found[-1].cells[-1] is not None:
        value = int.from_bytes(found[-1].cells[-1], "little")
        args.context.set_pseudo("$p", value)
