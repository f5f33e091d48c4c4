"""Physical memory: `!db !dw !dd !dc !dq !dp !da !du`, and writing it: `!eb !ed`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.display_options import take_caching
from kdsim.debugger.commands.display_strings import LIMIT, WIDTH, terminated
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import FORMATS, Row, cells_text, rows
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.errors import UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

KINDS = ("db", "dw", "dd", "dc", "dq", "dp", "da", "du")
STRINGS = {"da": 1, "du": 2}
UNICODE_COUNT = 16
"""Characters `!du` shows when no end is given."""

_LENGTH_ALONE = re.compile(r"[lL]\s*\d")

ENTERED = {"!eb": 1, "!ed": 4}
CACHING = Param(
    "caching",
    "word",
    "how the memory is cached",
    optional=True,
    words=(("[c]", "cached"), ("[uc]", "not cached"), ("[wc]", "write-combined")),
)
ADVICE = """\
If you know the caching attributes used for the memory,
try specifying [c], [uc] or [wc], as in !dd [c] .
WARNING: Incorrect use of these flags will cause unpredictable
processor corruption. This may immediately (or at any time in
the future until reboot) result in a system hang, incorrect data
being displayed or other strange crashes and corruption."""


@dataclass(frozen=True, slots=True)
class PhysicalDump:
    """Rows of cells at physical addresses."""

    kind: str
    rows: tuple[Row, ...]

    def lines(self) -> Iterator[str]:
        layout = FORMATS[self.kind]
        for row in self.rows:
            yield f"#{row.address:8x} {cells_text(row, layout, layout.columns, gap=1)}"


@dataclass(frozen=True, slots=True)
class PhysicalText:
    """Pieces of a string at physical addresses."""

    pieces: tuple[tuple[int, str | None], ...]

    def lines(self) -> Iterator[str]:
        for address, text in self.pieces:
            yield f'#{address:8x} "{text}"'


@command(
    *(f"!{kind}" for kind in KINDS),
    summary="Display physical memory.",
    group="memory",
    params=(CACHING, Param("range", "range", "where, physical addresses", optional=True)),
    options=(Option("-m", "read one unit at a time"),),
    needs=Caps.PHYSICAL,
    see_also=("db", "!eb", "!vtop", "!pte"),
    notes="Without an address the display goes on, first at 0.",
)
def display_physical(session: Session, args: Arguments, name: str) -> PhysicalDump | PhysicalText:
    kind = name[1:]
    take_caching(args)
    args.switches("m")
    take_caching(args)
    layout = FORMATS.get(kind)
    if layout is None:
        default = UNICODE_COUNT if kind == "du" else LIMIT
        start, count = _start_and_count(session, args, STRINGS[kind], default)
        pieces, end = terminated(session.physical, start, STRINGS[kind], count, WIDTH)
        session.cursor.physical = end
        return PhysicalText(pieces)
    start, count = _start_and_count(session, args, layout.size, layout.count)
    session.cursor.physical = start + count * layout.size
    return in_pieces(
        session,
        rows(session.physical, start, count, layout, layout.columns),
        lambda found: PhysicalDump(kind, found),
    )


def _start_and_count(session: Session, args: Arguments, size: int, default: int) -> tuple[int, int]:
    """`[address] [L size]`: the address may be missing in front of the length."""
    start = session.cursor.physical
    if _LENGTH_ALONE.match(args.peek()):
        args.take("L")
        count = args.expression()
    else:
        span = args.range(size, default)
        start, count = span.address if span.address is not None else start, span.count
    args.at_end()
    if not session.physical.read_some(start, 1):
        raise UserError(f"physical memory read at {start:x} failed\n{ADVICE}")
    return start, count


@command(
    *ENTERED,
    summary="Enter bytes (!eb) or double words (!ed) into physical memory.",
    group="memory",
    params=(
        CACHING,
        Param("address", "expression", "physical"),
        Param("values", "values", "what, upwards from there"),
    ),
    needs=Caps.PHYSICAL | Caps.WRITE,
    see_also=("!db", "eb"),
)
def enter_physical(session: Session, args: Arguments, name: str) -> None:
    take_caching(args)
    address = args.expression()
    if args.done:
        raise args.error()
    session.physical.write(address, b"".join(args.values(ENTERED[name])))
